"""All analyses of single heads joined: one row per (model, layer, head). Needs no model.

An analysis that is not configured, or that does not cover a model or a head, leaves nulls, never zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import pandas as pd

from atlas.analyses.by_head import KEYS
from atlas.analyses.heads.measures import head_columns
from atlas.errors import AtlasError


def join_heads(
    tables: Mapping[str, Mapping[str, pd.DataFrame]], choice: Mapping[str, Any], columns: Mapping[str, str]
) -> pd.DataFrame:
    """The table heads, with `columns`.

    tables: {analysis: {name: frame}} of the tables of single heads. choice: `models` in the order of rows, `datasets`
    {analysis: the one data set its columns come from}, `rank` of Ships, `loss` of saliency.
    Raises AtlasError where a chosen data set, rank or loss is not in its table, or a head is there twice.
    """
    parts = [
        head_columns(analysis).columns(frames, choice["datasets"][analysis], choice)
        for analysis, frames in tables.items()
    ]
    if not parts:
        raise AtlasError("analyses.heads: none of the tables that it joins is given.")
    joined = reduce(lambda left, right: left.join(right, how="outer"), parts).reset_index()
    joined["model"] = pd.Categorical(joined["model"], categories=choice["models"])
    joined = joined[joined["model"].notna()].sort_values(KEYS, ignore_index=True)
    return joined.reindex(columns=list(columns)).astype(dict(columns))
