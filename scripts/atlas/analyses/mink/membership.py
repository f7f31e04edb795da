"""Which texts of a labelled collection a model was trained on: scores of membership, and how well they tell it.

Sources: Shi et al. 2024, arXiv 2310.16789 (the task, Min-K%, and the baselines beside it); Zhang et al. 2024, arXiv
2404.02936 (Min-K%++); Carlini et al. 2021, arXiv 2012.07805 (loss against zlib, lower case and a reference model); Das
et al. 2024, arXiv 2406.16201 (scores that look at the texts alone and at no model).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from atlas.analyses.mink import storage
from atlas.analyses.mink.metrics import min_k, z_scores
from atlas.errors import AtlasError
from atlas.statistics.roc import roc_intervals, roc_statistics

if TYPE_CHECKING:
    from atlas.analyses.types import Arrays, Keys

TEXT, LOWERCASE = "text", "lowercase"  # what a model scores of a row: the text, and the text in lower case
BY_K = ("mink", "minkpp")
WITHOUT_MODEL = ("compression", "length")
MEASURES = (*BY_K, "loss", "zlib", "lowercase", "reference", *WITHOUT_MODEL)

# (measure, K or NaN, score): larger speaks for a member.
Score: TypeAlias = tuple[str, float, float]


def zlib_bytes(text: str) -> int:
    """Length in bytes of the text in UTF-8, compressed by zlib at its default level: its zlib entropy."""
    return len(zlib.compress(text.encode("utf-8")))


def score_table(
    arrays: Arrays,
    table: pd.DataFrame,
    keys: Keys,
    *,
    k_percent: Sequence[float],
    min_tokens: int,
    reference: Arrays | None = None,
) -> tuple[pd.DataFrame, int]:
    """(the table membership_scores, texts with fewer than min_tokens scored tokens) of one model and data set.

    arrays: as in storage, of the kinds of text TEXT and, where it was asked for, LOWERCASE; table: the data set;
    reference: the arrays of the reference model. A row for every text and measure that it has; a text that the
    reference model or lower case leaves out lacks that measure alone. Raises AtlasError where every text is too short.
    """
    lower = _mean_logprobs(arrays, LOWERCASE)
    other = {} if reference is None else _mean_logprobs(reference, TEXT)
    rows: list[tuple] = []
    short = 0
    for number, tokens in storage.split(arrays, TEXT):
        count = len(tokens["lp"])
        if count < min_tokens:
            short += 1
            continue
        text = table["text"].iloc[number]
        about = (number, table["id"].iloc[number], table["label"].iloc[number], count)
        found = _scores(tokens, text, k_percent, lower.get(number), other.get(number))
        rows.extend((*about, *score) for score in found)
    if not rows:
        raise AtlasError(
            f"all {short} texts have fewer scored tokens than analyses.membership.min_tokens = {min_tokens}; lower it."
        )
    frame = pd.DataFrame(rows, columns=["number", "text", "label", "tokens", "measure", "k_percent", "score"])
    place = frame["measure"].map({name: i for i, name in enumerate(MEASURES)})
    frame = frame.assign(place=place).sort_values(["place", "k_percent", "number"], kind="stable")
    return frame.drop(columns=["number", "place"]).assign(**keys), short


def _scores(
    tokens: Mapping[str, np.ndarray],
    text: str,
    k_percent: Sequence[float],
    lower: float | None,
    reference: float | None,
) -> Iterator[Score]:
    """Every score of one text. lower, reference: mean log-probability of it in lower case, and under the reference."""
    z = z_scores(tokens["lp"], tokens["mu"], tokens["sigma"])
    for k in k_percent:
        yield "mink", float(k), -min_k(tokens["lp"], k)
        yield "minkpp", float(k), -min_k(z, k)
    loss = -float(np.mean(tokens["lp"], dtype=np.float64))
    size = zlib_bytes(text)
    yield "loss", np.nan, -loss
    yield "zlib", np.nan, -loss / size
    if lower is not None:
        # A text without capitals is its own lower case: 1 exactly, whatever batches it was run in.
        yield "lowercase", np.nan, -1.0 if text == text.lower() else -_ratio(loss, -lower)
    if reference is not None:
        yield "reference", np.nan, -loss - reference
    yield "compression", np.nan, -size / len(text.encode("utf-8"))
    yield "length", np.nan, float(len(text.encode("utf-8")))


def _ratio(loss: float, lower: float) -> float:
    """loss / lower; where lower is 0, 1 for a loss of 0 and infinity else."""
    if lower:
        return loss / lower
    return np.inf if loss else 1.0


def _mean_logprobs(arrays: Arrays, text: str) -> dict[int, float]:
    """{row of the data set: mean log-probability of its scored tokens}; empty where that kind was not scored."""
    if f"{text}.number" not in arrays:
        return {}
    return {number: float(np.mean(own["lp"], dtype=np.float64)) for number, own in storage.split(arrays, text)}


def membership_table(
    scores: pd.DataFrame,
    *,
    texts: int,
    max_fpr: float,
    confidence: float,
    draws: int,
    seed: int,
    reference: str,
    dtype: str,
) -> pd.DataFrame:
    """The table membership: AUROC and true positive rate at max_fpr of every measure, with bootstrap intervals.

    scores: the table membership_scores of one model and data set; texts: rows of the data set; reference: key of the
    reference model, where there is one. Intervals: percentiles over texts, members and non-members drawn apart, the
    same draws for all measures of as many texts.
    Raises AtlasError where the texts that are left are all members, or none is.
    """
    rows = []
    for (measure, k), part in scores.groupby(["measure", "k_percent"], sort=False, dropna=False):
        values, members = part["score"].to_numpy(), part["label"].to_numpy() == 1
        if members.all() or not members.any():
            raise AtlasError(
                f"data set {part['dataset'].iloc[0]}: the {len(part)} texts that {measure} can score all have the "
                f"label {int(members[0])}, so there is nothing to tell apart; take more rows of it (limit, sample), or "
                "look at analyses.membership.min_tokens and max_tokens."
            )
        area, rate = roc_statistics(values, members, max_fpr)
        bounds = roc_intervals(values, members, max_fpr, confidence=confidence, draws=draws, seed=seed)
        counts = (int(members.sum()), int((~members).sum()), texts - len(part))
        rows.append((measure, k, area[0], *bounds[0], rate[0], *bounds[1], *counts))
    names = ["auroc", "auroc_low", "auroc_high", "tpr", "tpr_low", "tpr_high", "members", "nonmembers", "dropped"]
    frame = pd.DataFrame(rows, columns=["measure", "k_percent", *names])
    keys = {name: scores[name].iloc[0] for name in ("model", "dataset")}
    used = frame["measure"].eq("reference").map({True: reference, False: ""})
    return frame.assign(**keys, max_fpr=max_fpr, reference=used, dtype=dtype)
