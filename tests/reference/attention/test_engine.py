"""Captured rows, column sums, row masses and the diagonal equal stock eager attention in every family."""

import pytest
import torch
from transformers import DynamicCache

from atlas.attention import ColumnSum, Plan, RowMass, Stripe, attend, kernels
from attention_engine_reference import (
    ENGINE_FAMILIES,
    PADDINGS,
    TOKENS,
    assert_close,
    attention,
    batch,
    heads,
    model_of,
)
from families import build

EXCLUDED = torch.zeros(2, TOKENS, dtype=torch.bool)
EXCLUDED[0, [0, 3, 11, 12]] = True
EXCLUDED[1, [7, 8, 20]] = True


def run(name, plan, padding="none", exact=False):
    ids, mask = batch(padding)
    model = model_of(name)
    with torch.no_grad(), attend(model, plan, exact=exact) as record:
        logits = model(ids, attention_mask=mask, use_cache=False).logits
    return record, logits


def stacked(by_layer):
    return torch.stack([by_layer[layer] for layer in sorted(by_layer)])


def expected_sum(weights, spec, row_weights):
    """The definition of ColumnSum on full attention (L, B, H, T, T).

    1 - excluded mass cancels in fp32: without a sink the same number is the sum of what remains, and families with
    a sink come here in float64.
    """
    sink = weights.dtype == torch.float64
    i, j = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)
    if spec.exclude is not None:
        gone = spec.exclude[None, :, None, None, :]
        left = 1 - (weights * gone).sum(-1, keepdim=True) if sink else (weights * ~gone).sum(-1, keepdim=True)
        sees = ((weights > 0) & ~gone).any(-1, keepdim=True)
        weights = torch.where(sees, (weights * ~gone) / left, 0)
    return torch.einsum("lbhij,bi->lbhj", weights * (i - j >= spec.min_distance), row_weights)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_statistics(name, padding):
    weights, (_, mask) = attention(name, padding), batch(padding)
    random = torch.rand(2, TOKENS, generator=torch.Generator().manual_seed(1)) * mask
    specs = {
        "ones": (ColumnSum(mask), mask.float()),
        "strict": (ColumnSum(mask, min_distance=1), mask.float()),
        "far": (ColumnSum(random, min_distance=5), random),
        "vector": (ColumnSum(random[0] * mask[1]), (random[0] * mask[1]).expand(2, -1)),
        "signed": (ColumnSum(random - 0.5 * mask, min_distance=1), random - 0.5 * mask),
    }
    if name != "gpt_oss":  # the test below
        specs["rest"] = (ColumnSum(random, exclude=EXCLUDED), random)
        specs["rest far"] = (ColumnSum(random, min_distance=1, exclude=EXCLUDED), random)
    plan = Plan(
        rows=torch.tensor([0, 6, TOKENS - 1]),
        column_sums={n: s for n, (s, _) in specs.items()},
        row_masses={"set": RowMass(EXCLUDED), "first": RowMass(torch.arange(TOKENS) < 3)},
        diagonal=True,
        stripes={"own": Stripe(0, mask), "behind": Stripe(1, mask), "far": Stripe(9, random), "none": Stripe(TOKENS)},
        block=7,
    )
    record, _ = run(name, plan, padding)
    for n, (spec, row_weights) in specs.items():
        assert_close(stacked(record.column_sums[n]), expected_sum(weights, spec, row_weights))
    real = mask[None, :, None]  # rows of padding queries are the caller's to ignore, but they must stay finite
    for n, keys in (("set", EXCLUDED), ("first", (torch.arange(TOKENS) < 3).expand(2, -1))):
        measured = stacked(record.row_masses[n])
        assert torch.isfinite(measured).all()
        assert_close(measured * real, (weights * keys[None, :, None, None]).sum(-1))
    assert_close(stacked(record.diagonal) * real, weights.diagonal(dim1=-2, dim2=-1))
    for n, distance, by in (("own", 0, mask), ("behind", 1, mask), ("far", 9, random)):
        back = [weights[..., i, i - distance] * by[:, i, None] for i in range(distance, TOKENS)]
        assert_close(stacked(record.stripes[n]), torch.stack(back).sum(0))
    assert not stacked(record.stripes["none"]).any()
    assert_close(stacked(record.rows) * real[..., plan.rows, None], weights[..., plan.rows, :])


def test_learned_sink_takes_mass():
    """With strong sinks rows sum to less than 1; what the sink takes stays in the denominator after an exclusion."""
    model, (ids, mask) = build("gpt_oss", dtype=torch.float64), batch("left")
    model.set_experts_implementation("eager")  # grouped products have no float64
    for module in model.modules():
        if hasattr(module, "sinks"):
            module.sinks.data += 3
    with torch.no_grad():
        out = model(ids, attention_mask=mask, use_cache=False, output_attentions=True)
    weights = torch.stack(out.attentions) * mask[None, :, None, :, None]
    assert float(weights[:, 0].sum(-1).min()) < 0.5
    specs = {"all": ColumnSum(mask), "rest": ColumnSum(mask, exclude=EXCLUDED)}
    specs["rest far"] = ColumnSum(mask, min_distance=5, exclude=EXCLUDED)
    with torch.no_grad(), attend(model, Plan(column_sums=specs, block=7)) as record:
        logits = model(ids, attention_mask=mask, use_cache=False).logits
    assert_close(logits[mask.bool()], out.logits[mask.bool()])
    for name, spec in specs.items():
        expected = expected_sum(weights, spec, mask.double())
        assert_close(stacked(record.column_sums[name]), expected)


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_logits(name):
    """Exact mode is bit-identical to eager; fused and block-wise attention agree with it."""
    model = model_of(name)
    for padding in PADDINGS:
        ids, mask = batch(padding)
        with torch.no_grad():
            eager = model(ids, attention_mask=mask, use_cache=False).logits
        _, exact = run(name, Plan(), padding, exact=True)
        _, counted = run(name, Plan(column_sums={"a": ColumnSum()}), padding, exact=True)
        assert torch.equal(exact, eager)
        assert torch.equal(counted, eager)
        real = mask.bool()
        assert_close(run(name, Plan(), padding)[1][real], eager[real])
        assert_close(run(name, Plan(diagonal=True, block=7), padding)[1][real], eager[real])


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_block_size_and_batch_composition(name):
    """Neither the block, nor the tile size, nor the other texts of a batch change a result beyond rounding."""
    ids, mask = batch("left")
    model, plans = model_of(name), []
    for block in (1, 5, 24, 128):
        record, logits = run(name, Plan(column_sums={"a": ColumnSum(mask, 1)}, diagonal=True, block=block), "left")
        plans.append((stacked(record.column_sums["a"]), logits[mask.bool()]))
    for sums, logits in plans[1:]:
        assert_close(sums, plans[0][0], 2e-6)
        assert_close(logits, plans[0][1])
    single = Plan(column_sums={"a": ColumnSum(mask[1:], 1)})
    with torch.no_grad(), attend(model, single) as record:
        model(ids[1:], attention_mask=mask[1:], use_cache=False)
    assert_close(stacked(record.column_sums["a"])[:, 0], plans[0][0][:, 1])


def test_small_tiles(monkeypatch):
    """Tiles of single heads and of some batch rows add up to the same sums."""
    ids = torch.randint(3, 190, (5, TOKENS), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[3, :4] = 0
    for name in ("llama", "gpt_oss", "gemma2"):
        model, found = model_of(name), []
        for size in (1, 400, 2000, 1 << 21):
            monkeypatch.setitem(kernels.TILE_ELEMENTS, "cpu", size)
            plan = Plan(column_sums={"a": ColumnSum(mask)}, row_masses={"m": RowMass(mask)}, diagonal=True, block=6)
            with torch.no_grad(), attend(model, plan) as record:
                logits = model(ids, attention_mask=mask, use_cache=False).logits[mask.bool()]
            found.append((stacked(record.column_sums["a"]), stacked(record.diagonal), logits))
        for other in found[1:]:
            for a, b in zip(other, found[0], strict=True):
                assert_close(a, b)


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_padding_equals_unpadded(name):
    """A padded text has the statistics of the text alone, shifted; nothing falls on the padding."""
    model, (layers, _) = model_of(name), heads(model_of(name))
    ids = torch.randint(3, 190, (1, TOKENS), generator=torch.Generator().manual_seed(9))
    with torch.no_grad(), attend(model, Plan(column_sums={"a": ColumnSum()}, block=7)) as alone:
        model(ids, use_cache=False)
    pad = torch.zeros(1, 6, dtype=torch.long)
    for side in ("left", "right"):
        parts = (pad, ids) if side == "left" else (ids, pad)
        padded = torch.cat(parts, dim=1)
        mask = torch.cat([torch.zeros_like(p) if p is pad else torch.ones_like(p) for p in parts], dim=1)
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        plan = Plan(column_sums={"a": ColumnSum(mask)}, block=7)
        with torch.no_grad(), attend(model, plan) as record:
            model(padded, attention_mask=mask, position_ids=positions, use_cache=False)
        sums = stacked(record.column_sums["a"])
        assert_close(sums[..., mask[0].bool()], stacked(alone.column_sums["a"]))
        assert float(sums[..., ~mask[0].bool()].abs().max()) == 0
        assert len(sums) == layers


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_cache(name):
    """Queries after a cached prefix: rows, sums and diagonal belong to absolute positions."""
    model, weights, (ids, _) = model_of(name), attention(name, "none"), batch()
    start, weighting = 17, torch.arange(float(TOKENS))
    plan = Plan(
        rows=torch.tensor([3, 19, TOKENS - 1]),  # 3 is in the prefix
        column_sums={"a": ColumnSum(weighting, min_distance=1)},
        row_masses={"m": RowMass(EXCLUDED)},
        diagonal=True,
        block=3,
    )
    with torch.no_grad(), attend(model, plan) as record:
        cache = DynamicCache()  # with a config a sliding layer would forget keys
        model(ids[:, :start], past_key_values=cache, use_cache=True)
        model(ids[:, start:], past_key_values=cache, use_cache=True)
    late = weights * (torch.arange(TOKENS) >= start)[:, None]
    below = torch.arange(TOKENS)[:, None] > torch.arange(TOKENS)
    assert_close(stacked(record.rows), weights[..., [19, TOKENS - 1], :])
    assert_close(stacked(record.column_sums["a"]), (late * below * weighting[:, None]).sum(-2))
    assert_close(stacked(record.diagonal), weights.diagonal(dim1=-2, dim2=-1)[..., start:])
    assert_close(stacked(record.row_masses["m"]), (weights * EXCLUDED[None, :, None, None]).sum(-1)[..., start:])


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "opt"])
def test_rows_without_a_visible_key_are_zero(name):
    """Left padding queries see nothing: they add nothing to sums even with weight 1, and have no mass."""
    weights, (_, mask) = attention(name, "left"), batch("left")
    plan = Plan(
        column_sums={"a": ColumnSum()}, row_masses={"m": RowMass(mask)}, diagonal=True, rows=torch.arange(TOKENS)
    )
    for exact in (False, True):
        record, _ = run(name, plan, "left", exact=exact)
        assert_close(stacked(record.column_sums["a"]), weights.sum(-2))
        assert_close(stacked(record.row_masses["m"]), weights.sum(-1))
        assert_close(stacked(record.diagonal), weights.diagonal(dim1=-2, dim2=-1))
        assert_close(stacked(record.rows), weights)


def test_half_precision_statistics_are_fp32():
    model, (ids, mask) = model_of("llama"), batch("left")
    half = build("llama", dtype=torch.bfloat16)
    plan = Plan(column_sums={"a": ColumnSum(mask)}, diagonal=True)
    with torch.no_grad(), attend(half, plan) as record:
        half(ids, attention_mask=mask, use_cache=False)
    with torch.no_grad(), attend(model, plan) as reference:
        model(ids, attention_mask=mask, use_cache=False)
    assert record.column_sums["a"][0].dtype == torch.float32
    assert_close(record.column_sums["a"][0], reference.column_sums["a"][0], 0.02)
    total = record.column_sums["a"][0].sum(-1)  # every real row sums to 1, not to a bfloat16 approximation of it
    assert_close(total, mask.sum(1, keepdim=True).float().expand(-1, 6), 1e-5)
