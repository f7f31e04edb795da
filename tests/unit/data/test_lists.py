"""Lists that are written as text: read as lists, or refused; never taken for one text."""

import csv
import json
import random

import numpy as np
import pandas as pd
import pytest

from atlas.data.kinds import prepare
from atlas.data.lists import listed, mapped
from atlas.errors import AtlasError

ANSWERS = ["Paris", "City of Paris"]
WRITTEN = [
    json.dumps(ANSWERS), json.dumps(json.dumps(ANSWERS)), "\ufeff" + str(ANSWERS), str(ANSWERS), str(tuple(ANSWERS)),
    str(np.array(ANSWERS)), repr(np.array(ANSWERS, object)),
    str(list(np.array(ANSWERS))), "['Paris'\n 'City of Paris']", ' [ "Paris" , "City of Paris", ] ',
]  # fmt: skip


def write(folder, form, column, value):
    row = {"question": "q", column: value}
    path = folder / f"rows.{form}"
    if form == "jsonl":
        path.write_text(json.dumps(row), encoding="utf-8")
    elif form == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([list(row), list(row.values())])
    else:
        pd.DataFrame([row]).to_parquet(path)
    return path


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("text", WRITTEN)
def test_answers_that_are_a_list_in_a_text_are_that_list(tmp_path, form, text):
    table, _ = prepare("qa", {}, write(tmp_path, form, "answers", text))
    assert table["answers"][0] == ANSWERS


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    "text", ["Paris", "(I Can't Get No) Satisfaction", "(1, 2)", "array", "a [b]", "f(x)", '"Paris"', "Mr (T)"]
)
def test_answers_that_are_one_text_are_that_text(tmp_path, form, text):
    table, _ = prepare("qa", {}, write(tmp_path, form, "answers", text))
    assert table["answers"][0] == [text]


REFUSED = [
    ("[Untitled]", "'Untitled' stands there without quotation marks"),
    ("[Paris, London]", "without quotation marks"),
    ("['a', 'b'", "is open"),
    ('["a", "b', "is open"),
    ("['a' 'b', 'c']", "some of its items are separated by commas and some are not"),
    ("['a' 'b' ... 'z']", "cut short where it was printed"),
    ("['a'] and b", "'and' follows it"),
    ("[“Paris”]", "without quotation marks"),
    ("[1939-1945]", "'-' stands behind an item without a comma or a space"),
    ("[1939 - 1945]", "'-' stands there without quotation marks"),
    ("[2019-01-01]", "without a comma or a space"),
    ("['a''b']", "without a comma or a space"),
    ("{'a', 'b'}", "a set, in curly brackets"),
    ("{x | x > 0}", "without quotation marks"),
    ("{'aliases': ['a'], 'value': 'a'}", r"is a mapping of aliases, value; name the list inside by a path"),
    ('{"aliases": ["a"]}', "is a mapping of aliases"),
    ("[['a'], ['b']]", r"\(item 0\) must be of type string, not \[\"a\"\]"),
    ("['a', None]", "is empty"),
    ("frozenset({'a'})", "'frozenset' stands there without quotation marks"),
    ("Index(['a', 'b'], dtype='object')", "'Index' stands there"),
    ("array(['a', 'b'], dtype=object", "is open|does not end"),
    ("[" * 100_000, "nested too deeply"),
    ('["[\\"Paris\\", \\"City of Paris\\"]"]', "holds a list that is written as text"),
]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=[text[:20] for text, _ in REFUSED])
def test_answers_that_look_like_a_list_and_are_none_are_refused(tmp_path, form, text, reason):
    with pytest.raises(AtlasError, match=rf"rows\.{form} row 0.*field 'answers'.*{reason}") as caught:
        prepare("qa", {}, write(tmp_path, form, "answers", text))
    assert len(str(caught.value)) < 400


def test_a_text_in_square_brackets_is_an_answer_where_it_stands_in_a_list(tmp_path):
    table, _ = prepare("qa", {}, write(tmp_path, "jsonl", "answers", ["[Untitled]", "{x}"]))
    assert table["answers"][0] == ["[Untitled]", "{x}"]


def test_a_path_leads_into_mappings_that_are_written_as_text(tmp_path):
    for text in ('{"value": "x", "aliases": ["x", "y"]}', "{'value': 'x', 'aliases': ['x' 'y']}"):
        table, _ = prepare("qa", {"columns": {"answers": "answer.aliases"}}, write(tmp_path, "csv", "answer", text))
        assert table["answers"][0] == ["x", "y"]
        with pytest.raises(AtlasError, match="columns inside answer are: value, aliases"):
            prepare("qa", {"columns": {"answers": "answer.alias"}}, write(tmp_path, "csv", "answer", text))


def test_spans_and_predecessors_are_read_from_text_too(tmp_path):
    for text in ("[[0, 1], [1, 2]]", "[[0 1]\n [1 2]]", "[(0, 1), (1, 2)]"):
        path = tmp_path / "rows.jsonl"
        path.write_text(json.dumps({"question": "ab", "answers": "x", "question_spans": text}))
        assert prepare("qa", {}, path)[0]["question_spans"][0] == [[0, 1], [1, 2]]
    rows = [{"id": name, "depth": 1, "question": "q", "answer": "x"} for name in ("a", "b")]
    rows.append({"id": "c", "depth": 2, "question": "q", "answer": "x", "predecessors": "['a' 'b']"})
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert prepare("depth", {}, path)[0]["predecessors"][2] == ["a", "b"]


CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "Say hello"}]
ONE_TEXT = [
    ("prompts", {"text": str(CHAT)}),
    ("prompts", {"text": json.dumps(CHAT[1])}),
    ("prompts", {"text": "p", "system": json.dumps(CHAT)}),
    ("qa", {"question": "['a', 'b']", "answers": "a"}),
    ("depth", {"depth": 1, "question": "q", "answer": '["Paris", "City of Paris"]'}),
    ("relations", {"relation": "r", "category": "Knowledge", "source": "France", "target": "['Paris']"}),
]


@pytest.mark.parametrize(("kind", "row"), ONE_TEXT)
def test_a_list_where_one_text_is_wanted_is_refused(tmp_path, kind, row):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(AtlasError, match=r"holds a list that is written as text: .*; write one text"):
        prepare(kind, {}, path)


def test_the_text_inside_messages_is_named_by_a_path(tmp_path):
    path = tmp_path / "rows.csv"
    pd.DataFrame({"messages": [str(CHAT)]}).to_csv(path, index=False)
    table, _ = prepare("prompts", {"columns": {"text": "messages.1.content"}}, path)
    assert table["text"][0] == "Say hello"


@pytest.mark.parametrize("text", ["[INST] hi [/INST]", "[1, 2] sums to?", "{q}", "[1, 2, 3]", "(a, b)"])
def test_texts_with_brackets_stay_texts(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": text}))
    assert prepare("prompts", {}, path)[0]["text"][0] == text
    path.write_text(json.dumps({"text": "['any', 'text']"}))
    assert prepare("text", {}, path)[0]["text"][0] == "['any', 'text']"


def test_whatever_the_texts_a_list_of_them_is_read_as_it_was_written():
    draw = random.Random(0)
    letters = [*"ab '\"\\,[]{}()\n\t", "é", "北", "\u2028", "...", "#", "\x00"]
    for _ in range(500):
        texts = ["".join(draw.choices(letters, k=draw.randint(0, 6))) for _ in range(draw.randint(1, 5))]
        as_array = np.array(texts, dtype=object)
        forms = [json.dumps(texts), json.dumps(texts, ensure_ascii=False), str(texts), str(as_array), repr(as_array)]
        for form in forms:
            assert listed(form) == texts, form
        assert listed(str([texts, texts])) == [texts, texts]
        assert mapped(str({"aliases": texts})) == mapped(json.dumps({"aliases": texts})) == {"aliases": texts}
        with pytest.raises(ValueError, match=r"open|end|quotation"):
            listed(str(texts)[:-1])


def test_what_was_not_read_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        '{"question": "q", "answer": {"aliases": ["a"]}, "question_span": [[0, 1]], "level": 2}'
    )
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".snakemake_timestamp").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.lock").touch()
    _, report = prepare("qa", {"columns": {"answers": "answer.aliases"}}, tmp_path)
    assert report["unused_columns"] == ["level", "question_span"]
    assert report["unused_files"] == ["README.md"]
