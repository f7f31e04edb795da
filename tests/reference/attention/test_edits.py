"""Head edits equal hooks on stock models, resuming equals running, and neither breaks causality."""

import pytest
import torch

from atlas.attention import ColumnSum, Plan, attend, decoder_layers, layer_inputs, packable, resume_from, self_check
from atlas.errors import AtlasError
from attention_engine_reference import (
    ENGINE_FAMILIES,
    PAD,
    TOKENS,
    assert_close,
    attention_module,
    batch,
    heads,
    model_of,
    scaled_heads,
    zero_queries,
)
from families import build


def logits_of(model, ids, mask, **options):
    with torch.no_grad():
        return model(ids, attention_mask=mask, use_cache=False, **options).logits


def attended(model, plan, ids, mask, **options):
    with attend(model, plan):
        return logits_of(model, ids, mask, **options)


def one_head_per_row(name):
    """A batch in which row r edits head r; the last row has left padding and edits heads 0 and 1."""
    count = heads(model_of(name))[1]
    ids, _ = batch()
    ids = torch.cat([ids[:1].expand(count, -1), ids[1:]])
    mask = torch.ones_like(ids)
    mask[-1, :PAD] = 0
    where = torch.cat([torch.eye(count, dtype=torch.bool), torch.arange(count)[None] < 2])
    return ids, mask, where


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_edits_equal_hooks(name):
    model = model_of(name)
    ids, mask, where = one_head_per_row(name)
    real = mask.bool()
    plain = logits_of(model, ids, mask)[real]
    factors = torch.where(where, 0.3, 1.0)
    for layer in range(heads(model)[0]):
        with scaled_heads(model, layer, factors):
            expected = logits_of(model, ids, mask)[real]
        for exact in (False, True):
            with attend(model, Plan(scale={layer: factors}), exact=exact):
                assert_close(logits_of(model, ids, mask)[real], expected)
        assert float((expected - plain).abs().max()) > 1e-3
        with zero_queries(model, layer, where):
            expected = logits_of(model, ids, mask)[real]
        assert_close(attended(model, Plan(uniform={layer: where}), ids, mask)[real], expected)
        # with statistics of every row the output comes from the block kernel
        blocks = Plan(uniform={layer: where}, column_sums={"a": ColumnSum(mask)}, block=7)
        assert_close(attended(model, blocks, ids, mask)[real], expected)
        assert float((expected - plain).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gpt_oss", "mistral_sliding"])
def test_uniform_without_padding(name):
    """The running mean of the plain causal path equals zeroed queries, too."""
    model, count = model_of(name), heads(model_of(name))[1]
    ids, mask = batch()
    where = torch.arange(count)[None].expand(2, -1) % 2 == 0
    for layer in range(heads(model)[0]):
        with zero_queries(model, layer, where):
            expected = logits_of(model, ids, mask)
        assert_close(attended(model, Plan(uniform={layer: where}), ids, mask), expected)


def test_replace_and_order():
    """Replaced outputs equal a hook that sets the slice; scale comes last; edits of one layer leave others alone."""
    model, (ids, mask) = model_of("llama"), batch()
    values = torch.randn(6, 8, generator=torch.Generator().manual_seed(3))
    where = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)

    def pre(module, args):
        x = args[0].unflatten(-1, (6, 8))
        return (torch.where(where[:, None, :, None], values, x).flatten(-2) * 0.5,)

    handle = attention_module(model, 2).o_proj.register_forward_pre_hook(pre)
    try:
        expected = logits_of(model, ids, mask)
    finally:
        handle.remove()
    plan = Plan(replace={2: (where, values)}, scale={2: torch.full((2, 6), 0.5)})
    assert_close(attended(model, plan, ids, mask), expected)


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_identity_edits(name):
    model, (ids, mask) = model_of(name), batch("left")
    ones, none = torch.ones(1, heads(model)[1]), torch.zeros(1, heads(model)[1], dtype=torch.bool)
    plan = Plan(scale={0: ones, 2: ones}, uniform={1: none}, replace={3: (none, torch.zeros(1))})
    assert torch.equal(attended(model, plan, ids, mask), attended(model, Plan(), ids, mask))


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_causality(name):
    """Changing the last token leaves every earlier position as it was, with statistics and with edits."""
    model, count = model_of(name), heads(model_of(name))[1]
    ids, mask = batch("left")
    other = ids.clone()
    other[:, -1] = (ids[:, -1] + 1) % 150 + 3
    everywhere = torch.ones(2, count, dtype=torch.bool)
    plans = [
        Plan(),
        Plan(diagonal=True, block=7),
        Plan(uniform=dict.fromkeys(range(4), everywhere)),
        Plan(scale=dict.fromkeys(range(4), torch.full((2, count), 1e-5))),
        Plan(uniform={1: everywhere}, column_sums={"a": ColumnSum()}, block=5),
    ]
    for texts in (mask, torch.ones_like(mask)):
        real = texts.bool()[:, :-1]
        for plan in plans:
            before, after = (attended(model, plan, x, texts) for x in (ids, other))
            assert_close(after[:, :-1][real], before[:, :-1][real], 1e-6)
            assert float((after[:, -1] - before[:, -1]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_resume(name):
    """Resuming at any layer gives the same bits as running, with edits above the resume point too."""
    model, (layers, count) = model_of(name), heads(model_of(name))
    ids, mask = batch("left")
    factors = torch.rand(2, count, generator=torch.Generator().manual_seed(4))
    with layer_inputs(model, set(range(layers))) as hidden:
        plain = attended(model, Plan(), ids, mask)
    assert sorted(hidden) == list(range(layers))
    ran = {}
    for layer in range(layers):
        plan = Plan(scale={layer: factors})
        edited = attended(model, plan, ids, mask)
        ran[layer] = []
        handles = [
            module.register_forward_hook(lambda *_, n=n, found=ran[layer]: found.append(n))
            for n, module in enumerate(decoder_layers(model))
        ]
        try:
            with resume_from(model, layer, hidden[layer]):
                again = attended(model, plan, torch.full_like(ids, 3), mask)
        finally:
            for handle in handles:
                handle.remove()
        with resume_from(model, layer, hidden[layer]):
            assert torch.equal(attended(model, Plan(), torch.full_like(ids, 3), mask), plain)
        assert torch.equal(again, edited)
    assert ran == {layer: list(range(layer, layers)) for layer in range(layers)}
    assert torch.equal(attended(model, Plan(), ids, mask), plain)  # the layers are back


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_self_check_passes(name):
    self_check(build(name, attn_implementation="eager"))
    if name not in ("gemma2", "gpt_oss"):
        self_check(build(name, attn_implementation="sdpa"))


def test_self_check_notices_a_wrong_model(monkeypatch):
    """A model whose attention the interface does not describe is refused with a sentence."""
    model = build("llama")
    attn = attention_module(model, 1)
    stock = attn.forward

    def forward(*args, **kwargs):  # adds something behind the interface's back, but only in the stock implementation
        out, weights = stock(*args, **kwargs)
        return out * (1.5 if model.config._attn_implementation == "eager" else 1), weights

    monkeypatch.setattr(attn, "forward", forward)
    with pytest.raises(AtlasError, match="logits under its own eager attention"):
        self_check(model)
    monkeypatch.undo()
    seen = {}  # a last layer that depends on the first one behind the residual stream's back
    layers = decoder_layers(model)
    layers[0].register_forward_hook(lambda *_: seen.update(ran=True))
    layers[-1].register_forward_hook(lambda module, args, out: out if seen.pop("ran", False) else out.flip(-1))
    self_check(model)
    assert not packable(model)  # each prompt is run whole then, and not from a layer on


def test_wrong_shapes_are_named():
    model, (ids, mask) = model_of("llama"), batch()
    with pytest.raises(AtlasError, match="scale edit of layer 1"):
        attended(model, Plan(scale={1: torch.ones(2, 5)}), ids, mask)
    outside = resume_from(model, 4, torch.zeros(2, TOKENS, 48))
    with pytest.raises(AtlasError, match="Cannot resume from layer 4"), outside:
        pass
