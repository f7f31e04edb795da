"""The salient operations of each head as data of the explorer's page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.analyses.heads.packed import packed

if TYPE_CHECKING:
    import pandas as pd

NONE = -1  # index of a text that is missing


def salient_data(model: str, heads: pd.DataFrame, operations: pd.DataFrame | None, count: int) -> dict[str, Any] | None:
    """What page/salient.js lists of each row of `heads`; None where the model has none.

    operations: the table salient_operations. count: tokens of each head, and tokens that each is mapped to. Indices of
    `texts` are packed as float32, which holds them exactly: source and ratio (heads * count,), direct and suppression
    (heads * count * mapped,).
    """
    if operations is None or not count:
        return None
    own = operations[(operations["model"] == model) & (operations["rank"] <= count)].dropna(subset="ratio")
    if own.empty:
        return None
    order = {key: row for row, key in enumerate(zip(heads["layer"], heads["head"], strict=True))}
    lists = own["mapped"].map(json.loads).map(lambda texts: texts[:count])
    width, texts = int(lists.map(len).max()), dict[str, int]()
    found = {name: np.full((len(heads), count, width), NONE) for name in ("direct", "suppression")}
    source, ratio = np.full((len(heads), count), NONE), np.zeros((len(heads), count))
    for row, mapped in zip(own.itertuples(), lists, strict=True):
        if (row.layer, row.head) not in order:
            continue
        cell = order[row.layer, row.head], row.rank - 1
        source[cell], ratio[cell] = texts.setdefault(row.source, len(texts)), row.ratio
        found[row.sign][cell] = [texts.setdefault(text, len(texts)) for text in mapped]
    arrays = {"source": source, "ratio": ratio, **found}
    packs = {name: packed(array, "float32") for name, array in arrays.items()}
    return {"count": count, "mapped": width, "texts": list(texts), **packs}
