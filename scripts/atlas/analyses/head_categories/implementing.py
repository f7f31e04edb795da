"""Which heads implement a relation by the static map, and the sets of heads that are ablated (no model needed).

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.2: the heads with the highest direct score, random others,
and other relations' tasks as controls. Theirs draw from all layers; here random heads stand in the same layers.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from atlas.analyses.types import Arrays

    Heads = list[tuple[int, int]]  # (layer, head)

IMPLEMENTING = "implementing"
NONE, RELATION, RANDOM, OTHER = "none", "relation", "random", "other"


def direct_scores(ranks: Arrays, pairs: pd.DataFrame, k: Mapping[str, int]) -> pd.DataFrame:
    """phi of every head on every relation, direct: relation, category, layer, head, score.

    ranks, pairs: as relation_scores takes them; k: by relation, `default` for those that are not named.
    """
    layers, heads = np.asarray(ranks["layers"]), np.asarray(ranks["heads"])
    frames = []
    for relation, rows in pairs.groupby("relation", sort=True).indices.items():
        hits = ranks["rank_direct"][:, :, rows] < k.get(str(relation), k["default"])
        frames.append(
            pd.DataFrame(
                {
                    "relation": relation,
                    "category": pairs["category"].iloc[rows[0]],
                    "layer": np.repeat(layers, len(heads)),
                    "head": np.tile(heads, len(layers)),
                    "score": hits.mean(-1).ravel(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def head_sets(scores: pd.DataFrame, wanted: Sequence[str | int], tau: float) -> dict[str, Heads]:
    """{name of a set: its heads, strongest first} of one relation; sets without a head are left out.

    scores: rows of direct_scores of the relation. wanted: `implementing`, the heads above tau, or n, the n strongest
    of those that score at all. Equal scores: by layer, then by head.
    """
    order = scores[scores["score"] > 0].sort_values(["score", "layer", "head"], ascending=[False, True, True])
    found: dict[str, Heads] = {}
    for name in wanted:
        rows = order[order["score"] > tau] if name == IMPLEMENTING else order.head(int(name))
        if len(rows):
            found[str(name)] = list(zip(rows["layer"].tolist(), rows["head"].tolist(), strict=True))
    return found


def random_heads(heads: Heads, scores: pd.DataFrame, tau: float, draw: tuple[int, str, str, int]) -> Heads | None:
    """As many other heads, each from the layer of one of `heads`, none of which implements the relation.

    scores: rows of direct_scores of the relation. draw: seed, relation, name of the set, number of the draw. Where a
    layer has too few others, the rest comes from all layers; None where the model has too few.
    """
    seed, relation, name, number = draw
    generator = np.random.default_rng([seed, zlib.crc32(f"{relation} {name}".encode()), number])
    taken = {*heads, *_places(scores[scores["score"] > tau])}
    free = [place for place in _places(scores) if place not in taken]
    if len(free) < len(heads):
        return None
    found: Heads = []
    for layer in sorted({layer for layer, _ in heads}):
        own = [place for place in free if place[0] == layer]
        needed = sum(place[0] == layer for place in heads)
        found += [own[i] for i in generator.permutation(len(own))[:needed]]
    rest = [place for place in free if place not in found]
    found += [rest[i] for i in generator.permutation(len(rest))[: len(heads) - len(found)]]
    return sorted(found)


def other_tasks(
    relation: str,
    heads: Heads,
    scores: pd.DataFrame,
    base: Mapping[str, float],
    *,
    tau: float,
    least: float,
    number: int,
) -> list[str]:
    """Up to `number` relations that none of `heads` implements, with the accuracy nearest to that of `relation`.

    scores: direct_scores of all relations; base: the model's accuracy on each; least: accuracy that a task must have.
    """
    best = scores[pd.MultiIndex.from_frame(scores[["layer", "head"]]).isin(heads)].groupby("relation")["score"].max()
    fitting = [name for name in base if name != relation and best[name] <= tau and base[name] >= least]
    return sorted(fitting, key=lambda name: (abs(base[name] - base[relation]), name))[:number]


def _places(rows: pd.DataFrame) -> Heads:
    return list(zip(rows["layer"].tolist(), rows["head"].tolist(), strict=True))
