"""The tables of safety heads: Ships with intervals, and the KL divergence of every prompt (no model needed)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.analyses.by_head import every_head
from atlas.analyses.safety_heads.ships import (
    ShipsOptions,
    check_ranks,
    heads_of,
    leading_subspace,
    positions,
    principal_angles,
    ships,
)
from atlas.analyses.safety_heads.storage import head_again
from atlas.statistics.intervals import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from jaxtyping import Float

    from atlas.analyses.types import Arrays

    Gram = Float[np.ndarray, "prompts prompts"]
    Progress = Callable[[Iterable], Iterable]


class TableOptions(ShipsOptions):
    """The same with those of the intervals."""

    confidence: float
    bootstrap: int
    seed: int


def replicates_of(
    arrays: Arrays, options: TableOptions, progress: Progress = iter
) -> dict[str, Float[np.ndarray, "draws ranks heads"]]:
    """{ablation: (draws, ranks, heads) Ships in degrees of bootstrap samples of the prompts}, heads as in heads_of."""
    clean, queries = arrays["clean.gram"], len(arrays["clean.gram"])
    check_ranks(options["rank"], queries)
    weights = bootstrap_weights(queries, options["bootstrap"], options["seed"])
    return {
        ablation: resampled(
            clean, arrays[f"{ablation}.gram"].reshape(-1, queries, queries), options["rank"], progress(weights)
        )
        for ablation in options["ablations"]
    }


def head_table(
    arrays: Arrays,
    keys: Mapping[str, str],
    dropped: int,
    options: TableOptions,
    dtype: str = "float32",
    replicates: Mapping[str, Float[np.ndarray, "draws ranks heads"]] | None = None,
) -> pd.DataFrame:
    """The table safety_heads of one model and data set: arrays as in storage.py, `keys` its identity.

    options: rank, ablations, confidence, bootstrap, seed; dtype: what the model ran in. replicates: of replicates_of;
    None: computed here. Intervals are percentiles over resampled prompts. Heads of layers without attention have nulls.
    """
    clean, queries = arrays["clean.gram"], len(arrays["clean.gram"])
    check_ranks(options["rank"], queries)
    weights = bootstrap_weights(queries, options["bootstrap"], options["seed"])
    drawn = replicates_of(arrays, options) if replicates is None else replicates
    frames = []
    for ablation in options["ablations"]:
        gram, kl = arrays[f"{ablation}.gram"], arrays[f"{ablation}.kl"]
        heads = heads_of(arrays, ablation)
        flat = gram.reshape(-1, queries, queries)
        kl = kl.reshape(-1, queries)
        kl_low, kl_high = percentile_interval(weights @ kl.T / queries, options["confidence"])
        for r, rank in enumerate(options["rank"]):
            low, high = percentile_interval(drawn[ablation][:, r], options["confidence"])
            degrees = ships(clean, flat, rank)
            error, error_kl = rounding_errors(arrays, ablation, rank, degrees)
            frame = heads.assign(
                ships_degrees=degrees,
                ships_low=low,
                ships_high=high,
                kl_mean=kl.mean(1),
                kl_low=kl_low,
                kl_high=kl_high,
                tied=ties(degrees, error),
            )
            frame = every_head(frame.assign(position=positions(frame)), int(arrays["depth"]))
            same = {"ablation": ablation, "rank": rank, "error_degrees": error, "error_kl": error_kl}
            frames.append(frame.assign(**same))
    return pd.concat(frames, ignore_index=True).assign(**keys, queries=queries, queries_dropped=dropped, dtype=dtype)


def rounding_errors(
    arrays: Arrays, ablation: str, rank: int, degrees: Float[np.ndarray, " heads"]
) -> tuple[float, float]:
    """(degrees, nats): the most by which a head's Ships and mean KL differ from float32, of one head in each layer.

    degrees (heads,): Ships of all heads, layer by layer. NaN where nothing was measured again: the model ran in float32
    or wider, or did not fit in float32.
    """
    if f"wide.{ablation}.gram" not in arrays:
        return np.nan, np.nan
    kl = arrays[f"{ablation}.kl"]
    heads = [head_again(int(layer), kl.shape[1]) for layer in arrays["layer"]]
    rows = np.arange(len(heads))
    wide = ships(arrays["wide.clean.gram"], arrays[f"wide.{ablation}.gram"], rank)
    angles = np.abs(degrees.reshape(kl.shape[:2])[rows, heads] - wide)
    divergences = np.abs(kl[rows, heads].mean(-1) - arrays[f"wide.{ablation}.kl"].mean(-1))
    return float(angles.max()), float(divergences.max())


def ties(degrees: Float[np.ndarray, " heads"], error: float) -> Float[np.ndarray, " heads"]:
    """(heads,) how many other heads have an angle that differs by no more than two of `error`; NaN where that is.

    Both angles of a difference err.
    """
    if np.isnan(error):
        return np.full(len(degrees), np.nan)
    ordered = np.sort(degrees)
    last = np.searchsorted(ordered, degrees + 2 * error, side="right")
    return (last - np.searchsorted(ordered, degrees - 2 * error, side="left") - 1).astype(float)


def query_table(arrays: Arrays, keys: Mapping[str, str], names: Sequence[str], options: ShipsOptions) -> pd.DataFrame:
    """The table safety_queries: the KL of every prompt, which is its Ships, and the head's place by it.

    names: the prompts' ids in order. Equal KL: by layer, then by head. Null for heads of layers without attention.
    """
    frames = []
    for ablation in options["ablations"]:
        kl = arrays[f"{ablation}.kl"]
        rows = pd.DataFrame(kl.reshape(-1, kl.shape[-1]))
        places = np.argsort(np.argsort(-rows.to_numpy(), axis=0, kind="stable"), axis=0) + 1  # by layer, then by head
        placed = pd.DataFrame(places).add_prefix("place")
        heads = every_head(pd.concat([heads_of(arrays, ablation), rows, placed], axis=1), int(arrays["depth"]))
        frame = heads.loc[heads.index.repeat(kl.shape[-1]), ["layer", "head"]].reset_index(drop=True)
        ids = np.tile(np.array(names, dtype=object), len(heads))
        position = pd.array(heads[placed.columns].to_numpy(float).ravel(), dtype="Float64").astype("Int32")
        values = heads[rows.columns].to_numpy(float).ravel()
        frames.append(frame.assign(ablation=ablation, query=ids, kl=values, position=position))
    return pd.concat(frames, ignore_index=True).assign(**keys)


def resampled(
    clean: Gram,
    gram: Float[np.ndarray, "heads prompts prompts"],
    ranks: Sequence[int],
    weights: Iterable[Float[np.ndarray, " prompts"]],
) -> Float[np.ndarray, "draws ranks heads"]:
    """(draws, ranks, heads) Ships of bootstrap samples of the prompts.

    weights (draws, Q): how often each prompt is drawn. A sample that holds prompt q w times has the left singular
    vectors of sqrt(w) * M, so its Gram matrix is sqrt(w) G sqrt(w).
    """
    found = []
    for w in weights:
        root = np.sqrt(w)
        scale = root[:, None] * root
        own, other = (leading_subspace(g * scale, max(ranks)) for g in (clean, gram))
        found.append([principal_angles(own[..., :r], other[..., :r]).sum(-1) for r in ranks])
    return np.array(found)
