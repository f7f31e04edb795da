"""Checks over a whole table, once every row by itself is right."""

import re
from typing import Any

import pandas as pd

from atlas.errors import AtlasError
from atlas.names import closest

ALWAYS = ("text", "predicting")  # what parts of a prompt are called that every prompt has, marked or not
_SPAN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
MEAN = "(mean)"  # stands in tables where the name of a relation does, in rows of the mean over relations


def check_nothing(table: pd.DataFrame, places: list[str]) -> None:
    """For kinds whose rows do not depend on each other."""


def check_unique(values: pd.Series, places: list[str], field: str) -> None:
    """Raises AtlasError naming both rows of the first value that stands there twice."""
    seen: dict[object, str] = {}
    for value, place in zip(values, places, strict=True):
        if value in seen:
            raise AtlasError(
                f"{place}: field {field!r} is {value!r}, as in {seen[value]} already; make each {field} unique."
            )
        seen[value] = place


def check_characters(record: dict, place: str) -> None:
    """Raises AtlasError for half of a surrogate pair, as JSON escapes allow: no character that could be stored."""
    for field, value in record.items():
        for text in value if isinstance(value, list | dict) else [value]:
            if isinstance(text, str):
                try:
                    text.encode("utf-8")
                except UnicodeEncodeError as error:
                    raise AtlasError(
                        f"{place}: field {field!r} holds half of a surrogate pair at character {error.start}, which is "
                        "no valid text; correct the row."
                    ) from error


def never(record: dict) -> None:
    """For kinds of which every row is used or refused."""


def unusable_question(record: dict) -> str | None:
    """Why a question that is written as it should be cannot be used: nothing is right, or a part of it is not there."""
    if record.get("answers") == []:
        return "question without answers"
    outside = _outside(record.get("question_spans"), record.get("question"))
    return "question span that is empty or outside the question" if outside else None


def unusable_prompt(record: dict) -> str | None:
    """Why a prompt with marked parts that is written as it should be cannot be used."""
    spans = record.get("spans")
    named = list(spans.values()) if isinstance(spans, dict) else []
    outside = any(_outside(own, record.get("prompt")) for own in named)
    return "marked span that is empty or outside the prompt" if outside else None


def _outside(spans: Any, text: Any) -> bool:
    """Whether one of `spans`, pairs [begin, end), is no part of `text`; not so of what the schema is to refuse."""
    if not isinstance(spans, list) or not isinstance(text, str):
        return False
    pairs = [span for span in spans if isinstance(span, list) and len(span) == 2]
    numbers = [span for span in pairs if all(isinstance(end, int | float) for end in span)]
    return any(not 0 <= begin < end <= len(text) for begin, end in numbers)


def check_predecessors(table: pd.DataFrame, places: list[str]) -> None:
    """Every predecessor exists and is exactly one depth lower; cycles are thereby impossible."""
    depths = dict(zip(table["id"], table["depth"], strict=True))
    for name, depth, predecessors, place in zip(
        table["id"], table["depth"], table["predecessors"], places, strict=True
    ):
        for other in predecessors:
            if other not in depths:
                near = closest(other, depths)
                raise AtlasError(
                    f"{place}: field 'predecessors' of {name!r} names {other!r}, which is no id{near}; correct it."
                )
            if depths[other] != depth - 1:
                raise AtlasError(
                    f"{place}: field 'predecessors' of {name!r} (depth {depth}) names {other!r} of depth "
                    f"{depths[other]}; a predecessor must be exactly one depth lower."
                )


def check_graph(table: pd.DataFrame, places: list[str]) -> None:
    """`check_predecessors`, and the same of nodes where the data names them."""
    check_predecessors(table, places)
    if "nodes" not in table:
        return
    stands: dict[str, tuple[int, str]] = {}
    for depth, nodes, place in zip(table["depth"], table["nodes"], places, strict=True):
        for name, *_ in nodes if nodes is not None else []:
            if name in stands:
                raise AtlasError(
                    f"{place}: field 'nodes' names {name!r}, as in {stands[name][1]} already; a node belongs to one "
                    "question."
                )
            stands[name] = (depth, place)
    for depth, nodes, place in zip(table["depth"], table["nodes"], places, strict=True):
        for name, *below in nodes if nodes is not None else []:
            for other in below:
                if stands.get(other, (None, ""))[0] != depth - 1:
                    known = f"a node of depth {stands[other][0]}" if other in stands else "no node"
                    raise AtlasError(
                        f"{place}: field 'nodes': {name!r} (depth {depth}) builds on {other!r}, which is {known}; it "
                        "must be a node exactly one depth lower."
                    )


def check_relations(table: pd.DataFrame, places: list[str]) -> None:
    """No source twice inside a relation; one category for each relation."""
    seen: dict[tuple[str, str], str] = {}
    categories: dict[str, tuple[str, str]] = {}
    for relation, category, source, place in zip(
        table["relation"], table["category"], table["source"], places, strict=True
    ):
        if relation == MEAN:
            raise AtlasError(f"{place}: tables call the mean over relations {MEAN!r}; give the relation another name.")
        if (relation, source) in seen:
            raise AtlasError(
                f"{place}: field 'source' is {source!r}, as in {seen[relation, source]} of relation {relation!r} "
                "already; keep one of the two."
            )
        seen[relation, source] = place
        first = categories.setdefault(relation, (category, place))
        if first[0] != category:
            raise AtlasError(
                f"{place}: field 'category' of relation {relation!r} is {category}, but {first[0]} in {first[1]}; "
                "a relation has one category."
            )


def check_labels(table: pd.DataFrame, places: list[str]) -> None:
    """There are members (label 1) and non-members (label 0): nothing can be told apart otherwise."""
    for label, name in ((1, "member"), (0, "non-member")):
        if not (table["label"] == label).any():
            raise AtlasError(
                f"{places[0].partition(':')[0]}: no row has the label {label} ({name}); membership needs texts of both "
                "labels."
            )


def check_marked(table: pd.DataFrame, places: list[str]) -> None:
    """Names of marked parts are words that an option can name, and none that every prompt has anyway."""
    for spans, place in zip(table["spans"], places, strict=True):
        for name in spans:
            if name in ALWAYS or not _SPAN_NAME.fullmatch(name):
                why = "every prompt has a part of that name" if name in ALWAYS else "no option can name it"
                raise AtlasError(
                    f"{place}: field 'spans' has a part named {name!r}: {why}; call it otherwise, in letters, digits "
                    "and _."
                )
