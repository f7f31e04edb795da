"""Meaningless tokens against loops over stock Hugging Face eager attention, one prompt at a time."""

import numpy as np
import pytest
import torch
from scipy import stats

from atlas.analyses.meaningless_tokens import storage as meaningless_layout
from atlas.analyses.meaningless_tokens.extract import extract
from atlas.analyses.meaningless_tokens.metrics import head_effects, prompt_averages, weights_by_position
from atlas.analyses.meaningless_tokens.prompts import SpanPrompt
from atlas.attention import Plan, RowMass, attend
from atlas.errors import AtlasError
from attention_engine_reference import eager
from families import build

FAMILIES = ["llama", "gpt2", "gpt_neox", "phi", "qwen2", "gemma2"]
ROPE = ["llama", "gpt_neox", "phi", "qwen2"]
SPAN = (9,) * 7


def prompts(number=7, seed=0, merged=0):
    rng = np.random.default_rng(seed)
    prefix = tuple(int(i) for i in rng.integers(3, 190, 4))
    made = []
    for _ in range(number):
        question = tuple(int(i) for i in rng.integers(3, 190, rng.integers(3, 12)))
        suffix = (5, 6)
        middle = tuple(range(20, 20 + merged))
        made.append(
            SpanPrompt(
                without=prefix + middle + question + suffix,
                with_span=prefix + SPAN + question + suffix,
                prefix=4,
                merged=merged,
                span=len(SPAN),
                question=len(question),
                suffix=2,
            )
        )
    return made


def brute_averages(model, prompt, condition, reading):
    """avg[j] by loops over rows: (tokens, layers, heads)."""
    ids = prompt.without if condition == "without" else prompt.with_span
    attention = eager(model, ids)
    span = set(range(prompt.prefix, prompt.prefix + prompt.span)) if condition == "with" else set()
    result = np.full((len(ids), *attention.shape[:2]), np.nan)
    for j in range(len(ids)):
        rows = range(j + 1, len(ids))
        if reading != "drop_columns" and j not in span:
            rows = [i for i in rows if i not in span]
        values = []
        for i in rows:
            value = attention[:, :, i, j]
            if reading == "renormalised" and j not in span:
                # What is left, summed directly: 1 - (the span's sum) would lose the digits when little is left.
                value = value / attention[:, :, i, [k for k in range(len(ids)) if k not in span]].sum(-1)
            values.append(value)
        if values:
            result[j] = np.mean(values, axis=0)
    return result


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return build(request.param)


@pytest.fixture(scope="module")
def extracted(model):
    return extract(model, prompts(), batch_tokens=64)


@pytest.mark.parametrize("reading", ["drop_columns", "drop_rows_and_columns", "renormalised"])
@pytest.mark.parametrize("condition", ["without", "with"])
def test_averages_equal_a_loop_over_eager_attention(model, extracted, reading, condition):
    ours = prompt_averages(extracted, condition, reading)
    for prompt, average in zip(prompts(), ours, strict=True):
        expected = brute_averages(model, prompt, condition, reading)
        np.testing.assert_allclose(average, expected, atol=2e-5)


def test_weights_are_means_over_prompts_with_student_intervals(model, extracted):
    frame = weights_by_position(extracted, "drop_columns", 0.9)
    brute = [brute_averages(model, prompt, "with", "drop_columns") for prompt in prompts()]
    # The third token of the question: position 4 + 7 + 2 of every prompt's sequence with the span.
    values = np.array([average[13, 2, 3] for average in brute])
    row = frame.query("condition == 'with' and position == 13 and layer == 2 and head == 3").iloc[0]
    low, high = stats.t.interval(0.9, len(values) - 1, values.mean(), stats.sem(values))
    assert row["aligned_position"] == 6
    assert row["prompts"] == len(values)
    np.testing.assert_allclose(
        [row["weight"], row["weight_low"], row["weight_high"]], [values.mean(), low, high], atol=2e-5
    )
    span = frame.query("condition == 'with' and in_span and layer == 0 and head == 0")
    assert span["position"].tolist() == list(range(4, 11))
    assert span["aligned_position"].isna().all()
    assert set(span["token_id"]) == {9}
    aligned = frame.query("condition == 'without' and layer == 0 and head == 0")["aligned_position"].tolist()
    assert aligned == list(range(max(len(p.without) for p in prompts()) - 1))  # the last token has no average


def test_effect_equals_its_definition(model, extracted):
    frame = head_effects(extracted, "drop_columns", confidence=0.95, draws=500, seed=0)
    means, mass = {"without": [], "with": []}, []
    for prompt in prompts():
        for condition, start in (("without", 4), ("with", 11)):
            average = brute_averages(model, prompt, condition, "drop_columns")
            means[condition].append(average[start : start + prompt.question].mean(0))
        attention = eager(model, prompt.with_span)
        mass.append(attention[:, :, 11 : 11 + prompt.question, 4:11].sum(-1).mean(-1))
    without, with_span = (np.mean(means[c], axis=0) for c in ("without", "with"))
    np.testing.assert_allclose(frame["effect"], (with_span / without - 1).ravel(), atol=2e-5)
    np.testing.assert_allclose(frame["span_mass"], np.mean(mass, axis=0).ravel(), atol=2e-5)
    np.testing.assert_allclose(frame["lambda"], 1 - frame["span_mass"])
    assert (frame["effect_low"] <= frame["effect"]).all()
    assert (frame["effect"] <= frame["effect_high"]).all()


def test_batches_and_shards_do_not_change_results(model, extracted):
    one = extract(model, prompts(), batch_tokens=1)
    for key, array in extracted.items():
        np.testing.assert_allclose(one[key], array, atol=2e-5)
    parts = [extract(model, prompts(), batch_tokens=64, shard=i, shards=3) for i in (1, 2, 3)]
    joined = meaningless_layout.merge(parts)
    for key, array in extracted.items():
        assert joined[key].tobytes() == array.tobytes()


def test_merged_tokens_have_no_counterpart(model):
    arrays = extract(model, prompts(merged=2), batch_tokens=64)
    frame = weights_by_position(arrays, "drop_columns", 0.95)
    without = frame.query("condition == 'without' and layer == 0 and head == 0")
    np.testing.assert_array_equal(
        meaningless_layout.lengths(arrays, "without"), [len(p.without) for p in prompts(merged=2)]
    )
    expected = [brute_averages(model, p, "without", "drop_columns")[6, 0, 0] for p in prompts(merged=2)]
    np.testing.assert_allclose(without[without["position"] == 6]["weight"].iloc[0], np.mean(expected), atol=2e-5)


def test_prefix_rows_are_the_same_with_and_without_span(model):
    prompt = prompts(1)[0]
    without, with_span = eager(model, prompt.without), eager(model, prompt.with_span)
    plan = Plan(rows=torch.arange(4))
    recorded = []
    for ids in (prompt.without, prompt.with_span):
        with torch.no_grad(), attend(model, plan) as record:
            model(torch.tensor([ids]), use_cache=False)
        recorded.append(torch.cat([record.rows[layer] for layer in sorted(record.rows)])[..., :4].numpy())
    np.testing.assert_allclose(recorded[0], recorded[1], atol=5e-6)
    np.testing.assert_allclose(recorded[0], without[:, :, :4, :4], atol=2e-5)
    np.testing.assert_allclose(without[:, :, :4, :4], with_span[:, :, :4, :4], atol=5e-6)


@pytest.mark.parametrize("name", ROPE)
def test_first_layer_scales_rows_by_what_the_span_leaves(name):
    """With the question's own position_ids kept, A'/A = 1 - span mass for every original key in layer 0."""
    model, prompt = build(name), prompts(1)[0]
    start, inner = prompt.prefix, prompt.span
    plan = Plan(
        rows=torch.arange(64),
        row_masses={"span": RowMass(torch.arange(64).ge(start) & torch.arange(64).lt(start + inner))},
    )
    plain = eager(model, prompt.without)[0]
    kept = list(range(start)) + [start] * inner + list(range(start, len(prompt.without)))
    with torch.no_grad(), attend(model, plan) as record:
        ids = torch.tensor([prompt.with_span])
        # A mask of ones: without any, transformers takes repeated positions for several packed sequences.
        model(ids, attention_mask=torch.ones_like(ids), position_ids=torch.tensor([kept]), use_cache=False)
    rows = record.rows[0][0].numpy()
    original = [j for j in range(len(prompt.with_span)) if not start <= j < start + inner]
    lambdas = 1 - record.row_masses["span"][0][0].numpy()
    for i in range(start + inner, len(prompt.with_span)):
        expected = plain[:, i - inner] * lambdas[:, i, None]
        np.testing.assert_allclose(rows[:, i][:, original], expected, atol=2e-5)


@pytest.mark.parametrize("name", ROPE)
def test_inside_the_question_layer_0_ratios_are_constant_along_a_row(name):
    model, prompt = build(name), prompts(1)[0]
    start, inner = prompt.prefix, prompt.span
    without, with_span = eager(model, prompt.without)[0], eager(model, prompt.with_span)[0]
    for i in range(start, len(prompt.without)):
        ratio = with_span[:, i + inner, start + inner : i + inner + 1] / without[:, i, start : i + 1]
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=2e-3)


def test_a_value_that_is_not_finite_names_its_layer():
    model = build("llama")
    model.model.layers[2].self_attn.q_proj.weight.data[0] = float("nan")
    with pytest.raises(AtlasError, match="layer 2"):
        extract(model, prompts(2), batch_tokens=4096)
