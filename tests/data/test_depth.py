"""Checks the form of the questions of different depth: what a program can see. What they say was read and recomputed.

Words are runs of characters without white space. A sentence ends at a full stop, question mark or exclamation mark that
is followed by white space and a capital letter, digit or bracket, or by the end of the text; the v. of court cases does
not end one.
"""

import json
import re
import unicodedata
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, groupby
from pathlib import Path

import pytest

from atlas.data.kinds import prepare
from atlas.data.sources import materialise_dataset

DEPTH = Path(__file__).parents[2] / "data" / "depth" / "depth.jsonl"

TYPES = {"id": str, "depth": int, "field": str, "question": str, "answer": str, "predecessors": list}
PREDECESSORS = {1: (0, 0), 2: (2, 4), 3: (2, 5)}
SENTENCE_END = re.compile(r"(?<!\bv)[.?!](?=\s+[A-Z0-9(]|$)")
# words that most questions share, and that say nothing about what is asked
FORM_WORDS = frozenset(
    "a an and are as at be by can do does for from how in is it its mean of on or state that the to used what when "
    "which why with you".split()
)
# Bounds a little above the nearest pairs that were read and found to ask different things: 0.50 of the words within one
# depth, 0.67 between a term and the procedure that uses it, 0.58 of the trigrams.
MOST_SHARED_WORDS_WITHIN_DEPTH = 0.55
MOST_SHARED_WORDS = 0.7
MOST_SHARED_TRIGRAMS = 0.62


def without_repeated_keys(pairs: list[tuple]) -> dict:
    assert len(dict(pairs)) == len(pairs), f"key given twice: {[key for key, _ in pairs]}"
    return dict(pairs)


@cache
def rows() -> tuple[dict, ...]:
    lines = DEPTH.read_bytes().decode("utf-8").splitlines()
    return tuple(json.loads(line, object_pairs_hook=without_repeated_keys) for line in lines)


@cache
def by_id() -> dict[str, dict]:
    return {row["id"]: row for row in rows()}


def words(text: str) -> int:
    return len(text.split())


def sentences(text: str) -> int:
    return len(SENTENCE_END.findall(text))


def normalised(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def overlap(one: frozenset, other: frozenset) -> float:
    """Jaccard index: shared members over all members."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


# ------------------------------------------------------------------------------------------------------------ the file


def test_file_is_plain_utf8_lines():
    text = DEPTH.read_bytes().decode("utf-8")
    assert not text.startswith("\ufeff")
    assert "\r" not in text
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    assert [number for number, line in enumerate(lines, 1) if not line.strip()] == []
    assert len(lines) == len(rows()), "a line break other than LF"


def test_every_row_has_exactly_the_keys():
    wrong = [(number, list(row)) for number, row in enumerate(rows(), 1) if list(row) != list(TYPES)]
    assert wrong == []
    wrong = [(row["id"], key) for row in rows() for key in TYPES if type(row[key]) is not TYPES[key]]
    assert wrong == []
    assert [row["id"] for row in rows() if not all(type(name) is str for name in row["predecessors"])] == []


def test_sizes():
    assert len(rows()) >= 500
    assert sum(row["depth"] == 3 for row in rows()) >= 48
    assert len({row["field"] for row in rows()}) >= 8


def test_ids_are_unique_plain_names():
    assert [name for name, count in Counter(row["id"] for row in rows()).items() if count > 1] == []
    assert [row["id"] for row in rows() if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row["id"])] == []


def test_fields_stand_together_from_shallow_to_deep():
    fields = [field for field, _ in groupby(row["field"] for row in rows())]
    assert len(fields) == len(set(fields)), "the rows of a field are scattered"
    for field in fields:
        depths = [row["depth"] for row in rows() if row["field"] == field]
        assert depths == sorted(depths), field
        assert set(depths) == {1, 2, 3}, field


def test_texts_hold_readable_characters_only():
    """Printable ASCII, and letters of other alphabets in composed form; no stray or doubled white space."""
    strange = []
    for row in rows():
        for text in (row["id"], row["field"], row["question"], row["answer"]):
            bad = [sign for sign in text if not (" " <= sign <= "~" or unicodedata.category(sign).startswith("L"))]
            if bad or text != " ".join(text.split()) or not unicodedata.is_normalized("NFC", text):
                strange.append((row["id"], bad))
    assert strange == []


# ----------------------------------------------------------------------------------------------------------- the graph


def test_depths_step_by_one():
    wrong = [
        (row["id"], name)
        for row in rows()
        for name in row["predecessors"]
        if name not in by_id() or by_id()[name]["depth"] != row["depth"] - 1 or by_id()[name]["field"] != row["field"]
    ]
    assert wrong == []


def test_graph_has_no_cycle():
    try:
        order = tuple(TopologicalSorter({row["id"]: row["predecessors"] for row in rows()}).static_order())
    except CycleError as error:
        pytest.fail(f"cycle: {error.args[1]}")
    assert len(order) == len(rows())


def test_numbers_of_predecessors():
    wrong = []
    for row in rows():
        least, most = PREDECESSORS[row["depth"]]
        distinct = set(row["predecessors"])
        if len(distinct) != len(row["predecessors"]) or not least <= len(distinct) <= most:
            wrong.append((row["id"], row["predecessors"]))
    assert wrong == []


def test_every_shallower_question_is_used():
    used = {name for row in rows() for name in row["predecessors"]}
    assert [row["id"] for row in rows() if row["depth"] < 3 and row["id"] not in used] == []


# ----------------------------------------------------------------------------------------------------------- the texts


def test_answer_lengths():
    wrong = []
    for row in rows():
        length, number = words(row["answer"]), sentences(row["answer"])
        fits = {1: number in (1, 2) and length <= 60, 2: 40 <= length <= 140, 3: 150 <= length <= 300}
        if not fits[row["depth"]]:
            wrong.append((row["id"], length, number))
    assert wrong == []


def test_texts_end_as_they_should():
    assert [row["id"] for row in rows() if not row["question"].endswith("?")] == []
    assert [row["id"] for row in rows() if not row["answer"].endswith(".")] == []


def test_one_spelling_for_units_and_shares():
    """So that no difference between fields comes from the way numbers are written."""
    other = re.compile(r"\bper cent\b|%|\bdegrees? [CFK]\b|\bmicrog\b|\d[eE]-?\d|(?<![\d,.])\d,\d{3}(?!,?\d)")
    texts = [(row["id"], row["question"] + " " + row["answer"]) for row in rows()]
    assert [(name, other.findall(text)) for name, text in texts if other.search(text)] == []


@pytest.mark.parametrize("part", ["question", "answer"])
def test_no_text_stands_twice(part):
    times = Counter(normalised(row[part]) for row in rows())
    assert [text for text, count in times.items() if count > 1] == []


def test_no_two_questions_alike():
    texts = [normalised(row["question"]) for row in rows()]
    contents = [frozenset(text.split()) - FORM_WORDS for text in texts]
    trigrams = [frozenset(text[start : start + 3] for start in range(len(text) - 2)) for text in texts]
    assert [text for text, content in zip(texts, contents, strict=True) if not content] == []
    alike = []
    for one, other in combinations(range(len(texts)), 2):
        same_depth = rows()[one]["depth"] == rows()[other]["depth"]
        most = MOST_SHARED_WORDS_WITHIN_DEPTH if same_depth else MOST_SHARED_WORDS
        if (
            overlap(contents[one], contents[other]) > most
            or overlap(trigrams[one], trigrams[other]) > MOST_SHARED_TRIGRAMS
        ):
            alike.append((rows()[one]["question"], rows()[other]["question"]))
    assert alike == []


# ----------------------------------------------------------------------------------------------------------- the reader


def test_reads_as_a_data_set_of_kind_depth(tmp_path):
    raw = materialise_dataset({"path": str(DEPTH)}, tmp_path / "raw")
    table, report = prepare("depth", {}, raw)
    assert report["rows_used"] == report["rows_in_file"] == len(rows())
    for name in ("id", "depth", "question", "answer"):
        assert table[name].tolist() == [row[name] for row in rows()]
    assert [list(names) for names in table["predecessors"]] == [row["predecessors"] for row in rows()]


def test_a_sample_takes_whole_trees(tmp_path):
    raw = materialise_dataset({"path": str(DEPTH)}, tmp_path / "raw")
    table, report = prepare("depth", {"sample": {"n": 5, "seed": 0}}, raw)
    assert (table["depth"] == 3).sum() == 5
    assert report["rows_used"] == len(table) < len(rows())
    assert {name for names in table["predecessors"] for name in names} <= set(table["id"])
