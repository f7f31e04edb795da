"""Heads and layers beyond a model are refused when a run is planned, where its sizes are known."""

import dataclasses

import pytest
import yaml

from atlas.config import checked
from atlas.config.model_sizes import beyond_models
from atlas.models.architectures import Shape
from configurations import check
from places import ROOT

SHAPE = Shape(layers=4, heads=6, kv_heads=3, group=2, head_width=8, value_width=8, width=48, vocabulary=300, context=64)
CUT = "models: {cut: {source: {ablated: {of: tiny, ablation: scaling, heads: HEADS}}}}"
FEWER = "has 24 heads, and not 25; take fewer."
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
    "figures: {attention_sinks: {models: [tiny], heads: {auto: 6, layer: 0}}}": "",
    "figures: {attention_sinks: {models: [tiny], heads: {auto: 7, layer: 0}}}": "figures.attention_sinks.heads.auto: a "
    "layer of tiny has 6 heads, and not 7; take fewer, or layer: null, of all layers.",
    "figures: {attention_sinks: {models: [tiny], heads: {auto: 24, layer: null}}}": "",
    "figures: {attention_sinks: {models: [tiny], heads: {auto: 25, layer: null}}}": "figures.attention_sinks.heads."
    f"auto: tiny {FEWER}",
    "figures: {safety_heads: {models: [tiny], top: 24}}": "",
    "figures: {safety_heads: {models: [tiny], top: 25}}": f"figures.safety_heads.top: tiny {FEWER}",
    "figures: {prompt_heads: {models: [tiny], top: 24}}": "",
    "figures: {prompt_heads: {models: [tiny], top: 25}}": f"figures.prompt_heads.top: tiny {FEWER}",
    "analyses: {head_groups: {models: [tiny], candidates: 24}}": "",
    "analyses: {head_groups: {models: [tiny], candidates: 25}}": f"analyses.head_groups.candidates: tiny {FEWER}",
    "analyses: {heads: {models: [tiny], top: 24}}": "",
    "analyses: {heads: {models: [tiny], top: 25}}": f"analyses.heads.top: tiny {FEWER}",
    "analyses: {relation_effect: {models: [tiny], heads: [implementing, 2, 24]}}": "",
    "analyses: {relation_effect: {models: [tiny], heads: [25, 2, implementing]}}": "analyses.relation_effect.heads: "
    f"tiny {FEWER}",
    "analyses: {sinks: {models: [tiny], length: 64}}": "",
    "analyses: {sinks: {models: [tiny], length: 65}}": "analyses.sinks.length: sequences have 65 tokens, and tiny has "
    "64 tokens of context; take less.",
    "analyses: {head_types: {models: [tiny], length: 32}}": "",
    "analyses: {head_types: {models: [tiny], length: 33}}": "analyses.head_types.length: sequences stand twice, in 66 "
    "tokens, and tiny has 64 tokens of context; take less.",
    "analyses: {ablation_effect: {models: [tiny], new_tokens: 63}}": "",
    "analyses: {ablation_effect: {models: [tiny], new_tokens: 64}}": "analyses.ablation_effect.new_tokens: answers and "
    "one token take 65, and tiny has 64 tokens of context; take less.",
    "analyses: {saliency: {models: [tiny], max_new_tokens: 63}}": "",
    "analyses: {saliency: {models: [tiny], max_new_tokens: 64}}": "analyses.saliency.max_new_tokens: answers and one "
    "token take 65, and tiny has 64 tokens of context; take less.",
    "analyses: {head_categories: {models: [tiny], shards: 4}}": "",
    "analyses: {head_categories: {models: [tiny], shards: 5}}": "analyses.head_categories.shards: layers are cut into "
    "5 jobs, and tiny has 4 layers; take less.",
    "analyses: {head_categories: {models: [tiny], k_max: 300}}": "",
    "analyses: {head_categories: {models: [tiny], k_max: 301}}": "analyses.head_categories.k_max: 301 ranks are kept, "
    "and tiny has 300 token ids; take less.",
    "analyses: {head_categories: {models: [tiny], salient_mapped: 301}}": "analyses.head_categories.salient_mapped: "
    "301 tokens are kept, and tiny has 300 token ids; take less.",
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


def test_numbers_of_heads_as_shipped_are_asked_of_no_small_model():
    """It is the user's own larger number that is refused; a model of one head shows all it has."""
    config = checked({**yaml.safe_load((ROOT / "config.yaml").read_text())}, ROOT)
    small = dataclasses.replace(SHAPE, layers=2, heads=1, context=None)
    said = list(beyond_models(config, lambda model: small))
    assert [sentence.partition(":")[0] for sentence in said] == ["analyses.ablation_effect.heads"]
