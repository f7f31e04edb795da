"""Judged correctness of answers, 1 (wrong) to 5 (right), by one of several judges. Nothing here imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
import pandas as pd

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from jaxtyping import Float

    from atlas.analyses.mink.judges.api import ApiOptions, Progress

KINDS = ("reference", "column", "api")
NO_SCORE = "no score in the judge's answer"
NO_VALUE = "no score in the data set"


class JudgeOptions(TypedDict):
    """The block analyses.mink.judge: `kind`, and the options of that kind alone."""

    kind: str
    column: NotRequired[str | Mapping[str, str]]
    api: NotRequired[ApiOptions]


def judge(
    table: pd.DataFrame,
    answers: pd.DataFrame | None,
    settings: JudgeOptions,
    *,
    model: str,
    cache: str | Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """A frame with number, id, depth, score (1 to 5, NaN where there is none) and reason (why there is none, or None).

    table: a data set of kind depth; answers: frame with number and prediction (None for `column`, which judges every
    row); settings: the block analyses.mink.judge; model: whose scores `column` takes; cache: folder of the api judge.
    Raises AtlasError where the judge cannot work at all, or where no answer got a score.
    """
    kind = settings["kind"]
    if kind == "column":
        rows, numbers = table, table.index.to_numpy()
        scores = column_scores(table, settings["column"], model)
        reasons = [NO_VALUE if missing else None for missing in np.isnan(scores)]
    else:
        if answers is None:
            raise ValueError(f"the judge {kind!r} is given no answers")
        rows, numbers = table.iloc[answers["number"]], answers["number"].to_numpy()
        asked = list(zip(rows["question"], rows["answer"], answers["prediction"], strict=True))
        if kind == "reference":
            from atlas.analyses.mink.judges.reference import reference_scores, refused

            scores = reference_scores(asked)
            reasons = [refused(gold, answer) for _, gold, answer in asked]
        else:
            from atlas.analyses.mink.judges.api import api_scores

            if cache is None:
                raise ValueError("the judge 'api' is given no folder for what is answered")
            scores = api_scores(asked, settings["api"], cache, progress=progress)
            reasons = [NO_SCORE if missing else None for missing in np.isnan(scores)]
    if np.isnan(scores).all():
        told = "; ".join(f"{count} times {reason}" for reason, count in Counter(filter(None, reasons)).items())
        raise AtlasError(
            f"analyses.mink.judge: the judge {kind!r} gave none of {len(scores)} answers a score ({told}); look at one "
            "of its answers (see docs/mink.md) or take another judge."
        )
    return pd.DataFrame(
        {
            "number": numbers,
            "id": rows["id"].to_numpy(),
            "depth": rows["depth"].to_numpy(),
            "score": scores,
            "reason": pd.Series(reasons, dtype="object"),
        }
    )


def column_scores(table: pd.DataFrame, column: str | Mapping[str, str], model: str) -> Float[np.ndarray, " rows"]:
    """Scores (N,) of the data set's column; `column` is its name, or {model key: name}."""
    if not isinstance(column, str):
        if model not in column:
            raise AtlasError(f"analyses.mink.judge.column names no column for model {model!r}; add one.")
        column = column[model]
    if column not in table:
        known = [name for name in table.columns if name.startswith("score")] or ["none"]
        raise AtlasError(
            f"analyses.mink.judge.column: the data set has no column {column!r}; its score columns are: "
            f"{', '.join(known)}. Columns come along if they start with 'score' or are named under `columns`."
        )
    scores = table[column].to_numpy(dtype=float)
    wrong = np.flatnonzero((scores < 1) | (scores > 5))
    if len(wrong):
        raise AtlasError(
            f"{column} of question {table['id'].iloc[wrong[0]]!r} is {scores[wrong[0]]:g}; scores go from 1 to 5."
        )
    return scores
