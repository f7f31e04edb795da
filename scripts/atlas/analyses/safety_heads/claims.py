"""The claims of Zhou et al. 2025 (arXiv 2410.13708): on Ships of all heads over resampled prompts, and on refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.analyses.claims.measured import Measured, NotApplicable, Undecided, of_interval, of_replicates, single
from atlas.dtypes import HALF
from atlas.statistics.resampling import mover

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float

    from atlas.analyses.claims.evidence import Evidence

    Draws = Float[np.ndarray, "draws heads"]

ABLATIONS = ("undifferentiated", "scaling")
TOP = 10  # strongest heads, as many as the source's figure shows
FEW = 0.01  # of all heads
# Degrees; a head whose ablation changes nothing comes out at 6e-6 in float32, which is rounding and no order of heads.
LEAST = 1e-4


def scores(evidence: Evidence, ablation: str, relative: str = "") -> tuple[pd.DataFrame, Draws]:
    """(heads by layer and head with ships_degrees and queries, Ships of the same heads over resampled prompts).

    Heads of layers without attention are left out; `depth` counts all layers.
    """
    if ablation not in evidence.options["ablations"]:
        raise NotApplicable(f"{ablation} is not among analyses.safety_heads.ablations")
    rank = evidence.options["rank"][0]
    frame = evidence.frame("safety_heads", relative)
    frame = frame[(frame["ablation"] == ablation) & (frame["rank"] == rank)].sort_values(["layer", "head"])
    frame = frame.assign(depth=frame["layer"].max() + 1)[frame["ships_degrees"].notna()]
    drawn = evidence.arrays("safety_resamples", relative)[ablation][:, 0].astype(float)  # of rank[0], in that order
    if len(frame) <= TOP:
        raise NotApplicable(f"the model has {len(frame)} heads, and claims are about the {TOP} strongest")
    return frame.reset_index(drop=True), drawn


def larger_under_undifferentiated(evidence: Evidence) -> dict[str, Measured | Exception]:
    """E1."""
    found = [scores(evidence, ablation) for ablation in ABLATIONS]
    strongest = [float(np.sort(frame["ships_degrees"])[-TOP]) for frame, _ in found]
    first, second = (np.sort(drawn, axis=1)[:, -TOP] for _, drawn in found)
    _check_turning(*found[1], TOP)
    ratio = strongest[0] / strongest[1]
    return {
        "tenth strongest": of_replicates(
            ratio, first / second, confidence=evidence.confidence, n=_queries(found[0][0]), unit="prompts",
            effect=float(np.log10(ratio)) if ratio > 0 else np.nan, effect_kind="log10 of the ratio",
            note=_rounding(*(frame for frame, _ in found)),
        )
    }  # fmt: skip


def in_lower_layers(evidence: Evidence) -> dict[str, Measured | Exception]:
    """E2."""

    def part(ablation: str) -> Measured:
        frame, drawn = scores(evidence, ablation)
        _check_turning(frame, drawn, TOP)
        low = (frame["layer"] < frame["depth"] / 3).to_numpy()
        share = low[_strongest(frame["ships_degrees"].to_numpy()[None])[0]].mean()
        return of_replicates(
            share, low[_strongest(drawn)].mean(1), confidence=evidence.confidence, n=_queries(frame), unit="prompts",
            effect=share / low.mean(), effect_kind="ratio to an even spread", note=_rounding(frame),
        )  # fmt: skip

    return _by_ablation(part)


def few_account_for_most(evidence: Evidence) -> dict[str, Measured | Exception]:
    """E3."""

    def part(ablation: str) -> Measured:
        frame, drawn = scores(evidence, ablation)
        _check_turning(frame, drawn, 1)
        few = int(np.ceil(FEW * len(frame)))

        def share(values: Draws) -> Float[np.ndarray, " draws"]:
            return np.sort(values, axis=1)[:, -few:].sum(1) / values.sum(1)

        value = share(frame["ships_degrees"].to_numpy(float)[None])[0]
        return of_replicates(
            value, share(drawn), confidence=evidence.confidence, n=_queries(frame), unit="prompts",
            effect=value * len(frame) / few, effect_kind="ratio to an even share", note=_rounding(frame),
        )  # fmt: skip

    return _by_ablation(part)


def refuses_less_without(evidence: Evidence) -> dict[str, Measured | Exception]:
    """E4."""
    frame = evidence.frame("ablation_effect")

    def part(ablation: str) -> Measured:
        own = frame[frame["ablation"] == ablation]
        if own.empty:
            raise NotApplicable(f"{ablation} is not among analyses.safety_heads.ablations")
        most = own["heads_ablated"].max()
        if most == 0:
            raise NotApplicable("analyses.ablation_effect.heads ablates none")
        rates = {
            name: own[(own["heads_ablated"] == most) & (own["selection"] == name)].iloc[0] for name in ("top", "random")
        }
        top, random = ((row["refusal_rate"], row["low"], row["high"]) for row in rates.values())
        difference = mover(random, top)
        prompts = int(rates["top"]["prompts"])
        before = own[(own["heads_ablated"] == 0) & (own["selection"] == "top")]
        if before.empty:
            raise NotApplicable("analyses.ablation_effect.heads lacks 0, so whether the model refuses is not known")
        refused = int(before["refused"].iloc[0])
        silent = f"the model refuses {refused} of {prompts} prompts with no head ablated"
        return of_interval(
            *difference, confidence=evidence.confidence, own=evidence.options["confidence"], n=prompts, unit="prompts",
            effect=difference[0], effect_kind=f"difference of rates at {most} heads",
            open=silent if 2 * refused < prompts else "",
        )  # fmt: skip

    return _by_ablation(part)


def few_shared(evidence: Evidence) -> dict[str, Measured | Exception]:
    """E5."""
    partner = evidence.relative("sibling")

    def part(ablation: str) -> Measured:
        (own, drawn), (other, drawn_other) = scores(evidence, ablation), scores(evidence, ablation, "sibling")
        if not own[["layer", "head"]].equals(other[["layer", "head"]]):
            raise NotApplicable(f"{partner} has other numbers of layers and heads")
        if len(drawn) != len(drawn_other) or _queries(own) != _queries(other):
            raise NotApplicable(f"{partner} was measured on other prompts or with another number of draws")
        for found in ((own, drawn), (other, drawn_other)):
            _check_turning(*found, TOP)
        sets = [_members(frame["ships_degrees"].to_numpy()[None]) for frame in (own, other)]
        share = (sets[0] & sets[1]).sum() / TOP
        both = (_members(drawn) & _members(drawn_other)).sum(1) / TOP  # the same prompts are drawn in both
        return of_replicates(
            share, both, confidence=evidence.confidence, n=_queries(own), unit="prompts", partner=partner,
            effect=share * len(own) / TOP, effect_kind="ratio to chance", note=_rounding(own, other),
        )  # fmt: skip

    return _by_ablation(part)


def place(evidence: Evidence, *, ablation: str, layer: int, head: int) -> float:
    """The place of a head by generalized Ships of the first rank; 1 is the strongest."""
    frame, _ = scores(evidence, ablation)
    own = frame[(frame["layer"] == layer) & (frame["head"] == head)]
    return single(own["position"], f"head {head} of layer {layer}")


def refusals(evidence: Evidence, *, ablation: str, ablated: int) -> float:
    """The refusal rate with so many of the strongest heads ablated."""
    frame = evidence.frame("ablation_effect")
    chosen = (frame["ablation"] == ablation) & (frame["heads_ablated"] == ablated) & (frame["selection"] == "top")
    return single(frame.loc[chosen, "refusal_rate"], f"rate with {ablated} heads ablated")


def _by_ablation(part: object) -> dict[str, Measured | Exception]:
    found: dict[str, Measured | Exception] = {}
    for ablation in ABLATIONS:
        try:
            found[ablation] = part(ablation)  # type: ignore[operator]
        except (NotApplicable, Undecided) as missing:
            found[ablation] = missing
    return found


def _check_turning(frame: pd.DataFrame, drawn: Draws, heads: int) -> None:
    """Raise Undecided unless so many heads turn the states by more than rounding, in every bootstrap draw too."""
    weakest = min(
        np.sort(values, axis=1)[:, -heads].min() for values in (frame["ships_degrees"].to_numpy()[None], drawn)
    )
    if not weakest > LEAST:
        ablation = frame["ablation"].iloc[0]
        raise Undecided(
            f"under {ablation} fewer than {heads} heads turn states by more than {LEAST:g} degrees in some bootstrap "
            "draws, and smaller angles are rounding"
        )


def _strongest(values: Draws) -> np.ndarray:
    """(draws, TOP) the strongest heads, of ties those that come first."""
    return np.argsort(-values, axis=1, kind="stable")[:, :TOP]


def _members(values: Draws) -> Bool[np.ndarray, "draws heads"]:
    """Which heads are among the strongest of each draw."""
    found = np.zeros(values.shape, bool)
    np.put_along_axis(found, _strongest(values), True, axis=1)
    return found


def _rounding(*frames: pd.DataFrame) -> str:
    """What a reader must be told of scores that were computed in half precision; empty where none was."""
    rounded = [frame for frame in frames if frame["dtype"].iloc[0] in HALF]
    if not rounded:
        return ""
    errors = [float(frame["error_degrees"].iloc[0]) for frame in rounded]
    by = "by an amount that was not measured" if np.isnan(errors).any() else f"by up to {max(errors):.2g} degrees"
    return f"computed in {rounded[0]['dtype'].iloc[0]}: its rounding moves angles {by}, which no interval covers"


def _queries(frame: pd.DataFrame) -> int:
    return int(frame["queries"].iloc[0])


MEASURES = {
    "E1": larger_under_undifferentiated,
    "E2": in_lower_layers,
    "E3": few_account_for_most,
    "E4": refuses_less_without,
    "E5": few_shared,
}
QUANTITIES = {"place": place, "refusals": refusals}
