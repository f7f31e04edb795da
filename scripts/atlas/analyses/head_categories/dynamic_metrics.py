"""Scores of heads on prompts beside those of the static map, and how well the two agree (no model needed).

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.1: Pearson's correlation of the two over all heads. The
intervals, the mean over relations and the counts of heads above tau are ours. Intervals are of the jackknife over pairs
(Efron 1982), of which both scores are made: pairs drawn again would add noise to both, and so lower the correlation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd
from scipy import stats

from atlas.analyses.head_categories.completions import unasked
from atlas.analyses.head_categories.metrics import SIGNS
from atlas.data.checks import MEAN

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from atlas.analyses.types import Arrays

CONTEXTS = ("with", "without")
_COUNTS = ("pairs", "prompts", "implementing", "confirmed", "others")


class DynamicOptions(TypedDict):
    """Of analyses.relation_dynamic and head_categories: intervals, and the score above which a head implements."""

    confidence: float
    tau: float


def dynamic_tables(
    hits: Arrays,
    ranks: Arrays,
    pairs: pd.DataFrame,
    k: Mapping[str, int],
    dropped: Mapping[str, Mapping[str, int]],
    options: DynamicOptions,
) -> dict[str, pd.DataFrame]:
    """The tables relation_dynamic and relation_correlation of one model and data set, but for these keys.

    hits: of dynamic_hits, with `pair`, (P,) rows of `pairs`, and `depth`, the number of layers. ranks: what map_heads
    returned for `pairs`. k: by relation, `default` for those that are not named. dropped: {relation: {why: how many
    pairs made no prompt}}. Layers without attention, and relations without a prompt, have nulls.
    """
    relation_of, scores, lines = pairs["relation"].to_numpy().astype(str), [], []
    layers = np.intersect1d(hits["layers"], ranks["layers"])
    of_hits, of_ranks = np.searchsorted(hits["layers"], layers), np.searchsorted(ranks["layers"], layers)
    for relation in sorted(set(relation_of)):
        members = np.flatnonzero(relation_of == relation)
        asked = np.flatnonzero(relation_of[hits["pair"]] == relation)
        for sign in SIGNS:
            top = k.get(relation, k["default"])
            found = ranks[f"rank_{sign}"][of_ranks] < top
            implementing = found[:, :, members].mean(-1) > options["tau"]
            static = found[:, :, hits["pair"][asked]]
            for context in CONTEXTS:
                dynamic = hits[f"{context}_{sign}"][of_hits][:, :, asked].astype(bool)
                about = {"relation": relation, "category": pairs["category"].iloc[members[0]], "sign": sign}
                about |= {
                    "relations": 1,
                    "context": context,
                    "k": top,
                    "pairs": len(asked),
                    "prompts": dynamic[0, 0].size,
                }
                scores.append(_scores(static, dynamic, layers, int(hits["depth"])).assign(**about))
                line = _agreement(static, dynamic, implementing, options)
                if not len(asked):
                    line["reason"] = unasked(dropped.get(relation, {}))
                lines.append({**about, **line})
    lines += _means(lines, options)
    table = pd.DataFrame(lines).drop(columns="error")
    heads = pd.concat(scores, ignore_index=True).drop(columns="relations")
    return {"relation_dynamic": heads, "relation_correlation": table}


def _scores(
    static: Bool[np.ndarray, "layers heads pairs"],
    dynamic: Bool[np.ndarray, "layers heads pairs templates"],
    layers: np.ndarray,
    depth: int,
) -> pd.DataFrame:
    """layer, head, static, dynamic: both scores of all heads of all layers, over the same pairs."""
    found = np.full((2, depth, static.shape[1]), np.nan)
    if static.shape[-1]:
        found[0, layers], found[1, layers] = static.mean(-1), dynamic.mean((-2, -1))
    layer, head = np.indices(found.shape[1:])
    return pd.DataFrame(
        {"layer": layer.ravel(), "head": head.ravel(), "static": found[0].ravel(), "dynamic": found[1].ravel()}
    )


def _agreement(
    static: Bool[np.ndarray, "layers heads pairs"],
    dynamic: Bool[np.ndarray, "layers heads pairs templates"],
    implementing: Bool[np.ndarray, "layers heads"],
    options: DynamicOptions,
) -> dict[str, Any]:
    """The correlation of one relation, sign and context; error: its standard error, which one pair does not give."""
    pairs, templates = dynamic.shape[2:]
    names = ("correlation", "low", "high", "error", "correlation_by_template", "static_max", "dynamic_max")
    line: dict[str, Any] = {**dict.fromkeys(names, np.nan), "reason": ""}
    line |= {"implementing": int(implementing.sum()), "confirmed": pd.NA, "others": pd.NA}
    if not pairs:
        return line
    by_template = dynamic.mean(2).reshape(-1, templates)
    # Of counts: a mean of means may be above tau by rounding alone.
    of_map, of_prompts = static.mean(2).ravel(), dynamic.mean((2, 3)).ravel()
    above, named = of_prompts > options["tau"], implementing.ravel()
    line |= {"confirmed": int(above[named].sum()), "others": int(above[~named].sum())}
    line |= {"static_max": of_map.max(), "dynamic_max": of_prompts.max()}
    line["correlation"] = float(pearson(of_map, of_prompts))
    line["correlation_by_template"] = float(pearson(np.repeat(of_map, templates), by_template.ravel()))
    if np.isnan(line["correlation"]):
        line["reason"] = f"all heads score the same {'by the map' if np.ptp(of_map) == 0 else 'on prompts'}"
        line["error"] = 0.0 if pairs > 1 else np.nan
    elif pairs > 1:
        line |= _interval(line["correlation"], static, dynamic.mean(3), options["confidence"])
    return line


def _interval(
    value: float,
    static: Bool[np.ndarray, "layers heads pairs"],
    dynamic: Float[np.ndarray, "layers heads pairs"],
    confidence: float,
) -> dict[str, float]:
    """low, high, and error, of a correlation: Student's t with the jackknife's standard error of Fisher's z.

    Without a pair a score may be the same for all heads: that counts as 0.
    """
    pairs = static.shape[-1]
    one, other = (x.reshape(-1, pairs).astype(float) for x in (static, dynamic))
    without = np.nan_to_num(pearson(one.sum(1, keepdims=True) - one, other.sum(1, keepdims=True) - other))

    def error(values: Float[np.ndarray, " pairs"]) -> float:
        return float(np.sqrt((pairs - 1) / pairs * ((values - values.mean()) ** 2).sum()))

    half = stats.t.ppf(0.5 + confidence / 2, pairs - 1) * error(_fisher(without))
    low, high = np.tanh(_fisher(np.array([value]))[0] + np.array([-half, half]))
    return {"low": float(min(low, value)), "high": float(max(high, value)), "error": error(without)}


def _fisher(values: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    """Fisher's z, of finite values for 1 and -1 too."""
    return np.arctanh(np.clip(values, -1 + 1e-12, 1 - 1e-12))


def pearson(
    one: Float[np.ndarray, " heads *others"], other: Float[np.ndarray, " heads *others"]
) -> Float[np.ndarray, "*others"]:
    """Pearson's correlation over the first axis; NaN where one of the two is constant."""
    one, other = one - one.mean(0), other - other.mean(0)
    scale = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 1e-12, (one * other).sum(0) / scale, np.nan)


def _means(lines: list[dict[str, Any]], options: DynamicOptions) -> list[dict[str, Any]]:
    """Rows of each sign and context: means over the relations that some head implements; no correlation counts as 0.

    Without an interval where one of them has a single pair, whose correlation varies by nobody knows how much.
    """
    found = []
    for context, sign in ((context, sign) for context in CONTEXTS for sign in SIGNS):
        own = [x for x in lines if (x["context"], x["sign"]) == (context, sign) and x["pairs"] and x["implementing"]]
        row = {**dict.fromkeys(lines[0], np.nan), "relation": MEAN, "category": "", "sign": sign, "context": context}
        row |= {"k": pd.NA, "relations": len(own), "reason": "" if own else "no head implements a relation by the map"}
        row |= {name: sum(x[name] for x in own) for name in _COUNTS}
        if own:
            for name in ("correlation", "correlation_by_template"):
                row[name] = float(np.mean(np.nan_to_num([x[name] for x in own])))
            error = np.sqrt(np.sum([x["error"] ** 2 for x in own])) / len(own)
            half = stats.norm.ppf(0.5 + options["confidence"] / 2) * error
            row["low"], row["high"] = (float(np.clip(row["correlation"] + side, -1, 1)) for side in (-half, half))
        found.append(row)
    return found
