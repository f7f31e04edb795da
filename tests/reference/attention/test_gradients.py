"""Attention gradients and saliency sums equal autograd on stock eager attention with retain_grad."""

import gc
import weakref

import pytest
import torch
from transformers import DynamicCache

from atlas.attention import Flow, FlowPairs, Plan, attend, flow_sums
from atlas.errors import AtlasError
from attention_engine_reference import (
    ENGINE_FAMILIES,
    PADDINGS,
    TOKENS,
    assert_close,
    attention_and_gradients,
    batch,
    heads,
    last_real,
    model_of,
    objective,
)
from families import build

ROWS = torch.tensor([6, 15, TOKENS - 1])


def token_sets(mask):
    """Destination and source token sets (2, TOKENS) of real tokens, different in each text."""
    rows, columns = torch.zeros_like(mask).bool(), torch.zeros_like(mask).bool()
    rows[0, [14, 15, 17, 23]], rows[1, [9, 12, 18]] = True, True
    columns[0, [2, 3, 4]], columns[1, [5, 7, 9, 10, 12]] = True, True
    return rows & mask.bool(), columns & mask.bool()


def expected_flow(weights, grads, rows, columns, distance):
    """(signed, absolute) (L, B, H), sum_then_abs (L, B), pairs (B,) from full (L, B, H, T, T) tensors."""
    i, j = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)
    chosen = rows[:, :, None] & columns[:, None] & (i - j >= distance)
    s = weights * grads * chosen[None, :, None]
    return s.sum((-1, -2)), s.abs().sum((-1, -2)), s.sum(2).abs().sum((-1, -2)), chosen.sum((-1, -2))


def assert_flow(measured, expected, tolerance=2e-5):
    """Compare {layer: FlowSums} with expected_flow, relative to the largest value of each kind."""
    signed, absolute, sum_then_abs, pairs = expected
    scale = absolute.max()
    assert sorted(measured) == list(range(len(signed)))
    for layer, sums in measured.items():
        assert_close(sums.signed / scale, signed[layer] / scale, tolerance)
        assert_close(sums.absolute / scale, absolute[layer] / scale, tolerance)
        assert_close(sums.sum_then_abs / scale, sum_then_abs[layer] / scale, tolerance)
        assert torch.equal(sums.pairs, pairs)
        assert bool((sums.sum_then_abs <= sums.absolute.sum(1) * (1 + 1e-5)).all())


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_rows_gradients_and_flows(name, padding):
    model, (ids, mask) = model_of(name), batch(padding)
    weights, grads = attention_and_gradients(name, padding)
    scale = grads.abs().max()
    rows, columns = token_sets(mask)
    everything = mask.bool() & (mask.cumsum(1) > 4)
    sets = {"answer": (rows, columns, 0), "all": (everything, columns, 0), "strict": (everything, columns, 1)}
    plan = Plan(rows=ROWS, grads=True, flows={n: Flow(*s) for n, s in sets.items()}, block=5)
    with attend(model, plan) as record:
        objective(model, ids, mask).backward()
    real = mask[:, None, ROWS, None]
    for layer in range(heads(model)[0]):
        visible = (weights[layer][:, :, ROWS] > 0) * real  # A = 0 elsewhere, and dL/dA says nothing there
        assert_close(record.rows[layer] * real, weights[layer][:, :, ROWS] * real)
        assert_close(record.grads[layer] * visible / scale, grads[layer][:, :, ROWS] * visible / scale)
    for n, s in sets.items():
        assert_flow(record.flows[n], expected_flow(weights, grads, *s))
    expected = (weights * grads).sum(2).abs()[..., ROWS, :] * mask[None, :, ROWS, None]
    for layer in range(heads(model)[0]):
        over_heads = (record.rows[layer] * record.grads[layer]).sum(1).abs()
        assert_close(over_heads * mask[:, ROWS, None] / scale, expected[layer] / scale)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "gpt_neox"])
def test_flows_of_all_rows_and_of_few(name):
    """Flows into every row, and into rows that are the same in each text."""
    model, (ids, mask) = model_of(name), batch()
    weights, grads = attention_and_gradients(name, "none")
    _, columns = token_sets(mask)
    every = torch.ones_like(mask).bool()
    few = torch.zeros_like(mask).bool().index_fill(1, ROWS, True)
    for rows, given in ((every, torch.ones(TOKENS)), (few, few[0])):
        with attend(model, Plan(grads=True, flows={"f": Flow(given, columns)}, block=7)) as record:
            objective(model, ids, mask).backward()
        assert_flow(record.flows["f"], expected_flow(weights, grads, rows, columns, 0))


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_a_flow_without_the_pairs_of_others(name):
    """Pairs that two of the others share are left out once."""
    model, (ids, mask) = model_of(name), batch()
    weights, grads = attention_and_gradients(name, "none")
    rows, columns = token_sets(mask)
    every = torch.ones_like(mask).bool()
    flows = {
        "some": Flow(rows, columns, 1),
        "early": Flow(every, columns, 3),
        "rest": Flow(every, every, 1, without=("some", "early")),
        "most": Flow(every, every, 1, without=("some",)),
    }
    with attend(model, Plan(grads=True, flows=flows, block=5)) as record:
        objective(model, ids, mask).backward()
    i, j = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)
    some = rows[:, :, None] & columns[:, None] & (i - j >= 1)
    early = columns[:, None].expand(-1, TOKENS, -1) & (i - j >= 3)
    assert bool((some & early).any())
    for flow, out in (("some", None), ("early", None), ("rest", some | early), ("most", some)):
        kept = {"some": some, "early": early}.get(flow) if out is None else (i > j) & ~out
        s = weights * grads * kept[None, :, None]
        expected = s.sum((-1, -2)), s.abs().sum((-1, -2)), s.sum(2).abs().sum((-1, -2)), kept.sum((-1, -2))
        assert_flow(record.flows[flow], expected)


def test_a_flow_without_one_that_comes_later_is_refused():
    anything = torch.ones(TOKENS).bool()
    for flows in (
        {"rest": Flow(anything, anything, without=("a",)), "a": Flow(anything, anything)},
        {"rest": Flow(anything, anything, without=("rest",))},
        {"rest": Flow(anything, anything, without=("b",))},
    ):
        with pytest.raises(AtlasError, match=r"flow 'rest' is without '\w+', which is no flow before it"):
            FlowPairs(flows, 1, TOKENS, 0)


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_captures(name):
    """Several losses from one forward; the closed form's row sums: sum_j S_h(i, j) = <g_h(i), o_h(i)>."""
    model, (ids, mask) = model_of(name), batch("left")
    weights, grads = attention_and_gradients(name, "left")
    rows, columns = token_sets(mask)
    layers = range(heads(model)[0])
    with attend(model, Plan(grads=True, capture=True)) as record:
        loss = objective(model, ids, mask)
        outputs = [record.captures[layer].output for layer in layers]
        first = torch.autograd.grad(loss, outputs, retain_graph=True)
        second = torch.autograd.grad(-3 * loss, outputs)
    flow = {"f": Flow(rows, columns)}
    sums = {layer: flow_sums(record.captures[layer], first[layer], flow, block=4)["f"] for layer in layers}
    assert_flow(sums, expected_flow(weights, grads, rows, columns, 0))
    for layer in layers:
        x = record.captures[layer]
        tripled = flow_sums(x, second[layer], flow)["f"]
        assert_close(tripled.signed, -3 * sums[layer].signed)
        each = {i: Flow(torch.arange(TOKENS) == i, torch.ones(TOKENS, dtype=torch.bool)) for i in (7, TOKENS - 1)}
        for i, s in flow_sums(x, first[layer], each).items():
            assert_close(s.signed, (first[layer] * x.output.detach()).sum(-1)[:, i])


@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_suffix_only(name):
    """The graph may cover the last tokens only: the prefix runs without gradients and leaves its cache."""
    model, (ids, mask) = model_of(name), batch()
    weights, grads = attention_and_gradients(name, "none")
    start = 13
    rows, columns = token_sets(mask)
    rows = rows & (torch.arange(TOKENS) >= start)
    plan = Plan(grads=True, flows={"f": Flow(rows, columns)}, block=5)
    with attend(model, plan) as record:
        cache = DynamicCache()
        with torch.no_grad():
            model(ids[:, :start], past_key_values=cache, use_cache=True)
        logits = model(ids[:, start:], past_key_values=cache, use_cache=True).logits
        logits[:, -1].log_softmax(-1)[:, 7].sum().backward()
    assert_flow(record.flows["f"], expected_flow(weights, grads, rows, columns, 0))


def test_float64(monkeypatch):
    """With softmax and norms of the stock model in float64 the closed form agrees to 1e-12."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    stock = torch.nn.functional.softmax

    def softmax(x, dim=None, _stacklevel=3, dtype=None):
        return stock(x, dim=dim, dtype=x.dtype)

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    monkeypatch.setattr(torch.nn.functional, "softmax", softmax)
    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)
    weights, grads = attention_and_gradients.__wrapped__("llama", "left", torch.float64)
    model, (ids, mask) = build("llama", dtype=torch.float64).requires_grad_(False), batch("left")
    rows, columns = token_sets(mask)
    with attend(model, Plan(rows=ROWS, grads=True, flows={"f": Flow(rows, columns)}, diagonal=True)) as record:
        objective(model, ids, mask).backward()
    assert_flow(record.flows["f"], expected_flow(weights, grads, rows, columns, 0), 1e-12)
    assert record.rows[0].dtype == torch.float64
    assert_close(record.diagonal[1] * mask[:, None], weights[1].diagonal(dim1=-2, dim2=-1) * mask[:, None], 1e-12)


def test_finite_differences():
    """dL/dA by the chain rule through a scaled head: d/de of the loss with head output (1 + e) o is <g, o>."""
    model, (ids, mask) = build("llama", dtype=torch.float64).requires_grad_(False), batch()
    flow = {"f": Flow(torch.ones(TOKENS).bool(), torch.ones(TOKENS).bool())}
    with attend(model, Plan(grads=True, flows=flow)) as record:
        objective(model, ids, mask).backward()
    step = 1e-2  # the norms stay fp32, so the step is coarse and the difference central
    for layer, head in ((0, 1), (2, 4)):
        losses = []
        for sign in (1, -1):
            factors = torch.ones(1, 6, dtype=torch.float64)
            factors[0, head] += sign * step
            with torch.no_grad(), attend(model, Plan(scale={layer: factors})):
                losses.append(objective(model, ids, mask))
        slope = (losses[0] - losses[1]) / (2 * step)
        assert_close(record.flows["f"][layer].signed[:, head].sum(), slope, 2e-3)


def test_gradients_see_edits():
    """A head that is scaled to 0 passes no gradient."""
    model, (ids, mask) = model_of("llama"), batch()
    factors = torch.ones(2, 6)
    factors[1, 3] = 0
    flow = {"f": Flow(torch.ones(TOKENS).bool(), torch.ones(TOKENS).bool())}
    with attend(model, Plan(grads=True, flows=flow, scale={1: factors})) as record:
        objective(model, ids, mask).backward()
    assert float(record.flows["f"][1].absolute[1, 3]) == 0
    assert float(record.flows["f"][1].absolute.flatten().kthvalue(2).values) > 0


def test_layers_above_the_loss_are_absent():
    model, (ids, mask) = model_of("llama"), batch()
    plan = Plan(rows=ROWS, grads=True)
    with attend(model, plan) as record:
        hidden = model(ids, attention_mask=mask, use_cache=False, output_hidden_states=True).hidden_states
        hidden[2][:, last_real(mask)].sum().backward()
    assert sorted(record.grads) == [0, 1]


def test_empty_flows_are_zero():
    model, (ids, mask) = model_of("llama"), batch()
    nothing = torch.zeros(TOKENS).bool()
    flows = {"rows": Flow(nothing, ~nothing), "columns": Flow(~nothing, nothing)}
    for selected in (flows, {"rows": flows["rows"]}, {"columns": flows["columns"]}):
        with attend(model, Plan(grads=True, flows=selected)) as record:
            objective(model, ids, mask).backward()
        for by_layer in record.flows.values():
            assert all(float(s.absolute.max()) == 0 and int(s.pairs.max()) == 0 for s in by_layer.values())


def test_no_memory_is_held():
    """The graph dies with the record and the loss; no reference cycle waits for the garbage collector."""
    model, (ids, mask) = model_of("llama"), batch()
    flow = {"f": Flow(torch.ones(TOKENS).bool(), torch.ones(TOKENS).bool())}
    gc.collect()
    gc.disable()
    try:
        with attend(model, Plan(rows=ROWS, grads=True, flows=flow, capture=True)) as record:
            loss = objective(model, ids, mask)
            loss.backward()
        watched = [weakref.ref(c.output) for c in record.captures.values()]
        assert watched
        del record, loss
        assert all(ref() is None for ref in watched)
    finally:
        gc.enable()


def test_saliency_options_need_grads():
    with pytest.raises(AtlasError, match="grads=True"):
        Plan(flows={"f": Flow(torch.ones(TOKENS), torch.ones(TOKENS))})
