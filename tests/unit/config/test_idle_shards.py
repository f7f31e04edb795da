"""Shards that have nothing to do are noted when a run is planned, where it is known."""

import pytest

from atlas.config.idle_shards import idle_shards
from atlas.models.architectures import Shape
from atlas.planning.rows_at_hand import Rows, most_rows
from configurations import check

SHAPE = Shape(layers=4, heads=6, kv_heads=3, group=2, head_width=8, value_width=8, width=48, vocabulary=300, context=64)


def said(number, what, shards):
    return (
        f"{shards} jobs share {number} {what}, so {shards - number} of them load a model for nothing; ask for at most"
    )


# configuration over configs/tiny.yaml, in which every data set has 24 rows -> what is noted
SAID = {
    "{}": "",
    "analyses: {span_saliency: {shards: 24}}": "",
    "analyses: {span_saliency: {shards: 25}}": said(24, "rows of marked", 25),
    "analyses: {saliency: {shards: 26}}": said(24, "rows of trivia", 26),
    "analyses: {meaningless_tokens: {shards: 30}}": said(24, "rows of questions", 30),
    "analyses: {mink: {texts: [answer, question], shards: 48}}": "",
    "analyses: {mink: {texts: [answer, question], shards: 49}}": said(48, "texts of graph", 49),
    "analyses: {membership: {lowercase: true, shards: 49}}": said(48, "texts of collection", 49),
    "analyses: {membership: {lowercase: false, shards: 25}}": said(24, "rows of collection", 25),
    "analyses: {sinks: {sequences: 12, shards: 12}}": "",
    "analyses: {sinks: {sequences: 12, shards: 13}}": said(12, "sequences", 13),
    "analyses: {head_types: {sequences: 12, shards: 13}}": said(12, "sequences", 13),
    "analyses: {safety_heads: {shards: 4}}": "",
    "analyses: {safety_heads: {models: [tiny], shards: 5}}": said(4, "layers of tiny", 5),
    "models: {tiny: {options: {sinks: {shards: 99}}}}\nanalyses: {sinks: {sequences: 12}}": said(12, "sequences", 99),
}


@pytest.mark.parametrize("text", SAID)
def test_more_shards_than_there_is_to_share_are_noted_once(text):
    notes = list(idle_shards(check(text), lambda dataset: 24, lambda model: SHAPE))
    assert len(notes) == bool(SAID[text])
    analysis = text.rpartition("analyses: {")[2].partition(":")[0]
    for note in notes:
        assert note.startswith(f"analyses.{analysis}.shards: {SAID[text]}")


def test_what_is_not_known_is_not_noted():
    text = "analyses: {span_saliency: {shards: 99}, safety_heads: {shards: 99}}"
    assert not list(idle_shards(check(text), lambda dataset: None, lambda model: None))


def test_the_most_rows_that_a_data_set_can_have():
    def entry(kind, **others):
        return {"kind": kind, "sample": None, "limit": None, **others}

    assert most_rows(entry("text"), None) is None
    assert most_rows(entry("text"), Rows(24)) == 24
    assert most_rows(entry("text", limit=7), None) == 7
    assert most_rows(entry("text", sample={"n": 30}), Rows(24)) == 24
    assert most_rows(entry("depth", limit=7), Rows(24)) is None
    assert most_rows(entry("depth"), Rows(24)) == 24
