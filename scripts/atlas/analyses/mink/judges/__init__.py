"""Judged correctness of answers, 1 (wrong) to 5 (right), by one of several judges. Nothing here imports torch."""

import numpy as np
import pandas as pd

from atlas.errors import AtlasError

KINDS = ("reference", "column", "api")
NO_SCORE = "no score in the judge's answer"
NO_VALUE = "no score in the data set"


def judge(table, answers, settings, *, model, cache=None, progress=iter):
    """A frame with number, id, depth, score (1 to 5, NaN where there is none) and reason (why there is none, or None).

    table: a data set of kind depth; answers: frame with number and prediction (None for `column`, which judges every
    row); settings: the block analyses.mink.judge; model: whose scores `column` takes; cache: folder of the api judge.
    Raises AtlasError where the judge cannot work at all, or where no answer got a score.
    """
    kind = settings["kind"]
    if kind == "column":
        rows = table
        scores = column_scores(table, settings["column"], model)
        reasons = np.where(np.isnan(scores), NO_VALUE, None)
    else:
        rows = table.iloc[answers["number"]]
        asked = list(zip(rows["question"], rows["answer"], answers["prediction"], strict=True))
        if kind == "reference":
            from atlas.analyses.mink.judges.reference import reference_scores

            scores = reference_scores(asked)
        else:
            from atlas.analyses.mink.judges.api import api_scores

            scores = api_scores(asked, settings["api"], cache, progress=progress)
        reasons = np.where(np.isnan(scores), NO_SCORE, None)
    if np.isnan(scores).all():
        raise AtlasError(
            f"analyses.mink.judge: the judge {kind!r} gave none of {len(scores)} answers a score; look at one of its "
            "answers (see docs/mink.md) or take another judge."
        )
    return pd.DataFrame(
        {
            "number": rows.index.to_numpy() if kind == "column" else answers["number"].to_numpy(),
            "id": rows["id"].to_numpy(),
            "depth": rows["depth"].to_numpy(),
            "score": scores,
            "reason": pd.Series(reasons, dtype="object"),
        }
    )


def column_scores(table, column, model):
    """Scores (N,) of the data set's column; `column` is its name, or {model key: name}."""
    if isinstance(column, dict):
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
