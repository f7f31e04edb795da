"""The table of salient operations, with the texts of the tokens (no model needed)."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from atlas.analyses.types import Arrays

COLUMNS = ("layer", "head", "rank", "sign", "source", "source_id", "ratio", "mapped", "logits")
SIGNS = ("direct", "suppression")


def salient_table(arrays: Arrays, depth: int, text_of: Callable[[list[int]], list[str]]) -> pd.DataFrame:
    """One row per layer, head, rank and sign, but for model and data set.

    arrays: what map_heads returns. depth: layers of the model, also those without attention, whose rows are nulls.
    text_of: the texts of tokens. A head has no row where no token was looked at.
    """
    if "salient_token" not in arrays:
        return pd.DataFrame(columns=list(COLUMNS))
    tokens, mapped = arrays["salient_token"], arrays["salient_mapped"]
    distinct = np.unique([*tokens.ravel(), *mapped.ravel()]).tolist()
    texts = dict(zip(distinct, text_of(distinct), strict=True))
    place = {int(layer): at for at, layer in enumerate(arrays["layers"])}
    rows = []
    for layer, (column, head), rank in product(range(depth), enumerate(arrays["heads"]), range(tokens.shape[2])):
        at = place.get(layer)
        ratio = -np.inf if at is None else float(arrays["salient_ratio"][at, column, rank])
        for sign, name in enumerate(SIGNS):
            row = {"layer": layer, "head": int(head), "rank": rank + 1, "sign": name}
            if ratio > -np.inf:  # of a token that is all 0 there is none
                source, targets = int(tokens[at, column, rank]), mapped[at, column, rank, sign]
                logits = arrays["salient_logit"][at, column, rank, sign]
                row |= {"source": texts[source], "source_id": source, "ratio": ratio}
                row["mapped"] = json.dumps([texts[int(token)] for token in targets], ensure_ascii=False)
                row["logits"] = json.dumps([float(f"{logit:.6g}") for logit in logits])
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))
