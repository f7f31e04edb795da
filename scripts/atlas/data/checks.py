"""Checks over a whole table, once every row by itself is right."""

import pandas as pd

from atlas.errors import AtlasError
from atlas.fetch_files import closest


def check_nothing(table: pd.DataFrame, places: list[str]) -> None:
    """For kinds whose rows do not depend on each other."""


def check_unique(values: pd.Series, places: list[str], field: str) -> None:
    """Raises AtlasError naming both rows of the first value that stands there twice."""
    seen = {}
    for value, place in zip(values, places, strict=True):
        if value in seen:
            raise AtlasError(
                f"{place}: field {field!r} is {value!r}, as in {seen[value]} already; make each {field} unique."
            )
        seen[value] = place


def check_question_spans(table: pd.DataFrame, places: list[str]) -> None:
    """Spans of questions lie inside their question and are not empty."""
    if "question_spans" not in table:
        return
    for question, spans, place in zip(table["question"], table["question_spans"], places, strict=True):
        for begin, end in spans or []:
            if not begin < end <= len(question):
                raise AtlasError(
                    f"{place}: field 'question_spans' has [{begin}, {end}], which is no part of a question of "
                    f"{len(question)} characters; give [begin, end) with begin < end."
                )


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


def check_relations(table: pd.DataFrame, places: list[str]) -> None:
    """No source twice inside a relation; one category for each relation."""
    seen, categories = {}, {}
    for relation, category, source, place in zip(
        table["relation"], table["category"], table["source"], places, strict=True
    ):
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
