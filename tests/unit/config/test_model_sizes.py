"""Heads and layers beyond a model are refused when a run is planned, where its sizes are known."""

import pytest

from atlas.config.model_sizes import beyond_models
from atlas.models.architectures import Shape
from configurations import check

SHAPE = Shape(layers=4, heads=6, kv_heads=3, group=2, head_width=8, value_width=8, width=48, vocabulary=300, context=64)
CUT = "models: {cut: {source: {ablated: {of: tiny, ablation: scaling, heads: HEADS}}}}"
LACKS = "its layers are 0 to 3, its heads 0 to 5; correct it."

# configuration over configs/tiny.yaml -> its sentence where every model is of SHAPE; "" where there is none
SAID = {
    CUT.replace("HEADS", "[[3, 5], [0, 0]]"): "",
    CUT.replace("HEADS", "[[3, 5], [4, 0]]"): f"models.cut.source.ablated.heads: tiny has no head [4, 0]: {LACKS}",
    CUT.replace("HEADS", "[[0, 6]]"): f"models.cut.source.ablated.heads: tiny has no head [0, 6]: {LACKS}",
    CUT.replace("HEADS", "{top: 24, dataset: questions}"): "",
    CUT.replace(
        "HEADS", "{top: 25, dataset: questions}"
    ): "models.cut.source.ablated.heads.top: tiny has 24 heads, and not 25; take fewer.",
    "figures: {attention_sinks: {heads: [[3, 5]]}}": "",
    "figures: {attention_sinks: {models: [tiny], heads: [[5, 1]]}}": "figures.attention_sinks.heads: tiny has no head "
    f"[5, 1]: {LACKS}",
    "figures: {attention_sinks: {models: [tiny], heads: {tiny: [[0, 7]]}}}": "figures.attention_sinks.heads: tiny has "
    f"no head [0, 7]: {LACKS}",
    "figures: {attention_sinks: {models: [tiny], heads: {auto: 2, layer: 3}}}": "",
    "figures: {attention_sinks: {models: [tiny], heads: {auto: 2, layer: 4}}}": "figures.attention_sinks.heads.layer: "
    "tiny has no layer 4; its layers are 0 to 3.",
    "analyses: {ablation_effect: {models: [tiny], heads: [0, 12]}}": "",
    "analyses: {ablation_effect: {models: [tiny], heads: [0, 13]}}": "analyses.ablation_effect.heads: 13 heads are to "
    "be ablated, but of the 24 heads of tiny there must be as many others for the control; ask for at most 12.",
    "analyses: {saliency: {models: [tiny], probe: {layers: [4]}}}": "",
    "analyses: {saliency: {models: [tiny], probe: {layers: [1, 5]}}}": "analyses.saliency.probe.layers: tiny has "
    "hidden states 1 to 4, and no 5; leave it out.",
}


@pytest.mark.parametrize("text", SAID)
def test_what_is_beyond_a_model_is_named_with_its_key_and_sizes(text):
    config = check(text)
    assert list(beyond_models(config, lambda model: SHAPE)) == [SAID[text]] * bool(SAID[text])
    assert list(beyond_models(config, lambda model: None)) == []
