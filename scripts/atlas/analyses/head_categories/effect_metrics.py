"""How much of a relation a model loses with heads ablated (no model needed).

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.2; the intervals and the log-probabilities are ours.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from atlas.analyses.head_categories.completions import unasked
from atlas.analyses.head_categories.implementing import NONE, RANDOM, RELATION
from atlas.statistics.intervals import bootstrap_weights, percentile_interval, wilson_rate

if TYPE_CHECKING:
    from jaxtyping import Float

_KEY = ["task", "source", "target"]
_DIGITS = 12


class EffectOptions(TypedDict):
    """Of analyses.relation_effect: intervals."""

    confidence: float
    bootstrap: int
    seed: int


def losses(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per relation, set of heads, selection, task and prompt: what ablating takes from it, mean over draws.

    answers: as relation_answers gives them. Columns `accuracy` and `base` (0 to 1), `lost` (base - accuracy), and
    `logprob_lost` (nats).
    """
    clean = answers[answers["selection"] == NONE].set_index(_KEY)[["correct", "logprob"]]
    ablated = answers[answers["selection"] != NONE]
    keys = ["relation", "heads_set", "selection", *_KEY]
    found = ablated.groupby(keys, sort=False)[["correct", "logprob"]].mean().reset_index()
    before = clean.reindex(pd.MultiIndex.from_frame(found[_KEY])).astype(float).to_numpy()
    found["accuracy"], found["base"] = found["correct"].astype(float), before[:, 0]
    found["lost"], found["logprob_lost"] = found["base"] - found["accuracy"], before[:, 1] - found["logprob"]
    return found.drop(columns=["correct", "logprob"])


def resampled_loss(
    rows: pd.DataFrame, draws: int, seed: int, column: str = "lost"
) -> tuple[float, Float[np.ndarray, " draws"]]:
    """(value, replicates (draws,)) of the mean loss over tasks of the mean over prompts; prompts are resampled.

    rows: of `losses`, of one relation, set and selection; at least one. Rounded to what means of thirds are exact to,
    so that a loss of 0 is no 1e-18, on which a verdict could hang.
    """
    values, replicates = [], []
    for number, (_, own) in enumerate(rows.groupby("task", sort=True)[column]):
        weights = bootstrap_weights(len(own), draws, seed + number)
        values.append(float(own.mean()))
        replicates.append(weights @ own.to_numpy() / len(own))
    return round(float(np.mean(values)), _DIGITS), np.mean(replicates, axis=0).round(_DIGITS)


def effect_table(
    answers: pd.DataFrame,
    categories: Mapping[str, str],
    dropped: Mapping[str, Mapping[str, int]],
    keys: Mapping[str, str],
    options: EffectOptions,
) -> pd.DataFrame:
    """The table relation_effect of one model and data set; categories: {relation: its category}.

    dropped: {relation: {why: how many pairs make no prompt}}. A relation of which none does has one row of nulls.

    Accuracies have Wilson's interval with the number of prompts as sample size (draws and tasks answer the same
    prompts, or have as many), losses a bootstrap over prompts within tasks; none where a task has one prompt.
    """
    rows = []
    for (relation, chosen, selection), part in losses(answers).groupby(["relation", "heads_set", "selection"]):
        own = answers[
            (answers["relation"] == relation) & (answers["heads_set"] == chosen) & (answers["selection"] == selection)
        ]
        by_task = part.groupby("task", sort=True)[["accuracy", "base", "logprob_lost"]].mean().mean()
        prompts = int(part.groupby("task").size().min())
        lost, replicates = resampled_loss(part, options["bootstrap"], options["seed"])
        low, high = wilson_rate(by_task["accuracy"], prompts, options["confidence"])
        bounds = percentile_interval(replicates, options["confidence"])
        drop_low, drop_high = bounds if prompts > 1 else (np.nan, np.nan)  # one prompt drawn again is itself
        heads = own["heads"].iloc[0]
        sets = answers[(answers["relation"] == relation) & (answers["heads_set"] == chosen)]
        rows.append({
            "relation": relation, "category": categories[str(relation)], "heads_set": chosen, "selection": selection,
            "heads_ablated": heads.count("[") - 1, "tasks": ";".join(sorted(part["task"].unique())),
            "base_accuracy": by_task["base"], "accuracy": by_task["accuracy"], "low": low, "high": high,
            "drop": lost, "drop_low": drop_low, "drop_high": drop_high, "logprob_drop": by_task["logprob_lost"],
            "prompts": prompts, "draws": own["draw"].nunique(), "heads": heads if selection != RANDOM else "",
            "elsewhere": elsewhere(sets) if selection == RANDOM else np.nan,
        })  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    clean = _clean(answers, categories, options)
    found = pd.concat([frame, clean], ignore_index=True).assign(reason="")
    return pd.concat([found, _missing(set(clean["relation"]), categories, dropped)], ignore_index=True).assign(**keys)


_COLUMNS = ("relation", "category", "heads_set", "selection", "heads_ablated", "tasks", "base_accuracy", "accuracy",
            "low", "high", "drop", "drop_low", "drop_high", "logprob_drop", "prompts", "draws", "heads",
            "elsewhere")  # fmt: skip


def elsewhere(sets: pd.DataFrame) -> float:
    """How many heads of a random set stand in none of the layers that they stand for, mean over draws.

    sets: rows of relation_answers of one relation and set of heads.
    """
    own = _layers(sets.loc[sets["selection"] == RELATION, "heads"].iloc[0])
    drawn = sets[sets["selection"] == RANDOM].drop_duplicates("draw")["heads"]
    return float(np.mean([(_layers(heads) - own).total() for heads in drawn]))


def _layers(heads: str) -> Counter[int]:
    return Counter(layer for layer, _ in json.loads(heads))


def _clean(answers: pd.DataFrame, categories: Mapping[str, str], options: EffectOptions) -> pd.DataFrame:
    """The rows of each relation as the model is."""
    rows = []
    for relation, own in answers[answers["selection"] == NONE].groupby("relation"):
        rate, prompts = float(own["correct"].mean()), len(own)
        low, high = wilson_rate(rate, prompts, options["confidence"])
        rows.append(
            (relation, categories[str(relation)], NONE, NONE, 0, relation, rate, rate, low, high, 0.0, 0.0, 0.0, 0.0,
             prompts, 1, "", np.nan)
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _missing(asked: set[str], categories: Mapping[str, str], dropped: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """A row of nulls for each relation that could not be asked for."""
    lost = sorted(relation for relation in categories if relation not in asked)
    frame = pd.DataFrame({"relation": lost}, columns=[*_COLUMNS, "reason"])
    counts = {"heads_ablated": 0, "prompts": 0, "draws": 0}
    words = {"heads_set": NONE, "selection": NONE, "tasks": "", "heads": ""}
    numbers = dict.fromkeys(set(_COLUMNS) - {"relation", "category", *counts, *words}, np.nan)
    category, reason = ([of(relation) for relation in lost] for of in (
        categories.__getitem__, lambda relation: unasked(dropped.get(relation, {}))
    ))  # fmt: skip
    return frame.assign(category=category, reason=reason, **counts, **words, **numbers)
