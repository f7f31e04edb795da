"""What is done where the fast way does not serve a family: each against loops over what the stock model does."""

import numpy as np
import pytest
import torch

import any_family
from atlas.attention import LOGITS, Plan, alone, attend, attention_layers, self_check
from atlas.attention.edits import uniform_output
from atlas.attention.kernels import AttentionInputs
from atlas.attention.masks import Visibility, only_chosen
from atlas.models.generation import whole_logits
from atlas.models.next_token import check_head, logits_of, scaled, token_statistics

TEXTS = [[5, 9, 17, 30, 8, 41, 12], [7, 7, 20], [64, 3, 5, 5, 90]]


def stock(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


# model type -> its layers that have attention: from the configuration, or by the modules of the layers
@pytest.mark.parametrize("kind", ["zamba", "zamba2", "qwen3_next", "recurrent_gemma", "mamba2"])
def test_layers_with_attention_are_those_of_the_configuration(kind):
    """Zamba's one attention block has no number, Zamba 2's is -1: the layer that runs counts."""
    model = any_family.build(kind)
    config = model.config
    kinds = getattr(config, "layers_block_type", None) or getattr(config, "layer_types", None) or []
    expected = [index for index, name in enumerate(kinds) if "attention" in name and "linear" not in name]
    expected = expected or [index for index, name in enumerate(kinds) if name == "hybrid"]
    assert attention_layers(model) == ([] if kind == "mamba2" else expected)
    assert kind == "mamba2" or 0 < len(expected) < config.num_hidden_layers


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, None])
def test_only_chosen_keys_are_seen(dtype):
    rng = np.random.default_rng(0)
    batch, queries, keys = 2, 5, 7
    indices = torch.tensor(rng.integers(0, keys, (batch, queries, 3)), dtype=torch.int32)
    causal = np.tril(np.ones((queries, keys), bool), keys - queries)
    mask = torch.tensor(causal)[None, None]
    if dtype == torch.float32:
        mask = torch.where(mask, 0.0, torch.finfo(dtype).min)
    found = only_chosen(None if dtype is None else mask, indices, keys)
    seen = found if found.dtype == torch.bool else found > torch.finfo(found.dtype).min
    for b in range(batch):
        for i in range(queries):
            expected = [causal[i, j] and j in indices[b, i].tolist() for j in range(keys)]
            assert seen.expand(batch, 1, queries, keys)[b, 0, i].tolist() == expected


@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("place", ["mask", "bias"])
def test_undifferentiated_attention_keeps_what_is_added_to_scores(place, sinks):
    torch.manual_seed(0)
    batch, heads, groups, tokens, width = 2, 4, 2, 6, 3
    query = torch.randn(batch, heads, tokens, width)
    key, value = (torch.randn(batch, heads // groups, tokens, width) for _ in range(2))
    added = torch.randn(batch, heads, tokens, tokens)
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    low = torch.finfo(torch.float32).min
    mask = added.masked_fill(~causal, low) if place == "mask" else causal[None, None].expand(batch, 1, -1, -1)
    visible = Visibility(mask, False, batch, tokens, tokens, 4, query.device)
    sink = torch.randn(heads) if sinks else None
    x = AttentionInputs(query, key, value, visible, 0.5, None, sink, added if place == "bias" else None)
    found = uniform_output(x)
    for b in range(batch):
        for h in range(heads):
            for i in range(tokens):
                weights = added[b, h, i, : i + 1].exp()
                total = weights.sum() + (sink[h].exp() if sinks else 0)
                expected = (weights[:, None] * value[b, h // groups, : i + 1]).sum(0) / total
                torch.testing.assert_close(found[b, i, h], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "rwkv", "openai-gpt"])
def test_logits_of_whole_texts_side_by_side_are_those_of_each(kind):
    model = any_family.build(kind)
    with torch.no_grad():
        found = whole_logits(model, TEXTS)
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(found[row], stock(model, text)[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["modernbert-decoder", "recurrent_gemma"])
def test_a_head_of_another_form_is_the_models_own(kind):
    """Log-probabilities, and gradients by the last states, through the model's own forward."""
    model = any_family.build(kind)
    ids = TEXTS[0]
    kept = {}
    hook = model.base_model.register_forward_hook(lambda _, args, out: kept.update(last=out.last_hidden_state))
    logits = stock(model, ids)
    hook.remove()
    check_head(model)
    lp, *_ = token_statistics(model, kept["last"][0, :-1], torch.tensor(ids[1:]))
    expected = logits[:-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    torch.testing.assert_close(lp, expected, rtol=1e-4, atol=1e-4)
    states = kept["last"][0].clone().requires_grad_(True)
    target = torch.autograd.grad(scaled(model, logits_of(model, states))[:, 3].sum(), states)[0]
    step = 1e-2 * torch.randn_like(states)
    with torch.no_grad():
        ahead, back = (scaled(model, logits_of(model, states + sign * step))[:, 3].sum() for sign in (1, -1))
    torch.testing.assert_close((target * step).sum(), (ahead - back) / 2, rtol=2e-2, atol=1e-4)
    torch.testing.assert_close(stock(model, ids), logits)  # nothing is left behind
    self_check(model, LOGITS)


def test_copies_of_one_prompt_are_whole_models():
    model, prompt = any_family.build("lfm2"), TEXTS[0]
    heads = model.config.num_attention_heads
    layer = attention_layers(model)[0]
    plan = Plan(scale={layer: 1 - torch.eye(heads)})
    with alone(model, prompt) as run:
        states, logits = run(layer, None, plan, heads)
    for head in range(heads):
        with torch.no_grad(), attend(model, Plan(scale={layer: plan.scale[layer][head : head + 1]}), exact=True):
            expected = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(logits[head, 0], expected, rtol=1e-4, atol=1e-4)
    assert states.shape == (heads, 1, model.config.hidden_size)
