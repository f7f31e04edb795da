"""Generalized Ships: how far ablating a head turns the leading subspace of the prompts' states (no model needed).

Source: Zhou et al., ICLR 2025, arXiv 2410.13708, equation 9. With M (prompts, width) the last-token states, U_R its R
leading left singular vectors, Ships = sum of the R principal angles between U_R and the U_R' of the ablated model.
"""

import numpy as np
import pandas as pd

from atlas.errors import AtlasError
from atlas.statistics.intervals import bootstrap_weights, percentile_interval


def leading_subspace(gram, rank):
    """(..., Q, rank) orthonormal leading left singular vectors of M from its Gram matrices M M^T (..., Q, Q)."""
    return np.linalg.eigh(gram)[1][..., ::-1][..., :rank]


def principal_angles(a, b):
    """(..., R) angles in degrees, ascending, between the column spaces of orthonormal a and b (..., Q, R).

    From sine and cosine together (Bjorck and Golub 1973): the arc cosine alone cannot see angles below 1e-8 rad in
    float64 or 0.03 degrees in float32, and most heads are that small.
    """
    inner = np.swapaxes(a, -1, -2) @ b
    cosines = np.linalg.svd(inner, compute_uv=False)
    sines = np.linalg.svd(b - a @ inner, compute_uv=False)[..., ::-1]
    return np.degrees(np.arctan2(sines, cosines))


def ships(clean, ablated, rank):
    """Generalized Ships in degrees (...,) from Gram matrices clean (Q, Q) and ablated (..., Q, Q)."""
    return principal_angles(leading_subspace(clean, rank), leading_subspace(ablated, rank)).sum(-1)


def check_ranks(ranks, queries):
    """AtlasError unless every rank is at most a quarter of the number of queries."""
    if max(ranks) * 4 > queries:
        raise AtlasError(
            f"analyses.safety_heads.rank asks for {max(ranks)}, but {queries} prompts allow at most {queries // 4} "
            "(a quarter of their number); use more prompts or a smaller rank."
        )


def head_table(arrays, keys, dropped, options, progress=iter):
    """The table safety_heads of one model and data set: arrays as in head_ablation_layout, `keys` its identity.

    options: rank, ablations, confidence, bootstrap, seed. Intervals are percentiles over resampled prompts.
    """
    clean, queries = arrays["clean.gram"], len(arrays["clean.gram"])
    check_ranks(options["rank"], queries)
    weights = bootstrap_weights(queries, options["bootstrap"], options["seed"])
    frames = []
    for ablation in options["ablations"]:
        gram, kl = arrays[f"{ablation}.gram"], arrays[f"{ablation}.kl"]
        heads = _heads(arrays, ablation)
        flat = gram.reshape(-1, queries, queries)
        replicates = resampled(clean, flat, options["rank"], progress(weights))
        kl = kl.reshape(-1, queries)
        kl_low, kl_high = percentile_interval(weights @ kl.T / queries, options["confidence"])
        for r, rank in enumerate(options["rank"]):
            low, high = percentile_interval(replicates[:, r], options["confidence"])
            frame = heads.assign(
                rank=rank,
                ships_degrees=ships(clean, flat, rank),
                ships_low=low,
                ships_high=high,
                kl_mean=kl.mean(1),
                kl_low=kl_low,
                kl_high=kl_high,
            )
            strongest = np.lexsort((frame["head"], frame["layer"], -frame["ships_degrees"]))
            frame["position"] = np.argsort(strongest) + 1
            frames.append(frame)
    return pd.concat(frames, ignore_index=True).assign(**keys, queries=queries, queries_dropped=dropped)


def query_table(arrays, keys, names, options):
    """The table safety_queries: the KL of every prompt; names: the prompts' ids in order."""
    frames = []
    for ablation in options["ablations"]:
        kl = arrays[f"{ablation}.kl"]
        heads = _heads(arrays, ablation)
        frame = heads.loc[heads.index.repeat(kl.shape[-1])].reset_index(drop=True)
        frames.append(frame.assign(query=np.tile(np.array(names, dtype=object), len(heads)), kl=kl.ravel()))
    return pd.concat(frames, ignore_index=True).assign(**keys)


def _heads(arrays, ablation):
    number = arrays[f"{ablation}.kl"].shape[1]
    layers = np.repeat(arrays["layer"], number)
    heads = np.tile(np.arange(number), len(arrays["layer"]))
    return pd.DataFrame({"ablation": ablation, "layer": layers, "head": heads})


def resampled(clean, gram, ranks, weights):
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
