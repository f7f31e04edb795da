"""From marked characters to tokens: which prompts can be measured, with which tokens, and why others cannot."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from atlas.analyses.saliency.marked_prompts import MARKED, RANDOM, _rest, marked_prompts, named_flows
from atlas.errors import AtlasError
from atlas.models.limits import Limits
from byte_tokenizer import tokenizer

FLOWS = [
    {"name": "S_ww", "rest": True},
    {"name": "S_wp", "from": "text", "to": "label"},
    {"name": "S_pq", "from": "label", "to": "predicting"},
]
ANY = Limits(None, 400)


def row(prompt="bad: no\nfine: yes\nwell:", answer=" yes", name="a", **spans):
    return {"id": name, "prompt": prompt, "answer": answer, "spans": spans or {"label": [[5, 7], [14, 17]]}}


def given(*rows, flows=FLOWS, limits=ANY, seed=0, bos=True, unusable=None):
    table = pd.DataFrame(list(rows))
    return marked_prompts(tokenizer(bos=bos), table, named_flows(flows), seed=seed, limits=limits, unusable=unusable)


def test_every_byte_is_a_token_behind_the_one_in_front():
    (prompt,), report = given(row())
    assert report == {"measured": 1, "given": 1, "dropped": {}, "unused_spans": []}
    text = "bad: no\nfine: yes\nwell:"
    assert len(prompt.ids) == 1 + len(text) + 4
    assert prompt.parts[MARKED]["text"] == tuple(range(1, 1 + len(text)))  # white space too, not what stands in front
    assert prompt.parts[MARKED]["label"] == (6, 7, 15, 16, 17)
    assert prompt.answer == (24, 25, 26, 27)
    assert prompt.parts[MARKED]["predicting"] == (23, 24, 25, 26)
    assert prompt.first == 1


def test_as_many_random_tokens_stand_for_each_part_and_are_the_same_again():
    (prompt,), _ = given(row())
    for seed in range(5):
        (one,), _ = given(row(), seed=seed)
        drawn = one.parts[RANDOM]["label"]
        assert len(set(drawn)) == 5
        assert set(drawn) <= {i + 1 for i, sign in enumerate(row()["prompt"]) if sign.strip()}
        assert one.parts[RANDOM]["text"] == one.parts[MARKED]["text"]
        assert one.parts[MARKED] == prompt.parts[MARKED]
        assert given(row(), seed=seed)[0][0].parts == one.parts
    assert prompt.parts[RANDOM] != one.parts[RANDOM]


def test_random_tokens_do_not_predict_the_answer_unless_the_part_does():
    """A part that stands before it would be held against what is nearest to the loss."""
    for seed in range(40):
        (one,), _ = given(row("no no\nno", label=[[0, 2], [3, 5]]), seed=seed)  # 6 visible tokens, the last predicts
        assert max(one.parts[RANDOM]["label"]) < one.answer[0] - 1
    drawn = [given(row("no no\nno", label=[[6, 8]]), seed=seed)[0][0].parts[RANDOM]["label"] for seed in range(40)]
    assert {token for one in drawn for token in one} == {1, 2, 4, 5, 7, 8}
    (one,), _ = given(row("no no\nno", label=[[0, 8]]))
    assert one.parts[RANDOM]["label"] == one.parts[MARKED]["label"]  # all that there are


def test_a_mark_up_to_the_space_before_a_word_is_without_the_word():
    words = ["a:", " no", " yes"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=" no"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\S+"), "isolated")
    table = pd.DataFrame([row("a: no", label=[[0, 3]])])
    fast = PreTrainedTokenizerFast(tokenizer_object=inner)
    (one,), _ = marked_prompts(fast, table, named_flows(FLOWS[2:]), seed=0, limits=Limits(None, 3))
    assert one.ids == (0, 1, 2)
    assert one.parts[MARKED]["label"] == (0,)


def test_the_graph_may_start_where_the_first_flow_ends():
    flows = [FLOWS[2]]
    (prompt,), _ = given(row(), flows=flows)
    assert prompt.first == 23
    (prompt,), _ = given(row(), flows=FLOWS[1:])
    assert prompt.first == min(6, *prompt.parts[RANDOM]["label"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(name="b", other=[[0, 3]]), "no span named label"),
        ({**row(name="b"), "spans": {"label": None, "other": [[0, 3]]}}, "no span named label"),
        (row(name="b", label=[[5, 7], [7, 8]]), "a span label without a token"),  # the end of a line
        (row("bad: no\nfine: i", "y", name="b", label=[[14, 15]]), "a span label in one token with the answer"),
        (row(answer="yes " * 40, name="b"), "prompt longer than the context"),
        (row("i", "y", name="b", label=[[0, 1]]), "prompt without a token of its own"),
    ],
)
def test_prompts_that_cannot_be_measured_are_counted_by_reason(bad, reason):
    found, report = given(row(), bad, row(name="c"), limits=Limits(100, 400))
    assert [prompt.number for prompt in found] == [0, 2]
    assert report["dropped"] == {reason: ["b"]}
    assert (report["measured"], report["given"]) == (2, 3)


def test_a_token_that_the_model_does_not_know():
    other = row("bad: no\nwell:", " iy", name="b", label=[[5, 7]])
    _, report = given(row(), other, limits=Limits(None, tokenizer().convert_tokens_to_ids("iy")))
    assert report["dropped"] == {"prompt has a token that the model does not know": ["b"]}


def test_spans_that_no_flow_reads_are_named():
    _, report = given(row(label=[[5, 7]], question=[[0, 3]], else_=[[1, 2]]))
    assert report["unused_spans"] == ["else_", "question"]


def test_a_name_that_the_data_lacks_is_told_with_the_nearest():
    with pytest.raises(AtlasError) as error:
        given(row(labels=[[5, 7]]))
    said = str(error.value)
    assert "none of 1 prompts can be measured (1 no span named label)" in said
    assert "'label': did you mean 'labels'? Correct the data set" in said
    assert "analyses.span_saliency.flows" in said


def test_a_flow_that_looks_ahead_is_refused():
    with pytest.raises(AtlasError, match="no token of predicting stands before one of label in any prompt, so S_x has"):
        given(row(), flows=[{"name": "S_x", "from": "predicting", "to": "label"}])


def test_rows_that_the_data_set_left_out_are_counted_with_the_others():
    bad = row(name="b", other=[[0, 3]])
    _, report = given(row(), bad, unusable={"outside": ["x", "y"], "no span named label": ["z"]})
    assert report["dropped"] == {"outside": ["x", "y"], "no span named label": ["z", "b"]}
    assert (report["measured"], report["given"]) == (1, 5)


def test_a_rest_of_nothing_is_refused():
    """One token predicts the answer, the last of the prompt, so that all pairs are within the prompt."""
    flows = [{"name": "all", "from": "text", "to": "text"}, {"name": "left", "rest": True}]
    with pytest.raises(AtlasError, match="have every pair of tokens of every prompt, so left has none; take it out"):
        given(row(answer="y"), flows=flows)
    (prompt,), _ = given(row(answer="yes"), flows=flows)  # of more tokens, the later ones look at what is no prompt
    assert prompt.parts[MARKED]["predicting"][-1] not in prompt.parts[MARKED]["text"]


def test_a_rest_is_found_pair_by_pair():
    """Against every pair of tokens, in parts that are drawn."""
    flows = named_flows([{"name": "a", "from": "x", "to": "text"}, {"name": "b", "from": "text", "to": "y"}, FLOWS[0]])
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        size = int(rng.integers(1, 7))
        drawn = {name: [i for i in range(size) if rng.random() < share] for name, share in (("x", 0.8), ("y", 0.6))}
        parts = {"text": range(size), "predicting": range(size - 1, size + rng.integers(3)), **drawn}
        parts = {name: tuple(own) for name, own in parts.items()}
        every = {*parts["text"], *parts["predicting"]}
        taken = {(j, i) for flow in flows if not flow.rest for j in parts[flow.source] for i in parts[flow.target]}
        found.append(any(j < i and (j, i) not in taken for j in every for i in every))
        assert _rest(parts, flows) == found[-1], parts
    assert 0 < sum(found) < len(found)


def test_looking_for_the_rest_of_a_long_prompt_holds_no_square_of_its_tokens():
    """32,000 tokens, whose square would be 1 GB; the only flow has all pairs, so that every token is looked at."""
    flows = named_flows([{"name": "all", "from": "text", "to": "text"}, FLOWS[0]])
    parts = {"text": tuple(range(32_000)), "predicting": (31_999,)}
    tracemalloc.start()
    try:
        assert not _rest(parts, flows)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_the_rest_stands_last():
    assert [flow.name for flow in named_flows(FLOWS)] == ["S_wp", "S_pq", "S_ww"]
