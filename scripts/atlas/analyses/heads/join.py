"""All analyses of single heads joined: one row per (model, layer, head). Needs no model.

An analysis that is not configured, or that does not cover a model or a head, leaves nulls, never zeros.
"""

from collections.abc import Mapping
from functools import reduce

import pandas as pd

from atlas.analyses.head_categories.metrics import SIGNS
from atlas.errors import AtlasError
from atlas.results.contracts import TABLES

KEYS = ["model", "layer", "head"]
FLOW = "question_to_answer"


def join_heads(tables: Mapping[str, pd.DataFrame], choice: Mapping) -> pd.DataFrame:
    """The table heads.

    tables: any of head_categories, head_relations, sinks, meaningless_effect, head_saliency, safety_heads, by name.
    choice: `models` in the order of rows, `datasets` {analysis: the one data set its columns come from}, `rank` of
    Ships, `loss` of saliency.
    Raises AtlasError where a chosen data set, rank or loss is not in its table, or a head is there twice.
    """
    chosen = choice["datasets"]
    parts = []
    if "head_categories" in tables:
        dataset = chosen["head_categories"]
        parts.append(_labels(_of(tables, "head_categories", dataset), dataset))
        parts.append(_best_relations(_of(tables, "head_relations", dataset)))
    if "sinks" in tables:
        parts.append(_sinks(_of(tables, "sinks", chosen["sinks"]), chosen["sinks"]))
    if "meaningless_effect" in tables:
        dataset = chosen["meaningless_tokens"]
        parts.append(_meaningless(_of(tables, "meaningless_effect", dataset), dataset))
    if "head_saliency" in tables:
        dataset, loss = chosen["saliency"], choice["loss"]
        parts.append(_saliency(_of(tables, "head_saliency", dataset, flow=FLOW, loss=loss), dataset, loss))
    if "safety_heads" in tables:
        dataset, rank = chosen["safety_heads"], choice["rank"]
        parts.append(_ships(_of(tables, "safety_heads", dataset, rank=rank), dataset, rank))
    if not parts:
        raise AtlasError("analyses.heads: none of the tables that it joins is given.")
    joined = reduce(lambda left, right: left.join(right, how="outer"), parts).reset_index()
    joined["model"] = pd.Categorical(joined["model"], categories=choice["models"])
    joined = joined[joined["model"].notna()].sort_values(KEYS, ignore_index=True)
    return joined.reindex(columns=list(TABLES["heads"])).astype(TABLES["heads"])


def _of(tables, name, dataset, **wanted):
    """The rows of one table for the chosen data set and options."""
    frame = tables[name]
    for column, value in {"dataset": dataset, **wanted}.items():
        known = sorted(frame[column].unique().tolist())
        if value not in known:
            raise AtlasError(
                f"analyses.heads: table {name} has no {column} {value!r}; choose one of {', '.join(map(str, known))}."
            )
        frame = frame[frame[column] == value]
    return frame


def _by_head(frame, name):
    """`frame` indexed by (model, layer, head), which must be unique."""
    frame = frame.set_index(KEYS)
    if not frame.index.is_unique:
        twice = frame.index[frame.index.duplicated()][0]
        raise AtlasError(f"analyses.heads: table {name} has two rows for {twice}; delete it and run again.")
    return frame


def _labels(categories, dataset):
    wide = categories.pivot(index=KEYS, columns="significance", values="label")
    return wide.rename(columns={"tau": "label", "tau_and_null": "label_null"}).assign(relations_dataset=dataset)


def _best_relations(relations):
    """The relation with the highest score in either sign, and its score and q in both signs.

    Equal scores: the smaller q, then the order of the alphabet, direct before suppression. A head that scores 0 on
    everything has no best relation, only its scores of 0 and q of 1.
    """
    relations = relations.assign(below=-relations["score"])
    order = relations.sort_values([*KEYS, "below", "q", "relation", "sign"])
    best = _by_head(order.drop_duplicates(KEYS), "head_relations")
    found = best[["relation", "score"]].assign(relation_sign=best["sign"])
    relations = relations.set_index([*KEYS, "relation"])
    for sign in SIGNS:
        own = relations.loc[relations["sign"] == sign, ["score", "q"]]
        own = own.reindex(best.set_index("relation", append=True).index).droplevel("relation")
        found[[f"score_{sign}", f"q_{sign}"]] = own
    return found.assign(**{name: found[name].where(found["score"] > 0) for name in ("relation", "relation_sign")})


def _sinks(sinks, dataset):
    sinks = sinks.assign(sink=sinks["alpha"] > sinks["epsilon"])
    wide = sinks.pivot(index=KEYS, columns="input", values=["alpha", "sink", "sink_rate"])
    wide.columns = [f"{value}_{kind}" for value, kind in wide.columns]
    return wide.assign(sinks_dataset=dataset, epsilon=sinks["epsilon"].iloc[0])


def _meaningless(effect, dataset):
    names = {
        "effect": "meaningless_effect",
        "effect_low": "meaningless_low",
        "effect_high": "meaningless_high",
        "span_mass": "span_mass",
    }
    frame = _by_head(effect, "meaningless_effect")[list(names)].rename(columns=names)
    return frame.assign(meaningless_dataset=dataset)


def _saliency(saliency, dataset, loss):
    """Flow from question to answer through each head; share: of the absolute flow through all heads of the model."""
    frame = _by_head(saliency, "head_saliency")[["signed", "absolute"]].add_prefix("saliency_")
    share = frame["saliency_absolute"] / frame.groupby("model")["saliency_absolute"].transform("sum")
    return frame.assign(saliency_share=share, saliency_dataset=dataset, saliency_loss=loss)


def _ships(heads, dataset, rank):
    names = {"ships_degrees": "ships", "kl_mean": "kl", "position": "position"}
    wide = heads.pivot(index=KEYS, columns="ablation", values=list(names))
    wide.columns = [f"{names[value]}_{ablation}" for value, ablation in wide.columns]
    return wide.assign(safety_dataset=dataset, ships_rank=rank)
