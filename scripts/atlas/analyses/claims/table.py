"""The tables claims and published of one model: every claim put to it, and every published value of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd

from atlas.analyses.claims.evidence import Evidence
from atlas.analyses.claims.measured import Measured, NotApplicable, Undecided
from atlas.analyses.claims.said import Claim, Part, Published, Said
from atlas.analyses.claims.verdicts import NONE, OPEN, Rule, Verdict, corrected, decidable, decide, joined, p_of

if TYPE_CHECKING:
    Results = dict[str, Measured | Exception]

_EMPTY = {
    **dict.fromkeys(("value", "low", "high", "p", "q", "effect"), np.nan), "n": 0, "needed": None,
    **dict.fromkeys(("unit", "effect_kind", "partner", "by_construction", "note"), ""),
}  # fmt: skip


class ClaimOptions(TypedDict):
    """Options of analyses.claims."""

    confidence: float
    bootstrap: int
    seed: int
    minimum: int


@dataclass(frozen=True)
class Subject:
    """The model that claims are put to. repo: the hub's name of it. control: key of its control, empty for none.
    absent: {analysis: why it has nothing to say of this model}."""

    model: str
    repo: str
    is_control: bool
    control: str
    absent: Mapping[str, str]


@dataclass
class _Row:
    """One part of a claim on one data set; p and q where it is tested."""

    claim: Claim
    part: Part
    dataset: str
    found: Measured | Exception
    p: float = np.nan
    q: float = np.nan


def evidences(
    subject: Subject,
    told: Mapping[str, Mapping[str, Any]],
    files: Mapping[tuple[str, str, str], str],
    options: ClaimOptions,
) -> dict[tuple[str, str], Evidence]:
    """{(analysis, data set): what its claims look at}.

    told: {analysis: {datasets, relatives, options}}; files: {(model, table or extraction, data set): path}.
    """
    found = {}
    for analysis, about in told.items():
        for dataset in about["datasets"]:
            own = {(model, name): path for (model, name, of), path in files.items() if of == dataset}
            found[analysis, dataset] = Evidence(
                subject.model, dataset, own, about["relatives"], about["options"], options["confidence"],
                options["bootstrap"], options["seed"], options["minimum"], subject.repo, subject.is_control,
            )  # fmt: skip
    return found


def claims_table(
    said: Mapping[str, Said],
    subject: Subject,
    known: Mapping[tuple[str, str], Evidence],
    options: ClaimOptions,
    of_control: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The table claims of one model. said: {folder: its claims}; of_control: this table of its control."""
    rows = [row for folder, one in said.items() for row in _rows(folder, one, subject, known)]
    rows.sort(key=lambda row: row.claim.id)
    tested = [row for row in rows if isinstance(row.found, Measured) and decidable(row.found, options["minimum"])]
    for row, q in zip(tested, corrected([_p(row) for row in tested]), strict=True):
        row.p, row.q = _p(row), q
    frame = pd.DataFrame([_told(row, subject, options, len(tested)) for row in rows])
    decided = frame[frame["decides"]].groupby(["claim", "dataset"])["verdict"].agg(joined)
    keys = pd.MultiIndex.from_frame(frame[["claim", "dataset"]])
    frame["claim_verdict"] = decided.reindex(keys).to_numpy()
    frame["published"] = [_published(row, said, subject.repo) for row in frame.itertuples()]
    frame["control_value"] = np.nan
    if of_control is not None:
        places = ["claim", "dataset", "part"]
        values = of_control.set_index(places)["value"]
        frame["control_value"] = values.reindex(pd.MultiIndex.from_frame(frame[places])).to_numpy(float)
    return frame


def published_table(
    said: Mapping[str, Said], subject: Subject, known: Mapping[tuple[str, str], Evidence], claims: pd.DataFrame
) -> pd.DataFrame:
    """The table published of one model: a row for each value that a source gives of it and each data set."""
    rows = []
    for folder, one in said.items():
        for value in one.published:
            datasets = [of for analysis, of in known if analysis == value.analysis]
            if value.repo != subject.repo or not subject.repo:
                continue
            if value.dataset:
                datasets = [dataset for dataset in datasets if dataset == value.dataset]
            for dataset in datasets or [value.dataset]:
                rows.append(_compared(value, folder, dataset, subject, known, claims))
    columns = ["model", "dataset", "analysis", "claim", "quantity", "repo", "published", "measured", "difference",
               "tolerance", "within", "why", "reason", "source"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _rows(folder: str, said: Said, subject: Subject, known: Mapping[tuple[str, str], Evidence]) -> Iterator[_Row]:
    for claim in said.claims:
        datasets = [dataset for analysis, dataset in known if analysis == claim.analysis]
        for dataset in datasets or [""]:
            results = (
                _results(_module(folder), claim, known[claim.analysis, dataset])
                if datasets
                else dict.fromkeys((part.name for part in claim.parts), NotApplicable(subject.absent[claim.analysis]))
            )
            for part in claim.parts:
                yield _Row(claim, part, dataset, results[part.name])


def _results(module: ModuleType, claim: Claim, evidence: Evidence) -> Results:
    """What the function of a claim gives; a claim that cannot be tested at all says so of every part."""
    try:
        found: Results = dict(module.MEASURES[claim.id](evidence))
    except (NotApplicable, Undecided) as missing:
        found = dict.fromkeys((part.name for part in claim.parts), missing)
    return found


def _module(folder: str) -> ModuleType:
    return import_module(f"atlas.analyses.{folder}.claims")


def _p(row: _Row) -> float:
    assert isinstance(row.found, Measured), "only what was measured is tested"
    return p_of(Rule.of(row.part.holds), row.found)


def _verdict(row: _Row, tests: int, options: ClaimOptions) -> Verdict:
    if isinstance(row.found, Measured):
        rule, limits = Rule.of(row.part.holds), {key: options[key] for key in ("confidence", "minimum")}
        return decide(rule, row.found, row.q, tests, **limits)  # type: ignore[arg-type]
    return Verdict(OPEN if isinstance(row.found, Undecided) else NONE, str(row.found))


def _told(row: _Row, subject: Subject, options: ClaimOptions, tests: int) -> dict[str, Any]:
    """The row of the table, without what comes from other rows."""
    verdict, measured = _verdict(row, tests, options), {}
    if isinstance(row.found, Measured):
        fields = vars(row.found)
        measured = {key: fields[key] for key in _EMPTY.keys() & fields.keys() - {"p"}}
    return {
        "model": subject.model, "dataset": row.dataset, "analysis": row.claim.analysis, "claim": row.claim.id,
        "part": row.part.name, "decides": row.part.decides, "holds": Rule.of(row.part.holds).words,
        "confidence": options["confidence"], "tests": tests, "control": subject.control, "says": row.claim.says,
        "measure": row.part.measure, "needs": row.claim.needs, "source": row.claim.source,
        **_EMPTY, **measured, "p": row.p, "q": row.q,
        "verdict": verdict.verdict, "reason": verdict.reason, "needed": verdict.needed,
    }  # fmt: skip


def _published(row: Any, said: Mapping[str, Said], repo: str) -> float:
    """The published value of one row of the table claims, NaN where there is none for this model."""
    for one in said.values():
        for value in one.published:
            about = (value.claim, value.part) == (row.claim, row.part) and value.dataset in ("", row.dataset)
            if repo and value.repo == repo and about:
                return value.value
    return np.nan


def _compared(
    value: Published,
    folder: str,
    dataset: str,
    subject: Subject,
    known: Mapping[tuple[str, str], Evidence],
    claims: pd.DataFrame,
) -> dict[str, Any]:
    """A row of the table published."""
    measured, reason = np.nan, ""
    if (value.analysis, dataset) not in known:
        none = f"{value.dataset} is not among the data sets of analyses.{value.analysis}"
        reason = subject.absent.get(value.analysis, none)
    elif value.claim:
        places = (claims["claim"] == value.claim) & (claims["part"] == value.part) & (claims["dataset"] == dataset)
        row = claims[places].iloc[0]
        measured, reason = row["value"], row["reason"] if np.isnan(row["value"]) else ""
    else:
        try:
            function = _module(folder).QUANTITIES[value.quantity]
            measured = function(known[value.analysis, dataset], **value.about)
        except (NotApplicable, Undecided) as missing:
            reason = str(missing)
    named = ", ".join(f"{key} {held}" for key, held in value.about.items())
    difference = measured - value.value
    return {
        "model": subject.model, "dataset": dataset, "analysis": value.analysis, "claim": value.claim,
        "quantity": value.part or (f"{value.quantity} ({named})" if named else value.quantity), "repo": value.repo,
        "published": value.value, "measured": measured, "difference": difference, "tolerance": value.tolerance,
        "within": None if np.isnan(measured) else bool(abs(difference) <= value.tolerance + 1e-12), "why": value.why,
        "reason": reason, "source": value.source,
    }  # fmt: skip
