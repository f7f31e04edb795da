"""Generalized Ships: how far ablating a head turns the leading subspace of the prompts' states (no model needed).

Source: Zhou et al., ICLR 2025, arXiv 2410.13708, equation 9. With M (prompts, width) the last-token states, U_R its R
leading left singular vectors, Ships = sum of the R principal angles between U_R and the U_R' of the ablated model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from atlas.analyses.types import Arrays

    Gram = Float[np.ndarray, "prompts prompts"]


class ShipsOptions(TypedDict):
    """Of analyses.safety_heads: which ablations, and the dimensions of the compared subspaces."""

    ablations: Sequence[str]
    rank: Sequence[int]


def leading_subspace(
    gram: Float[np.ndarray, "*heads prompts prompts"], rank: int
) -> Float[np.ndarray, "*heads prompts rank"]:
    """(..., Q, rank) orthonormal leading left singular vectors of M from its Gram matrices M M^T (..., Q, Q)."""
    return np.linalg.eigh(gram)[1][..., ::-1][..., :rank]


def principal_angles(
    a: Float[np.ndarray, "*heads prompts rank"], b: Float[np.ndarray, "*heads prompts rank"]
) -> Float[np.ndarray, "*heads rank"]:
    """(..., R) angles in degrees, ascending, between the column spaces of orthonormal a and b (..., Q, R).

    From sine and cosine together (Bjorck and Golub 1973): the arc cosine alone cannot see angles below 1e-8 rad in
    float64 or 0.03 degrees in float32, and most heads are that small.
    """
    inner = np.swapaxes(a, -1, -2) @ b
    cosines = np.linalg.svd(inner, compute_uv=False)
    sines = np.linalg.svd(b - a @ inner, compute_uv=False)[..., ::-1]
    return np.degrees(np.arctan2(sines, cosines))


def ships(clean: Gram, ablated: Float[np.ndarray, "*heads prompts prompts"], rank: int) -> Float[np.ndarray, "*heads"]:
    """Generalized Ships in degrees (...,) from Gram matrices clean (Q, Q) and ablated (..., Q, Q)."""
    return principal_angles(leading_subspace(clean, rank), leading_subspace(ablated, rank)).sum(-1)


def check_ranks(ranks: Sequence[int], queries: int) -> None:
    """AtlasError unless every rank is at most a quarter of the number of queries."""
    if max(ranks) * 4 > queries:
        raise AtlasError(
            f"analyses.safety_heads.rank asks for {max(ranks)}, but {queries} prompts allow at most {queries // 4} "
            "(a quarter of their number); use more prompts or a smaller rank."
        )


def ranking(arrays: Arrays, options: ShipsOptions) -> pd.DataFrame:
    """A frame with ablation, rank, layer, head, ships_degrees, kl_mean and position (1 = strongest) of every head.

    arrays: as in storage.py; options: rank, ablations. Equal angles: by layer, then by head.
    """
    clean = arrays["clean.gram"]
    check_ranks(options["rank"], len(clean))
    frames = []
    for ablation in options["ablations"]:
        gram, kl = (arrays[f"{ablation}.{name}"] for name in ("gram", "kl"))
        gram, kl = gram.reshape(-1, *clean.shape), kl.reshape(-1, len(clean))
        for rank in options["rank"]:
            measured = {"ships_degrees": ships(clean, gram, rank), "kl_mean": kl.mean(1)}
            frame = heads_of(arrays, ablation).assign(rank=rank, **measured)
            frames.append(frame.assign(position=positions(frame)))
    return pd.concat(frames, ignore_index=True)


def positions(heads: pd.DataFrame) -> Int[np.ndarray, " heads"]:
    """(heads,) place of each row of `heads` by ships_degrees, 1 the largest; ties by layer and head."""
    strongest = np.lexsort((heads["head"], heads["layer"], -heads["ships_degrees"]))
    return np.argsort(strongest) + 1


def heads_of(arrays: Arrays, ablation: str) -> pd.DataFrame:
    """A frame with ablation, layer and head of every stored head."""
    number = arrays[f"{ablation}.kl"].shape[1]
    layers = np.repeat(arrays["layer"], number)
    heads = np.tile(np.arange(number), len(arrays["layer"]))
    return pd.DataFrame({"ablation": ablation, "layer": layers, "head": heads})
