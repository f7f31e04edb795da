"""What the analyses compute, in forwards and floating-point operations, which no busy machine can blur."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import families
from atlas.analyses.head_ablation import HeadAblation
from atlas.models.architectures import unembedding

PROMPTS = [(3, 4, 5, 6 + i, *range(20, 26 + i % 2)) for i in range(8)]


def operations(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


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
    tokens, shared = sum(map(len, PROMPTS)), len(ablation.packs[0].ids)
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
