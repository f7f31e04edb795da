"""Average attention per position with and without meaningless tokens, and the effect per head (no model needed).

Source: Shi et al. 2025, arXiv 2510.01032, Fig. 18. avg[j] is the mean of A[i, j] over the rows i > j that the chosen
reading counts; the last row of a sequence has no avg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from atlas.analyses.meaningless_tokens.storage import CONDITIONS, lengths, middle
from atlas.statistics.intervals import bootstrap_weights, mean_interval, percentile_interval

if TYPE_CHECKING:
    from jaxtyping import Float

    from atlas.analyses.meaningless_tokens.prompts import Report
    from atlas.analyses.types import Arrays, Keys

# reading -> (sum used of the condition `with`, whether rows inside the span count)
READINGS = {
    "drop_columns": ("below", True),
    "drop_rows_and_columns": ("below_outside", False),
    "renormalised": ("below_renormalised", False),
}


class MetricOptions(TypedDict):
    """Options of analyses.meaningless_tokens that the metrics depend on."""

    reading: str
    confidence: float
    bootstrap: int
    seed: int


def weights_table(arrays: Arrays, keys: Keys, samples: Report, options: MetricOptions) -> pd.DataFrame:
    """The table attention_weights of one model and data set (`keys`); `samples` is the report of build_prompts."""
    frame = weights_by_position(arrays, options["reading"], options["confidence"])
    texts = {int(token): text for token, text in samples["tokens"].items()}
    frame["token"] = frame.pop("token_id").map(texts)
    return frame.assign(**keys, reading=options["reading"])


def effect_table(arrays: Arrays, keys: Keys, samples: Report, options: MetricOptions) -> pd.DataFrame:
    """The table meaningless_effect of one model and data set (`keys`); `samples` is the report of build_prompts."""
    frame = head_effects(
        arrays,
        options["reading"],
        confidence=options["confidence"],
        draws=options["bootstrap"],
        seed=options["seed"],
    )
    return frame.assign(
        **keys,
        reading=options["reading"],
        prompts=samples["prompts"],
        prompts_dropped=sum(samples["dropped"].values()),
        merged_tokens=samples["merged_tokens"],
    )


def prompt_averages(arrays: Arrays, condition: str, reading: str) -> list[Float[np.ndarray, "tokens layers heads"]]:
    """avg of every prompt: a list of (tokens, layers, heads) arrays, NaN where no row counts.

    `arrays` as from storage.merge. Inside the span avg counts all rows under every reading (the bottom
    row of the figure shows the attention the span receives).
    """
    name, span_rows = ("below", True) if condition == "without" else READINGS[reading]
    inner, totals = middle(arrays, condition), lengths(arrays, condition)
    stops = np.cumsum(totals)
    averages = []
    for i, (stop, tokens) in enumerate(zip(stops, totals, strict=True)):
        part = slice(stop - tokens, stop)
        sums = arrays[f"{condition}.{name}"][part].astype(np.float64)
        rows = tokens - 1 - np.arange(tokens)
        if condition == "with" and not span_rows:
            start, end = arrays["prefix"][i], arrays["prefix"][i] + inner[i]
            rows[:start] -= inner[i]
            sums[start:end] = arrays["with.below"][part][start:end]
        rows = rows[:, None, None].astype(float)
        averages.append(np.divide(sums, rows, out=np.full_like(sums, np.nan), where=rows > 0))
    return averages


def weights_by_position(arrays: Arrays, reading: str, confidence: float) -> pd.DataFrame:
    """Mean avg per (condition, position, layer, head) over prompts, with Student-t intervals: a long frame.

    Columns: condition, layer, head, position, aligned_position, in_span, token_id, weight, weight_low, weight_high,
    prompts. `position` counts in the condition's own sequence, shifted so that the span and the question start at the
    same place in every prompt; `aligned_position` counts without the span and is null inside it; `token_id` is null
    where the prompts differ.
    """
    return pd.concat(
        [_condition_weights(arrays, condition, reading, confidence) for condition in CONDITIONS],
        ignore_index=True,
    )


def _condition_weights(arrays: Arrays, condition: str, reading: str, confidence: float) -> pd.DataFrame:
    averages = prompt_averages(arrays, condition, reading)
    inners = middle(arrays, condition)
    # One slot per (segment, offset): prefix counted from its end, the middle and the rest from their start.
    prefix, inner = int(arrays["prefix"].max()), int(inners.max())
    rest = int((arrays["question"] + arrays["suffix"]).max())
    width = prefix + inner + rest
    shape = (width, *averages[0].shape[1:])
    total, squares, count = np.zeros(shape), np.zeros(shape), np.zeros(width, np.int64)
    ids = np.full(width, -1, np.int64)
    mixed = np.zeros(width, bool)
    start = 0
    for i, average in enumerate(averages):
        p, m, n = int(arrays["prefix"][i]), int(inners[i]), len(average)
        slots = np.concatenate(
            [np.arange(prefix - p, prefix), prefix + np.arange(m), prefix + inner + np.arange(n - p - m)]
        )
        valid = ~np.isnan(average).all((1, 2))  # a layer without attention is NaN everywhere
        slots, values = slots[valid], average[valid]
        total[slots] += values
        squares[slots] += values**2
        count[slots] += 1
        tokens = arrays[f"{condition}.ids"][start : start + n][valid]
        mixed[slots] |= (ids[slots] >= 0) & (ids[slots] != tokens)
        ids[slots] = tokens
        start += n
    used = np.flatnonzero(count)
    mean, low, high = mean_interval(total[used], squares[used], count[used][:, None, None], confidence)
    slot, layer, head = np.indices(mean.shape)
    in_span = (used >= prefix) & (used < prefix + inner) if condition == "with" else np.zeros(len(used), bool)
    aligned = np.where(used >= prefix + inner, used - (inner if condition == "with" else 0), used).astype(float)
    aligned[in_span] = np.nan
    token_ids = np.where(mixed[used], -1, ids[used])
    flat = slot.ravel()
    return pd.DataFrame(
        {
            "condition": condition,
            "layer": layer.ravel(),
            "head": head.ravel(),
            "position": used[flat],
            "aligned_position": pd.array(aligned[flat], dtype="Float64").astype("Int32"),
            "in_span": in_span[flat],
            "token_id": token_ids[flat],
            "weight": mean.ravel(),
            "weight_low": low.ravel(),
            "weight_high": high.ravel(),
            "prompts": count[used][flat],
        }
    )


def head_effects(arrays: Arrays, reading: str, *, confidence: float, draws: int, seed: int) -> pd.DataFrame:
    """Effect of the span per (layer, head): a frame with layer, head, effect, effect_low, effect_high,
    weight_without, weight_with, span_mass, lambda.

    effect = (W - W0) / W0, W and W0 the means over prompts of each prompt's mean avg over its question positions
    with and without the span (the last position has no avg); bootstrap percentile interval over prompts, NaN for one.
    lambda = mean over question rows of 1 - attention on the span.
    """
    question = {c: question_means(arrays, c, reading) for c in CONDITIONS}  # (P, layers, heads)
    without, with_span = question["without"].mean(0), question["with"].mean(0)
    weights = bootstrap_weights(len(question["with"]), draws, seed)
    flat = {c: q.reshape(len(q), -1) for c, q in question.items()}
    replicate = {c: weights @ q for c, q in flat.items()}
    low, high = percentile_interval(replicate["with"] / replicate["without"] - 1, confidence)
    if len(weights[0]) < 2:  # one prompt drawn again is itself
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    span_mass = arrays["span_mass"].astype(np.float64).mean(0)
    layer, head = np.indices(without.shape)
    return pd.DataFrame(
        {
            "layer": layer.ravel(),
            "head": head.ravel(),
            "effect": (with_span / without - 1).ravel(),
            "effect_low": low,
            "effect_high": high,
            "weight_without": without.ravel(),
            "weight_with": with_span.ravel(),
            "span_mass": span_mass.ravel(),
            "lambda": (1 - span_mass).ravel(),
        }
    )


def question_means(arrays: Arrays, condition: str, reading: str) -> Float[np.ndarray, "prompts layers heads"]:
    """Mean avg over the question's positions of every prompt, (prompts, layers, heads); the last position has none.

    NaN in layers without attention.
    """
    inner = middle(arrays, condition)
    means = []
    for i, average in enumerate(prompt_averages(arrays, condition, reading)):
        start = arrays["prefix"][i] + inner[i]
        asked = average[start : start + arrays["question"][i]]
        means.append(asked[~np.isnan(asked).all((1, 2))].mean(0))
    return np.stack(means)
