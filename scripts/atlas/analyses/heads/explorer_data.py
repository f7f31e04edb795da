"""The data of the explorer, small enough to stand in one page: float32, quantised curves, base64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.analyses.head_categories.colours import COLOURS
from atlas.analyses.heads.explorer_salient import salient_data
from atlas.analyses.heads.measures import definitions, head_columns, measures
from atlas.analyses.heads.packed import packed

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Int

    from atlas.analyses.by_head import Measure
    from atlas.plots.types import Options, Tables

_EVERY_HEAD = ("sinks", "safety_heads")  # analyses that measure every head there is
NONE = 65535  # index of a text that is missing


def page_data(tables: Tables, options: Options) -> dict[str, Any]:
    """Everything the page shows, as plain lists, numbers and packed arrays.

    tables: heads, and head_relations, salient_operations and attention_weights where their analyses are configured.
    options: `models`, `model_labels`, `metrics` (those that no model has are left out), `relations` and `salient` (per
    head), `curves` (heads per model), `min_prompts`, `datasets` {analysis: the data set that `heads` is about},
    `dataset_labels`, `docs` (where the pages of the documentation are, `{page}` for a page's name; null: beside the
    folder of figures, or, with `docs_apart`, not where the page could know them).
    """
    heads = tables["heads"]
    relations = _of_dataset(tables, "head_relations", options["datasets"].get("head_categories"))
    weights = _of_dataset(tables, "attention_weights", options["datasets"].get("meaningless_tokens"))
    models = [model for model in options["models"] if (heads["model"] == model).any()]
    heads = heads[heads["model"].isin(models)]
    names = [] if relations is None else sorted(relations["relation"].unique())
    metrics = [metric for metric in options["metrics"] if metric in heads and heads[metric].notna().any()]
    groups = []
    for analysis, dataset in options["datasets"].items():
        told = head_columns(analysis)
        columns = [column for column in told.SHOWN if column in heads and heads[column].notna().any()]
        if columns:
            data = options["dataset_labels"][dataset]
            groups.append({"title": told.TITLE, "data": data, "page": told.PAGE, "columns": columns})
    known = measures(options["datasets"])
    shown = dict.fromkeys([*metrics, *(column for group in groups for column in group["columns"])])
    operations = _of_dataset(tables, "salient_operations", options["datasets"].get("head_categories"))
    return {
        "metrics": [{"name": name, **_described(known[name])} for name in metrics],
        "groups": groups,
        "definitions": {name: told for name, told in definitions(options["datasets"]).items() if name in shown},
        "docs": options["docs"],
        "docs_apart": options.get("docs_apart", False),
        "labels": list(COLOURS),
        "relations": names,
        "models": [
            {
                **_model(model, own, relations, weights, names, metrics, groups, options),
                "salient": salient_data(model, own, operations, options["salient"]),
            }
            for model, own in ((model, heads[heads["model"] == model]) for model in models)
        ],
    }


def _of_dataset(tables: Tables, name: str, dataset: str | None) -> pd.DataFrame | None:
    return tables[name][tables[name]["dataset"] == dataset] if name in tables else None


def _described(metric: Measure) -> dict[str, Any]:
    return {
        "label": metric.column or metric.label,
        "unit": metric.unit,
        "sign": metric.sign,
        "diverging": metric.diverging,
    }


def _model(
    model: str,
    heads: pd.DataFrame,
    relations: pd.DataFrame | None,
    weights: pd.DataFrame | None,
    names: Sequence[str],
    metrics: Sequence[str],
    groups: Sequence[Mapping[str, Any]],
    options: Options,
) -> dict[str, Any]:
    columns = dict.fromkeys([*metrics, *(column for group in groups for column in group["columns"])])
    known = measures(options["datasets"])
    return {
        "key": model,
        "label": options["model_labels"][model],
        "layer": packed(heads["layer"], "uint16"),
        "head": packed(heads["head"], "uint16"),
        "label_index": packed(_index(heads["label"], list(COLOURS)), "uint16"),
        "label_null_index": packed(_index(heads["label_null"], list(COLOURS)), "uint16"),
        "columns": {column: packed(heads[column].to_numpy(float), "float32") for column in columns},
        "top": _top_relations(model, heads, relations, names, options["relations"]),
        "curves": _curves(model, heads, weights, options),
        "blank_layers": _without_attention(heads, options["datasets"]),
        "lacking": [known[metric].label for metric in metrics if heads[metric].isna().all()]
        + (["category"] if heads["label"].isna().all() else []),
    }


def every_head(heads: pd.DataFrame, datasets: Mapping[str, str]) -> str | None:
    """A measure that every head with attention of this model has; None where no analysis with one covers it."""
    names = measures(folder for folder in _EVERY_HEAD if folder in datasets)
    return next((name for name in names if name in heads and heads[name].notna().any()), None)


def _without_attention(heads: pd.DataFrame, datasets: Mapping[str, str]) -> list[int]:
    """The layers of one model that have no attention (of hybrids): a measure that every head has is null there."""
    if (column := every_head(heads, datasets)) is None:
        return []
    known = heads.groupby("layer")[column].count() > 0
    return [int(layer) for layer in known.index[~known]]


def _index(values: pd.Series, known: Sequence[str]) -> Int[np.ndarray, " values"]:
    return values.map({name: index for index, name in enumerate(known)}).fillna(NONE).to_numpy(int)


def _top_relations(
    model: str, heads: pd.DataFrame, relations: pd.DataFrame | None, names: Sequence[str], count: int
) -> dict[str, Any] | None:
    """The `count` highest scores of every head in either sign: relation (NONE: no more), sign and score."""
    if relations is None or not (relations["model"] == model).any():
        return None
    own = relations[(relations["model"] == model) & (relations["score"] > 0)]
    own = own.assign(below=-own["score"]).sort_values(["layer", "head", "below", "q", "relation", "sign"])
    place = own.groupby(["layer", "head"]).cumcount()
    own, place = own[place < count], place[place < count]
    order = {key: row for row, key in enumerate(zip(heads["layer"], heads["head"], strict=True))}
    keep = np.array([key in order for key in zip(own["layer"], own["head"], strict=True)], dtype=bool)
    own, place = own[keep], place[keep]
    cell = [order[key] for key in zip(own["layer"], own["head"], strict=True)], place
    index = np.full((len(heads), count), NONE)
    direct, scores, null = (np.zeros((len(heads), count)) for _ in range(3))
    index[cell] = _index(own["relation"], names)
    direct[cell] = own["sign"] == "direct"
    scores[cell] = own["score"]
    null[cell] = own["q"]
    return {
        "count": count,
        "relation": packed(index, "uint16"),
        "direct": packed(direct, "uint8"),
        "score": packed(scores, "float32"),
        "q": packed(null, "float32"),
    }


def _curves(model: str, heads: pd.DataFrame, weights: pd.DataFrame | None, options: Options) -> dict[str, Any] | None:
    """Mean attention per aligned position of the heads with the largest drops, as shares of each curve's maximum."""
    own = None if weights is None else weights[weights["model"] == model]
    if own is None or own.empty or not options["curves"]:
        return None
    reached = int(min(options["min_prompts"], own["prompts"].max()))
    own = own[own["aligned_position"].notna() & (own["prompts"] >= reached)]
    chosen = heads.reset_index(drop=True).nsmallest(options["curves"], "meaningless_effect")[["layer", "head"]]
    wanted = list(chosen.sort_index().itertuples(index=False, name=None))
    curves: dict[str, Any] = {"prompts": reached, "heads": packed(chosen.sort_index().index.to_numpy(), "uint16")}
    for condition in ("without", "with"):
        part = own[own["condition"] == condition]
        wide = part.pivot(index=["layer", "head"], columns="aligned_position", values="weight").reindex(wanted)
        most = wide.max(axis=1).to_numpy(float)
        share = wide.to_numpy(float) / np.where(most > 0, most, 1)[:, None]
        curves[condition] = {
            "positions": [int(position) for position in wide.columns],
            "maximum": packed(most, "float32"),
            "share": packed(np.round(np.nan_to_num(share) * 65535), "uint16"),
        }
    return curves
