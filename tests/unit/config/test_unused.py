"""What is asked for and read by nothing is named, or refused where it was asked for by itself."""

import pytest
import yaml

from atlas.config import checked
from configurations import check
from places import ROOT

NONE_KEPT = "tiny, tiny-shuffled: analyses.head_categories.salient_tokens is 0"
# configuration over configs/tiny.yaml -> its notes
NOTES = {
    "{}": [],
    "analyses: {head_categories: {salient_tokens: 0}}": [f"figures.explorer.salient lists nothing of {NONE_KEPT}."],
    "{analyses: {head_categories: {salient_tokens: 0}}, figures: {explorer: {salient: 0}}}": [],
    "{analyses: {head_categories: {salient_tokens: 0, salient_mapped: 3}}, figures: {explorer: {salient: 0}}}": [
        "analyses.head_categories.salient_mapped is not used: salient_tokens is 0."
    ],
    "analyses: {head_categories: {first_mlp: false, first_experts: routed}}": [
        "analyses.head_categories.first_experts is not used: first_mlp is false."
    ],
    "analyses: {head_categories: {first_experts: routed}}": [],
    "analyses: {relation_dynamic: {shots: 1}}": [
        "analyses.relation_dynamic.shots is not used: no template has {examples}."
    ],
    "analyses: {relation_dynamic: {shots: 1, templates: ['{examples} {source}']}}": [],
    "analyses: {relation_effect: {shots: 1}}": [],
    "analyses: {meaningless_tokens: {span: {seed: 3}}}": [
        "analyses.meaningless_tokens.span.seed is not used: span.kind is repeat, which draws nothing."
    ],
    "analyses: {meaningless_tokens: {span: {kind: random_words, seed: 3, string: o}}}": [
        "analyses.meaningless_tokens.span.string is not used: span.kind is random_words, which draws words."
    ],
    "models: {tiny: {options: {head_categories: {first_mlp: false, first_experts: routed}}}}": [
        "models.tiny.options.head_categories.first_experts is not used: first_mlp is false."
    ],
    "{analyses: {head_categories: null}, figures: {explorer: {salient: 4, curves: 3}}}": [
        "figures.explorer.salient is not used: no model of it is in analyses.head_categories."
    ],
}


@pytest.mark.parametrize("text", NOTES)
def test_what_nothing_reads_is_named_with_why(text):
    notes = check(text)["notes"]
    assert [note for note in notes if "Switched off" not in note and "leaves out" not in note] == NOTES[text]


def test_losses_and_ablations_that_are_not_asked_for_leave_their_options_unread():
    text = "{analyses: {LEFT}, figures: {SHOWN}}"
    left = "saliency: {loss: [answer_nll], probe: {folds: 3}}"
    shown = "saliency_density: {loss: answer_nll}, saliency_by_layer: {loss: answer_nll}"
    assert "analyses.saliency.probe is not used: no loss but answer_nll is asked for." in noted(text, left, shown)
    left = "safety_heads: {ablations: [mean], epsilon: 0.5}"
    shown = "safety_heads: {ablations: [mean]}, prompt_heads: {ablations: [mean]}, safety_effect: {ablations: [mean]}"
    assert "analyses.safety_heads.epsilon is not used: scaling is not among ablations." in noted(text, left, shown)
    left = "mink: {predictions: {questions: 0}, threshold: 3}"
    assert "analyses.mink.threshold is not used: predictions.questions is 0, so nothing is answered." in noted(
        text, left, "mink_depth: {kde_models: all}"
    )


def noted(text, left, shown):
    return check(text.replace("LEFT", left).replace("SHOWN", shown))["notes"]


def test_the_shipped_configuration_sets_nothing_that_nothing_reads():
    assert checked(yaml.safe_load((ROOT / "config.yaml").read_text()), ROOT)["notes"] == []
