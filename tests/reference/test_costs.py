"""What the analyses compute, in forwards and floating-point operations, which no busy machine can blur."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import families
from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.mink.extract import extract
from atlas.analyses.mink.scored_texts import ScoredText
from atlas.analyses.safety_heads.extract import HeadAblation
from atlas.analyses.saliency.answered_samples import AnsweredSample
from atlas.analyses.saliency.extract import SampleProbe
from atlas.analyses.saliency.extract import extract as extract_saliency
from atlas.attention import decoder_layers
from atlas.models.architectures import unembedding

PROMPTS = [(3, 4, 5, 6 + i, *range(20, 26 + i % 2)) for i in range(8)]


def operations(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def linear_operations(call):
    """The same of linear layers alone: PyTorch counts no fused attention on a CPU."""
    with FlopCounterMode(display=False) as counter:
        call()
    counts = counter.get_flop_counts()["Global"]
    return sum(counts.get(operator, 0) for operator in (torch.ops.aten.mm, torch.ops.aten.addmm))


def forwards(model, call):
    """Forwards of the model, and rows of states that its unembedding was given."""
    seen = []
    handle = unembedding(model).register_forward_pre_hook(lambda _, args: seen.append(args[0][..., 0].numel()))
    try:
        call()
    finally:
        handle.remove()
    return len(seen), sum(seen)


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_single_heads_cost_the_layers_above_them(name):
    """Per head of layer l: the layers above l for all tokens but for those that prompts share, and last logits only."""
    model = families.build(name, num_hidden_layers=6, intermediate_size=192).requires_grad_(False)
    heads = model.config.num_attention_heads
    ablation = HeadAblation(model, PROMPTS, range(6), epsilon=1e-5)
    tokens, shared = sum(map(len, PROMPTS)), len(ablation.packs[0].pack.ids)
    assert shared <= tokens - 3 * (len(PROMPTS) - 1)

    def ours(layer):
        return ablation.effects("scaling", [[(layer, head)] for head in range(heads)])

    def published():
        with torch.no_grad():
            for prompt in PROMPTS:
                model(torch.tensor([prompt]), use_cache=False)

    whole = operations(published) * heads
    head = 2 * model.config.hidden_size * model.config.vocab_size
    layers = (whole - head * tokens * heads) / 6  # of all heads and prompts
    for layer in range(6):
        cost = operations(lambda layer=layer: ours(layer))
        # The head's own layer from the output projection on and the last up to keys and values make one together.
        above = (5 - layer) * layers * shared / tokens
        once = 0.05 * layers * shared / tokens  # the first layer's queries, keys and values, one row of them
        last = layers * len(PROMPTS) / tokens + head * len(PROMPTS) * heads
        assert above - layers * shared / tokens <= cost <= above + once + last
        assert forwards(model, lambda layer=layer: ours(layer)) == (1, len(PROMPTS) * heads)
    total = sum(operations(lambda layer=layer: ours(layer)) for layer in range(6))
    assert total < 0.4 * 6 * whole


def test_clean_pass_runs_few_prompts_alone():
    """One packed forward, and four prompts alone against which it is checked."""
    model = families.build("llama").requires_grad_(False)
    assert forwards(model, lambda: HeadAblation(model, PROMPTS, range(4), epsilon=1e-5)) == (5, len(PROMPTS) + 4)


def test_scored_tokens_cost_one_forward_and_their_own_logits():
    """Every token behind the shared beginning enters one forward, and the unembedding sees scored tokens only."""
    model, begin = families.build("llama"), tuple(range(20, 30))
    texts = [ScoredText(n, (*begin, 40 + n, *range(50, 60 + n)), (False,) * 13 + (True,) * (8 + n)) for n in range(6)]
    entered = []
    handle = model.get_input_embeddings().register_forward_pre_hook(lambda _, args: entered.append(args[0].numel()))
    check = 8  # tokens on which the head is compared with the model's own, twice each
    seen = forwards(model, lambda: extract(model, {"answer": texts}, batch_tokens=1000))[1]
    handle.remove()
    assert seen == 2 * check + sum(sum(text.scored) for text in texts)
    longest = max(len(text.ids) for text in texts) - len(begin)
    assert sum(entered) == 2 * check + len(begin) + longest * len(texts)


def test_head_mappings_cost_the_width_of_a_head_not_of_the_model(tmp_path):
    """Published: d x d matrices and d-wide rows against the vocabulary, per relation; ours: head-wide, per source."""
    model = families.build("llama", vocab_size=600)
    model.save_pretrained(tmp_path)
    width, vocabulary, narrow = 48, 600, 8
    rng = np.random.default_rng(0)
    relations = [
        pd.DataFrame({"relation": name, "source_id": np.arange(3, 103), "target_id": rng.integers(3, 600, 100)})
        for name in "abc"
    ]
    pairs = pd.concat(relations, ignore_index=True)
    cost = operations(lambda: map_heads(tmp_path, pairs, [1, 2], k_max=2, threads=1)) / 12
    published = 3 * 2 * (width * narrow * width + 100 * width * width + 100 * width * vocabulary)
    sources = 2 * vocabulary * narrow * (width + 100) + 2 * 100 * width * narrow
    assert cost < published / 6
    assert sources <= cost < 2 * sources


@pytest.mark.parametrize("layer", [2, 4])
def test_saliency_costs_the_layers_below_the_probe_and_no_graph_before_the_question(layer):
    """Forward: shared tokens once; backward: from the first destination on, none for what makes the first attention."""
    model = families.build("llama").requires_grad_(False)
    texts, length, shared = 4, 40, 30
    ids = [(*range(20, 20 + shared), *range(60 + n, 60 + n + length - shared)) for n in range(texts)]
    sets = (shared, shared + 2), (length - 2, length - 1), (shared + 1, shared + 3)
    samples = [AnsweredSample(n, row, *sets) for n, row in enumerate(ids)]
    weights = np.ones((texts, model.config.hidden_size), np.float32)
    probe = SampleProbe(layer, weights, np.zeros(texts, np.float32))
    options = {"losses": ["probe_logit"], "sample_probe": probe, "batch_tokens": 1000}
    cost = linear_operations(lambda: extract_saliency(model, samples, ids[0][:shared], **options))

    linear = {n: m.weight.numel() for n, m in decoder_layers(model)[0].named_modules() if hasattr(m, "in_features")}
    whole = 2 * sum(linear.values())
    first = 2 * sum(size for name, size in linear.items() if name.endswith(("q_proj", "k_proj", "v_proj")))
    behind = texts * (length - shared)
    behind_attention = 2 * sum(size for name, size in linear.items() if name.startswith("mlp") or "o_proj" in name)
    # Behind the highest attention: for what the probe reads alone, and one token where it reads nothing.
    top = behind_attention * (shared - 1 + behind - texts - texts + behind - texts - texts)
    assert cost == layer * whole * (shared + behind) + (layer * whole - first) * (behind - texts) - top

    def published():
        """All layers and all logits of every text, and the gradient of every token below the probe."""
        kept = []
        handle = decoder_layers(model)[layer - 1].register_forward_hook(
            lambda module, args, output: kept.append(output)
        )
        model.enable_input_require_grads()
        try:
            for row in ids:
                model(torch.tensor([row]), use_cache=False)
                kept.pop()[0, -1].sum().backward()
        finally:
            handle.remove()
            model.disable_input_require_grads()

    head = 2 * model.config.hidden_size * model.config.vocab_size
    full = linear_operations(published)
    assert full == texts * length * (4 * whole + head + layer * whole)
    assert cost < full / (3 if layer == 4 else 4)
