"""Identities of the sums, refused families, errors, and a context that leaves no trace."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from atlas.attention import ColumnSum, Flow, Plan, RowMass, Stripe, attend, can_attend, decoder_layers, self_check
from atlas.errors import AtlasError
from attention_engine_reference import ENGINE_FAMILIES, TOKENS, assert_close, batch, model_of
from families import REFUSED, build


def sums(name, model=None, plan=None):
    ids, _ = batch()
    model = model or model_of(name)
    plan = plan or Plan(column_sums={"all": ColumnSum(), "strict": ColumnSum(min_distance=1)}, diagonal=True, block=7)
    with torch.no_grad(), attend(model, plan) as record:
        model(ids, use_cache=False)
    return record


@pytest.mark.parametrize("name", [n for n in ENGINE_FAMILIES if n != "gpt_oss"])  # a sink takes part of every row
def test_identities(name):
    """Gu et al. 2024: alpha[j] and avg[j] as means over rows; their sum rules."""
    record = sums(name)
    left = torch.arange(TOKENS, 0, -1)  # T - j
    for layer in record.diagonal:
        alpha = record.column_sums["all"][layer] / left
        assert_close((left * alpha).sum(-1), torch.full(alpha.shape[:2], float(TOKENS)), 1e-6)
        average = record.column_sums["strict"][layer] / (left - 1).clamp_min(1)
        assert_close(((left - 1) * average + record.diagonal[layer]) / left, alpha, 1e-6)


def test_uniform_attention():
    """With zero queries alpha[j] = (H_T - H_j) / (T - j), H the harmonic numbers."""
    model = build("llama")
    for layer in decoder_layers(model):
        layer.self_attn.q_proj.weight.data.zero_()
    harmonic = torch.cat([torch.zeros(1), (1 / torch.arange(1, TOKENS + 1)).cumsum(0)])
    expected = (harmonic[TOKENS] - harmonic[:TOKENS]) / torch.arange(TOKENS, 0, -1)
    record = sums("llama", model)
    for total in record.column_sums["all"].values():
        assert_close(total / torch.arange(TOKENS, 0, -1), expected.expand(2, 6, -1), 1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_families(name):
    model = build(name)
    assert not can_attend(model)
    assert not can_attend(type(model))
    with pytest.raises(AtlasError, match=rf"Model type '{name}' .*choose a model of another family"), attend(model):
        pass
    with pytest.raises(AtlasError, match=name):
        self_check(model)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("exact", [False, True])
def test_context_leaves_no_trace(implementation, exact):
    model, (ids, _) = build("llama", attn_implementation=implementation), batch()
    with torch.no_grad():
        before = model(ids).logits
    plan = Plan(column_sums={"a": ColumnSum()}, scale={1: torch.zeros(2, 6)})
    with torch.no_grad(), attend(model, plan, exact=exact) as record:
        assert not torch.equal(model(ids).logits, before)
    kept = {layer: t.clone() for layer, t in record.column_sums["a"].items()}
    assert model.config._attn_implementation == implementation
    with torch.no_grad():
        assert torch.equal(model(ids + 1 - 1).logits, before)
        model(ids.flip(1))
    assert all(torch.equal(kept[layer], t) for layer, t in record.column_sums["a"].items())
    assert can_attend(model)


def test_context_restores_after_an_exception():
    model, (ids, _) = build("llama", attn_implementation="sdpa"), batch()
    with torch.no_grad():
        before = model(ids).logits
    with pytest.raises(RuntimeError, match="boom"), attend(model, Plan(scale={0: torch.zeros(2, 6)})):
        raise RuntimeError("boom")
    with pytest.raises(AtlasError), torch.no_grad(), attend(model, Plan(column_sums={"a": ColumnSum(torch.ones(3))})):
        model(ids)
    assert model.config._attn_implementation == "sdpa"
    with torch.no_grad():
        assert torch.equal(model(ids).logits, before)
        with attend(model, Plan(diagonal=True)) as record:
            model(ids)
    assert sorted(record.diagonal) == [0, 1, 2, 3]


class Largest(TorchDispatchMode):
    """The largest tensor, in elements, that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gpt_oss"])
@pytest.mark.parametrize("padded", [False, True])
def test_no_square_tensor(name, padded):
    """Statistics, edits and saliency make no tensor of the size of attention, (H, T, T)."""
    length = 120
    ids = torch.randint(3, 190, (1, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, : 9 * padded] = 0
    model, options = model_of(name), {"attention_mask": mask, "use_cache": False, "logits_to_keep": 1}
    bound = 6 * length * length // 2
    sums = {"a": ColumnSum(mask, 1), "b": ColumnSum(mask, exclude=torch.arange(length)[None] < 2)}
    edits = {"scale": {0: torch.ones(1, 6)}, "uniform": {1: torch.ones(1, 6, dtype=torch.bool)}}
    with Largest() as largest, torch.no_grad(), attend(model, Plan(column_sums=sums, diagonal=True, block=8, **edits)):
        model(ids, **options)
    assert 0 < largest.elements < bound
    with Largest() as largest, torch.no_grad():
        model(ids, output_attentions=True, **options)
    assert largest.elements > bound  # the measure sees what eager attention makes
    if name in ("gemma2", "gpt_oss"):
        return  # gradients through soft caps and sinks run the family's own eager function
    flow = {"f": Flow(mask[0], mask[0].cumsum(0) % 9 == 3)}
    with Largest() as largest, attend(model, Plan(grads=True, flows=flow, block=8)):
        model(ids, **options).logits[0, -1, 7].backward()
    assert 0 < largest.elements < bound


def test_second_forward_replaces_the_first():
    model, (ids, _) = model_of("llama"), batch()
    plan = Plan(column_sums={"a": ColumnSum()})
    with torch.no_grad(), attend(model, plan) as record:
        model(ids, use_cache=False)
        model(ids[:1, :9], use_cache=False)
    assert record.column_sums["a"][0].shape == (1, 6, 9)
    assert_close(record.column_sums["a"][0].sum(-1), torch.full((1, 6), 9.0), 1e-6)


def test_chosen_layers():
    plan = Plan(column_sums={"a": ColumnSum()}, row_masses={"m": RowMass(torch.ones(TOKENS))}, rows=torch.tensor([4]),
                layers={1, 3})  # fmt: skip
    record = sums("llama", plan=plan)
    assert sorted(record.column_sums["a"]) == sorted(record.row_masses["m"]) == sorted(record.rows) == [1, 3]


def test_excluding_everything_a_row_sees():
    """Row 0 sees column 0 only: excluded, it contributes 0 and no NaN."""
    exclude = torch.arange(TOKENS)[None].expand(2, -1) == 0
    record = sums("llama", plan=Plan(column_sums={"a": ColumnSum(exclude=exclude)}))
    for total in record.column_sums["a"].values():
        assert_close(total.sum(-1), torch.full((2, 6), TOKENS - 1.0), 1e-5)
        assert float(total[..., 0].abs().max()) == 0


def test_excluding_all_measurable_mass_is_an_error():
    """A key whose score is far above the rest leaves nothing to renormalise."""
    model = build("llama")
    attn = decoder_layers(model)[0].self_attn
    attn.q_proj.weight.data *= 300
    with pytest.raises(AtlasError, match="Column sum 'a': some query puts all its measurable attention"):
        sums("llama", model, Plan(column_sums={"a": ColumnSum(exclude=torch.arange(TOKENS)[None] < TOKENS - 3)}))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda: Plan(column_sums={"a": ColumnSum(torch.ones(3))}), "row_weights of column sum 'a' has shape"),
        (lambda: Plan(row_masses={"m": RowMass(torch.ones(3, TOKENS))}), "keys of row mass 'm' has shape"),
        (lambda: Plan(block=0), "block is 0"),
        (lambda: Plan(column_sums={"a": ColumnSum(min_distance=-1)}), "min_distance is -1"),
        (lambda: Plan(stripes={"a": Stripe(-1)}), "distance is -1"),
    ],
)
def test_bad_plans_are_named(plan, message):
    with pytest.raises(AtlasError, match=message):
        sums("llama", plan=plan())


def test_training_mode_and_nesting_are_refused():
    model = build("llama")
    with pytest.raises(AtlasError, match=r"model\.eval\(\)"), attend(model.train()):
        pass
    model.eval()
    with attend(model), pytest.raises(AtlasError, match="active already"), attend(model):
        pass
