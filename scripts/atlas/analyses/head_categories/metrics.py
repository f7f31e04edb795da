"""Which relations a head implements: scores, a permutation null, and category labels (MAPS).

Elhelo & Geva, ACL 2025, arXiv 2412.11965. For a relation of n pairs (s_i, t_i) and the hit matrix
h_ij = 1[t_j is among the top k of m_{s_i}] the score is phi = sum_i h_ii / n; suppression is the same with -m.

The null shuffles the targets among the sources: T(pi) = sum_i h_{i, pi(i)} / n over all permutations has

    mean = sum_ij h_ij / n^2                               (exact)
    variance = sum_ij d_ij^2 / ((n - 1) n^2),  d_ij = h_ij - h_i. - h_.j + h_..      (Hoeffding 1951, exact)

and p = (1 + #{T(pi) >= phi}) / (1 + draws). A head whose output does not depend on its input has h_ij = h_j, hence
phi = mean for every permutation and p = 1, however high its score. Needs no model and no torch.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.stats import false_discovery_control

from atlas.analyses.by_head import every_head
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from atlas.analyses.types import Arrays

CATEGORIES = ("Algorithmic", "Knowledge", "Linguistic", "Translation")
SIGNS = {"direct": 1, "suppression": -1}
UNCLASSIFIED = "Unclassified"
_CHUNK = 1000  # permutations at once


def relation_scores(
    ranks: Mapping[str, np.ndarray],
    pairs: pd.DataFrame,
    k: Mapping[str, int],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score and null of every (layer, head, relation, sign).

    ranks: what head_mappings.map_heads returns. pairs: the pairs that it was given (relation, category, source_id,
    target_id), P rows. k: how many of the top count as a hit, by relation. draws: permutations; the least p is
    1 / (draws + 1), so after Benjamini-Hochberg a single head among H can reach q < a only if draws >= H / a.

    Returns layer, head, relation, category, sign, k, score, null_mean, null_sd, p, q, pairs (n of the relation), with
    q within (relation, sign) over all layers and heads; sorted by relation, sign, layer, head.
    Raises AtlasError: k beyond what was stored, a relation without k.
    """
    if draws < 1:
        raise AtlasError(f"draws must be at least 1, not {draws}.")
    layers, heads = np.asarray(ranks["layers"]), np.asarray(ranks["heads"])
    relation_of = pairs["relation"].to_numpy().astype(str)
    targets = pairs["target_id"].to_numpy()
    frames = []
    for relation in sorted(set(relation_of)):
        if relation not in k:
            raise AtlasError(f"No k is configured for relation {relation!r}.")
        if k[relation] > int(ranks["k_max"]):
            raise AtlasError(
                f"k = {k[relation]} of relation {relation!r} is beyond the k_max = {ranks['k_max']} stored."
            )
        members = np.flatnonzero(relation_of == relation)
        for sign, value in SIGNS.items():
            own = (ranks[f"rank_{sign}"][:, :, members] < k[relation]).sum(-1).ravel()
            rows, tokens, columns = _hits(ranks, members, value, k[relation], layers, heads)
            # The permutations of a relation depend on its name, not on which other relations there are.
            generator = np.random.default_rng([seed, zlib.crc32(relation.encode())])
            mean, variance, p = permutation_null(rows, tokens, columns, targets[members], own, draws, generator)
            frames.append(
                pd.DataFrame(
                    {
                        "layer": np.repeat(layers, len(heads)),
                        "head": np.tile(heads, len(layers)),
                        "relation": relation,
                        "category": pairs["category"].iloc[members[0]],
                        "sign": sign,
                        "k": k[relation],
                        "score": own / len(members),
                        "null_mean": mean,
                        "null_sd": np.sqrt(variance),
                        "p": p,
                        "q": false_discovery_control(p),
                        "pairs": len(members),
                    }
                )
            )
    if not frames:
        raise AtlasError("No relation is left to score; check the tokenizer's report of the relations.")
    return pd.concat(frames, ignore_index=True)


def permutation_null(
    rows: Int[np.ndarray, " hits"],
    tokens: Int[np.ndarray, " hits"],
    columns: Int[np.ndarray, " hits"],
    targets: Int[np.ndarray, " pairs"],
    own: Int[np.ndarray, " heads"],
    draws: int,
    generator: np.random.Generator,
) -> tuple[Float[np.ndarray, " heads"], Float[np.ndarray, " heads"], Float[np.ndarray, " heads"]]:
    """Mean, variance and p value of the scores of C heads when the targets are shuffled among the n sources.

    rows, tokens, columns: (hits,) row i of the hit matrix, target token, head 0..C-1; a token stands for every pair
    with that target. targets: (n,) token of each pair. own: (C,) sum_i h_ii, the observed hits.
    Returns three (C,) float arrays. Sparse: the work grows with draws * hits / (distinct targets).
    """
    n, size = len(targets), len(own)
    distinct, code, multiplicity = np.unique(targets, return_inverse=True, return_counts=True)
    hit_code = np.searchsorted(distinct, tokens)
    cells = rows * len(distinct) + hit_code
    ones = np.ones(len(cells), np.int32)
    hits = csr_array((ones, (cells, columns)), shape=(n * len(distinct), size))

    row_sums, column_sums = np.zeros((n, size)), np.zeros((len(distinct), size))
    np.add.at(row_sums, (rows, columns), multiplicity[hit_code])
    np.add.at(column_sums, (hit_code, columns), 1)
    total = row_sums.sum(0)
    spread = total - (row_sums**2).sum(0) / n - (multiplicity @ column_sums**2) / n + total**2 / n**2
    variance = np.maximum(spread, 0) / (max(n - 1, 1) * n**2)

    tested = np.flatnonzero(own)  # a score of 0 is reached by every permutation
    at_least, hits = np.full(size, draws), hits[:, tested]
    at_least[tested] = 0
    for start in range(0, draws if len(tested) else 0, _CHUNK):
        count = min(_CHUNK, draws - start)
        shuffled = code[generator.permuted(np.tile(np.arange(n), (count, 1)), axis=1)]
        indices = (np.arange(n) * len(distinct) + shuffled).ravel()
        chosen = csr_array(
            (np.ones(count * n, np.int64), indices, np.arange(count + 1) * n), shape=(count, hits.shape[0])
        )
        at_least[tested] += ((chosen @ hits).toarray() >= own[tested]).sum(0)
    return total / n**2, variance, (1 + at_least) / (1 + draws)


def _hits(
    ranks: Arrays,
    members: Int[np.ndarray, " members"],
    sign: int,
    k: int,
    layers: Int[np.ndarray, " layers"],
    heads: Int[np.ndarray, " heads"],
) -> tuple[Int[np.ndarray, " hits"], Int[np.ndarray, " hits"], Int[np.ndarray, " hits"]]:
    """Hits of one relation and sign: (row within the relation, target token, column = layer and head)."""
    place = np.full(ranks["rank_direct"].shape[2], -1)
    place[members] = np.arange(len(members))
    keep = (ranks["hit_sign"] == sign) & (ranks["hit_rank"] < k) & (place[ranks["hit_pair"]] >= 0)
    layer = _positions(layers, ranks["hit_layer"][keep])
    head = _positions(heads, ranks["hit_head"][keep])
    return place[ranks["hit_pair"][keep]], ranks["hit_target"][keep], layer * len(heads) + head


def _positions(values: Int[np.ndarray, " values"], wanted: Int[np.ndarray, " wanted"]) -> Int[np.ndarray, " wanted"]:
    order = np.argsort(values)
    return order[np.searchsorted(values, wanted, sorter=order)]


def categories_table(scores: pd.DataFrame, *, tau: float, alpha: float, draws: int) -> pd.DataFrame:
    """The labels of every head under both significances, with the thresholds.

    warning: of rows under tau_and_null, where `draws` permutations are too few for a single head to reach q < alpha.
    """
    both = [label_heads(scores, significance=name, tau=tau, alpha=alpha) for name in ("tau", "tau_and_null")]
    table = pd.concat(both, ignore_index=True).assign(tau=tau, alpha=alpha)
    short = short_null(len(both[0]), draws, alpha) or ""
    return table.assign(warning=table["significance"].map({"tau": "", "tau_and_null": short}))


def blank_rows(scores: pd.DataFrame, categories: pd.DataFrame, depth: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with rows of nulls for the heads of layers without attention, where the model has `depth` layers.

    scores: of relation_scores; categories: of categories_table. What does not depend on the head stays (k, pairs, tau).
    """
    wide = every_head(scores, depth, ("relation", "category", "sign", "k", "pairs"))
    return wide, every_head(categories, depth, ("significance", "tau", "alpha", "warning"))


def short_null(heads: int, draws: int, alpha: float) -> str | None:
    """What `draws` permutations cannot show of `heads` heads, or None where a single head can reach q < alpha."""
    least = heads / (draws + 1)  # Benjamini-Hochberg of the least p, 1 / (draws + 1), where one head alone has it
    if least < alpha:
        return None
    need = math.floor(heads / Fraction(str(alpha)))
    return (
        f"with {draws} permutations one head among {heads} has q = {min(least, 1):.2g} at best, not below {alpha:g}; "
        f"take {need} or more"
    )


def label_heads(
    scores: pd.DataFrame, *, significance: str = "tau", tau: float = 0.15, alpha: float = 0.05
) -> pd.DataFrame:
    """The label of every head: its category, "2 categories" and so on, or "Unclassified".

    scores: what relation_scores returns. A head implements a relation if its score exceeds tau in either sign; with
    significance "tau_and_null" the same sign must also have q < alpha.
    Returns layer, head, significance, label, categories (their names in order, joined by ";").
    """
    if significance not in ("tau", "tau_and_null"):
        raise AtlasError(f"significance must be tau or tau_and_null, not {significance!r}.")
    implemented = scores["score"] > tau
    if significance == "tau_and_null":
        implemented &= scores["q"] < alpha
    every = scores[["layer", "head"]].drop_duplicates().sort_values(["layer", "head"])
    found = scores[implemented].groupby(["layer", "head"])["category"].agg(lambda names: ";".join(sorted(set(names))))
    table = every.merge(found.rename("categories").reset_index(), how="left", on=["layer", "head"])
    table["categories"] = table["categories"].fillna("")
    table["label"] = table["categories"].map(_label)
    return table.assign(significance=significance)[["layer", "head", "significance", "label", "categories"]]


def _label(categories: str) -> str:
    names = categories.split(";") if categories else []
    if not names:
        return UNCLASSIFIED
    return names[0] if len(names) == 1 else f"{len(names)} categories"
