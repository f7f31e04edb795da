"""The claims of Elhelo and Geva 2025 (arXiv 2412.11965), measured on the tables of head categories."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from atlas.analyses.claims.measured import (
    Measured,
    NotApplicable,
    Undecided,
    of_interval,
    of_replicates,
    of_share,
    single,
)
from atlas.analyses.head_categories.dynamic_metrics import CONTEXTS, MEAN
from atlas.analyses.head_categories.effect_metrics import losses, resampled_loss
from atlas.analyses.head_categories.implementing import IMPLEMENTING, NONE, OTHER, RANDOM, RELATION
from atlas.percent import percent
from atlas.statistics.intervals import wilson_rate
from atlas.statistics.resampling import mover

if TYPE_CHECKING:
    import pandas as pd

    from atlas.analyses.claims.evidence import Evidence

    Part = Callable[[pd.DataFrame, Evidence], Measured]

# name of a part -> significance of the labels that it counts
LABELS = {"heads": "tau", "after the null": "tau_and_null"}


def heads(evidence: Evidence, significance: str, relative: str = "") -> pd.DataFrame:
    """Every head: layer, head, categories (a set), and depth: where its layer stands, from 0 to below 1.

    Heads of layers without attention are left out; `depth` counts all layers.
    """
    frame = evidence.frame("head_categories", relative)
    frame = frame[frame["significance"] == significance]
    frame = frame.assign(depth=frame["layer"] / (frame["layer"].max() + 1)).dropna(subset="categories")
    names = frame["categories"].map(lambda text: frozenset(text.split(";")) - {""})
    return frame[["layer", "head", "depth"]].assign(categories=names)


def several_are_rare(evidence: Evidence) -> dict[str, Measured | Exception]:
    """C1."""

    def part(every: pd.DataFrame, _: Evidence) -> Measured:
        labelled = every[every["categories"].map(bool)]
        if labelled.empty:
            raise Undecided("no head is labelled")
        several = int((labelled["categories"].map(len) > 1).sum())
        return of_share(
            several, len(labelled), confidence=evidence.confidence, unit="labelled heads",
            effect=len(labelled) / len(every), effect_kind="share of heads that are labelled",
        )  # fmt: skip

    return _parts(evidence, part)


def knowledge_above(evidence: Evidence) -> dict[str, Measured | Exception]:
    """C2."""
    return _parts(evidence, lambda every, own: _beyond(every, own, "Knowledge", 1 / 3))


def linguistic_above(evidence: Evidence) -> dict[str, Measured | Exception]:
    """C4."""
    return _parts(evidence, lambda every, own: _beyond(every, own, "Linguistic", 1 / 2))


def algorithmic_below(evidence: Evidence) -> dict[str, Measured | Exception]:
    """C3."""

    def part(every: pd.DataFrame, _: Evidence) -> Measured:
        rates, counts = [], []
        for category in ("Algorithmic", "Knowledge"):
            own = _of(every, category)
            share = float((own["depth"] < 1 / 3).mean())
            rates.append((share, *wilson_rate(share, len(own), evidence.confidence)))
            counts.append(len(own))
        return of_interval(
            *mover(*rates), confidence=evidence.confidence, n=min(counts), unit="heads of the rarer category",
            effect=rates[0][0], effect_kind="share of algorithmic heads in the lowest third",
        )  # fmt: skip

    return _parts(evidence, part)


def control_has_none(evidence: Evidence) -> dict[str, Measured | Exception]:
    """C5: of the model's control; of the model itself where it is one."""
    relative = "" if evidence.is_control else "control"
    partner = "" if evidence.is_control else evidence.relative("control")

    def part(every: pd.DataFrame, _: Evidence) -> Measured:
        labelled = every["categories"].map(bool)
        return of_share(
            int(labelled.sum()), len(every), confidence=evidence.confidence, unit="heads", effect=int(labelled.sum()),
            effect_kind="labelled heads", partner=partner,
        )  # fmt: skip

    return _parts(evidence, part, relative)


def map_is_causal(evidence: Evidence) -> dict[str, Measured | Exception]:
    """C6."""
    answers = evidence.frame("relation_answers")
    clean = answers[answers["selection"] == NONE].groupby("relation")["correct"].mean()
    lost = losses(answers[answers["heads_set"].isin([NONE, IMPLEMENTING])])
    often = clean.index[clean >= evidence.options["minimum_accuracy"]]
    lost = lost[lost["relation"].isin(often)]
    if lost.empty:
        raise Undecided(
            f"none of {len(clean)} relations has heads above tau and is completed in "
            f"{percent(evidence.options['minimum_accuracy'])} of the prompts"
        )
    parts = {"against random heads": RANDOM, "against other relations": OTHER}
    return {name: _beyond_control(lost, evidence, selection) for name, selection in parts.items()}


def _beyond_control(lost: pd.DataFrame, evidence: Evidence, selection: str) -> Measured | Exception:
    """Loss without a relation's heads minus that of a control, mean over relations; prompts are resampled."""
    if selection not in set(lost["selection"]):
        lacking = {
            RANDOM: "the model has fewer other heads than those that implement a relation",
            OTHER: "there is no relation that these heads do not implement and the model completes",
        }
        return Undecided(lacking[selection])
    values, draws, own_losses, prompts = [], [], [], 0
    rows = lost[lost["selection"].isin([RELATION, selection])]
    fewest = rows.groupby(["relation", "selection", "task"]).size().groupby("relation").min()
    controlled = lost.loc[lost["selection"] == selection, "relation"].unique()
    having = [relation for relation in controlled if fewest[relation] > 1]  # one prompt says nothing of its spread
    if not having:
        return Undecided("no relation has two prompts or more, without which there is no interval")
    for number, relation in enumerate(having):
        part, seed = lost[lost["relation"] == relation], evidence.seed + 1000 * number
        own, control = (part[part["selection"] == name] for name in (RELATION, selection))
        if selection == RANDOM:  # the same prompts: what is resampled is their difference
            both = own.merge(control, on=["task", "source", "target"], suffixes=("", "_control"))
            value, drawn = resampled_loss(both.assign(lost=both["lost"] - both["lost_control"]), evidence.draws, seed)
        else:
            (first, one), (second, other) = (
                resampled_loss(rows, evidence.draws, seed + apart) for rows, apart in ((own, 0), (control, 500))
            )
            value, drawn = first - second, one - other
        values.append(value)
        draws.append(drawn)
        own_losses.append(float(own["lost"].mean() / own["base"].mean()))
        prompts += len(own)
    return of_replicates(
        float(np.mean(values)), np.mean(draws, axis=0), confidence=evidence.confidence, n=prompts, unit="prompts",
        effect=float(np.mean(own_losses)), effect_kind=f"share of the accuracy lost, in {len(having)} relations",
    )  # fmt: skip


def map_predicts(evidence: Evidence) -> dict[str, Measured | Exception]:
    """C7."""
    frame = evidence.frame("relation_correlation")
    rows = frame[(frame["relation"] == MEAN) & (frame["sign"] == "direct")].set_index("context")
    found: dict[str, Measured | Exception] = {}
    for context in CONTEXTS:
        row = rows.loc[context]
        if not row["relations"]:
            found[f"{context} context"] = Undecided(str(row["reason"]))
            continue
        if np.isnan(row["low"]):
            found[f"{context} context"] = Undecided("a relation has a single pair on prompts, which gives no interval")
            continue
        found[f"{context} context"] = of_interval(
            row["correlation"], row["low"], row["high"], confidence=evidence.confidence,
            own=float(evidence.options["confidence"]), n=int(row["pairs"]), unit="pairs",
            effect=row["confirmed"] / row["implementing"],
            effect_kind=f"share of the heads above tau that are so on prompts, in {row['relations']} relations",
        )  # fmt: skip
    return found


def correlation(evidence: Evidence, *, relation: str, context: str) -> float:
    """The correlation of a relation's scores as the source has it: over heads and templates, direct."""
    frame = evidence.frame("relation_correlation")
    frame = frame[(frame["relation"] == relation) & (frame["sign"] == "direct") & (frame["context"] == context)]
    return single(frame["correlation_by_template"], f"correlation of the relation {relation} {context} context")


def maximum(evidence: Evidence, *, relation: str) -> float:
    """The highest score of a relation among all heads, direct."""
    return float(_relation(evidence, relation)["score"].max())


def place(evidence: Evidence, *, relation: str, layer: int, head: int) -> float:
    """The place of a head by its score in a relation, direct; 1 is the highest, and heads that tie share the best."""
    frame = _relation(evidence, relation)
    own = frame[(frame["layer"] == layer) & (frame["head"] == head)]
    return float(1 + (frame["score"] > single(own["score"], f"head {head} of layer {layer}")).sum())


def _relation(evidence: Evidence, relation: str) -> pd.DataFrame:
    frame = evidence.frame("head_relations")
    frame = frame[(frame["relation"] == relation) & (frame["sign"] == "direct")].dropna(subset="score")
    if frame.empty:
        raise NotApplicable(f"the relation {relation} is not scored for this model")
    return frame


def _beyond(every: pd.DataFrame, evidence: Evidence, category: str, depth: float) -> Measured:
    """Share of a category's heads at `depth` or deeper, minus that of all heads."""
    own, even = _of(every, category), float((every["depth"] >= depth - 1e-12).mean())
    if even == 0:
        raise NotApplicable("the model has one layer, so none is deeper than another")
    found = int((own["depth"] >= depth - 1e-12).sum())
    return of_share(
        found, len(own), confidence=evidence.confidence, unit=f"{category.lower()} heads", minus=even,
        effect=found / len(own) / even, effect_kind="ratio to an even spread",
    )  # fmt: skip


def _of(every: pd.DataFrame, category: str) -> pd.DataFrame:
    own = every[every["categories"].map(lambda names: category in names)]
    if own.empty:
        raise Undecided(f"no head is labelled {category}")
    return own


def _parts(evidence: Evidence, part: Part, relative: str = "") -> dict[str, Measured | Exception]:
    found: dict[str, Measured | Exception] = {}
    for name, significance in LABELS.items():
        try:
            found[name] = part(heads(evidence, significance, relative), evidence)
        except Undecided as missing:
            found[name] = missing
    return found


MEASURES = {
    "C1": several_are_rare,
    "C2": knowledge_above,
    "C3": algorithmic_below,
    "C4": linguistic_above,
    "C5": control_has_none,
    "C6": map_is_causal,
    "C7": map_predicts,
}
QUANTITIES = {"correlation": correlation, "maximum": maximum, "place": place}
