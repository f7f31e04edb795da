"""The block of the joined table: whose columns it has, from which data set, and which measures there are."""

import pytest
import yaml

from atlas.analyses.heads.checks import problems
from atlas.analyses.registry import HEAD_ANALYSES, MEASURES
from configurations import ROOT


def test_every_measure_of_heads_is_known_to_the_schema():
    schema = yaml.safe_load((ROOT / "schemas" / "config.schema.yaml").read_text())["$defs"]
    assert schema["metrics"]["items"]["enum"] == list(MEASURES)
    chosen = schema["heads"]["properties"]["datasets"]["properties"]
    assert set(HEAD_ANALYSES) == set(chosen)


def settings(**changes):
    """(block of analyses.heads, configuration) of three models and three analyses of heads."""
    models = {"a": {"source": {}}, "b": {"source": {"control": {}}}, "c": {"source": {}}}
    analyses = {
        "sinks": {"models": ["a", "b"], "dataset": "text"},
        "safety_heads": {"models": ["a"], "datasets": ["p1", "p2"], "rank": [3, 1]},
        "saliency": {"models": ["a"], "datasets": ["qa1", "qa2"], "loss": ["probe_logit", "answer_nll"]},
    }
    left = {"models": "all", "datasets": {}, "rank": None, "loss": None}
    block = {**left, "metrics": ["saliency_signed", "saliency_share"], **changes}
    return block, {"models": models, "analyses": {**analyses, "heads": block}, "notes": []}


def test_what_is_left_open_is_what_each_analysis_has_first():
    block, config = settings(datasets={"saliency": "qa2", "sinks": None})
    assert list(problems("analyses.heads", block, config)) == []
    assert block["models"] == ["a", "b"]  # no analysis of heads covers c
    assert block["datasets"] == {"sinks": "text", "safety_heads": "p1", "saliency": "qa2"}
    assert (block["rank"], block["loss"]) == (3, "probe_logit")
    block, config = settings(models="trained", rank=1, loss="answer_nll")
    assert list(problems("analyses.heads", block, config)) == []
    assert (block["models"], block["rank"], block["loss"]) == (["a"], 1, "answer_nll")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ["c"]}, "no analysis of single heads covers 'c'"),
        ({"loss": "probe_bce"}, "analyses.heads.loss: probe_bce is not among analyses.saliency.loss"),
        ({"rank": 2}, "analyses.heads.rank: 2 is not among analyses.safety_heads.rank"),
        ({"datasets": {"safety_heads": "p3"}}, "'p3' is not among its data sets; there are: p1, p2"),
        ({"datasets": {"head_categories": "rel"}}, "analyses.head_categories is not in the configuration"),
    ],
)
def test_choices_that_no_analysis_has_are_named(changes, words):
    (problem,) = problems("analyses.heads", *settings(**changes))
    assert words in problem


def test_a_table_of_heads_needs_an_analysis_of_heads():
    block, config = settings()
    config["analyses"] = {"heads": block}
    (problem,) = problems("analyses.heads", block, config)
    assert "none is in the configuration" in problem
