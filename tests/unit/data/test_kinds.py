"""From raw rows to the checked table of each kind, and at least one sentence for each way of getting it wrong."""

import importlib.util
import json
from collections import Counter

import pandas as pd
import pytest

from atlas.analyses.saliency.marked_prompts import spans_of
from atlas.data.kinds import KINDS, prepare
from atlas.data.sources import materialise_dataset
from atlas.errors import AtlasError
from atlas.results.files import read_frame, write_frame
from places import ROOT


def jsonl(folder, rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(n):
    return [{"text": f"text {i}"} for i in range(n)]


def test_prompts(tmp_path):
    rows = [{"q": "a", "meta": {"subject": "s"}}, {"q": "b", "meta": {"subject": "t"}}]
    entry = {"columns": {"text": "q", "group": "meta.subject"}}
    table, report = prepare("prompts", entry, jsonl(tmp_path, rows))
    assert table.to_dict("list") == {"id": ["0", "1"], "text": ["a", "b"], "group": ["s", "t"]}
    assert report["rows_in_file"] == report["rows_used"] == 2
    assert report["dropped"] == {}
    assert len(report["files"]["rows.jsonl"]) == 64


def test_columns_are_exactly_those_of_the_kind(tmp_path):
    rows = [{"id": 7, "text": "a", "junk": 1}, {"id": 8, "text": "b", "junk": 1, "system": "s"}]
    table, _ = prepare("prompts", {}, jsonl(tmp_path, rows))
    assert table.to_dict("list") == {"id": ["7", "8"], "text": ["a", "b"], "system": [None, "s"]}
    table, _ = prepare("text", {}, jsonl(tmp_path, rows))
    assert list(table) == ["id", "text"]


def test_qa_with_nested_answers(tmp_path):
    rows = [{"question": "q", "answer": {"aliases": ["x", "y"]}, "spans": [[0, 1]]}]
    table, _ = prepare(
        "qa", {"columns": {"answers": "answer.aliases", "question_spans": "spans"}}, jsonl(tmp_path, rows)
    )
    assert table.to_dict("records") == [{"id": "0", "question": "q", "answers": ["x", "y"], "question_spans": [[0, 1]]}]
    rows = [{"question": "q", "answers": [{"text": "x"}, {"text": "y"}]}]
    table, _ = prepare("qa", {"columns": {"answers": "answers.text"}}, jsonl(tmp_path, rows))
    assert table["answers"][0] == ["x", "y"]
    table, _ = prepare("qa", {"columns": {"answers": "answers.1.text"}}, jsonl(tmp_path, rows))
    assert table["answers"][0] == ["y"]


def test_questions_that_cannot_be_used_are_left_out_named_and_counted(tmp_path):
    rows = [
        {"question": "ab", "answers": ["x"], "question_spans": [[0, 2]]},
        {"question": "ab", "answers": []},
        {"question": "ab", "answers": ["x"], "question_spans": [[0, 1], [1, 3]]},
        {"question": "ab", "answers": ["x"], "question_spans": [[1, 1]]},
        {"question": "ab", "answers": None},
        {"question": "ab", "answers": ["x"]},
    ]
    table, report = prepare("qa", {}, jsonl(tmp_path, rows))
    assert table["id"].tolist() == ["0", "5"]
    without, outside = "question without answers", "question span that is empty or outside the question"
    assert report["dropped"] == {without: 2, outside: 2}
    assert report["unusable"] == {without: ["1", "4"], outside: ["2", "3"]}
    assert (report["rows_in_file"], report["rows_used"]) == (6, 2)
    with pytest.raises(AtlasError, match=r"`sample.n` is 3, but there are only 2"):
        prepare("qa", {"sample": {"n": 3, "seed": 0}}, jsonl(tmp_path, rows))


def test_csv_cells_get_their_types(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text('id,depth,question,answer,predecessors,score\nc,1,q,007,,\np,2,q,a,"[""c""]",0.5\ns,3,q,a,p,4\n')
    table, _ = prepare("depth", {}, path)
    assert table["depth"].tolist() == [1, 2, 3]
    assert table["predecessors"].tolist() == [[], ["c"], ["p"]]
    assert table["answer"][0] == "007"
    assert table["score"].isna().tolist() == [True, False, False]


def depth_rows():
    rows = []
    for tree in range(4):
        rows.append({"id": f"c{tree}", "depth": 1, "question": "q", "answer": "a"})
        rows.append({"id": f"p{tree}", "depth": 2, "question": "q", "answer": "a", "predecessors": [f"c{tree}"]})
        rows.append({"id": f"s{tree}", "depth": 3, "question": "q", "answer": "a", "predecessors": [f"p{tree}"]})
    return rows


def test_depth_takes_whole_trees(tmp_path):
    path = jsonl(tmp_path, depth_rows())
    table, report = prepare("depth", {"limit": 2}, path)
    assert table["id"].tolist() == ["c0", "p0", "s0", "c1", "p1", "s1"]
    assert report["dropped"] == {"beyond the limit": 6}
    table, _ = prepare("depth", {"sample": {"n": 1, "seed": 0}}, path)
    assert table["depth"].tolist() == [1, 2, 3]
    assert len({name[1:] for name in table["id"]}) == 1


def test_limit_takes_the_first(tmp_path):
    table, report = prepare("text", {"limit": 3}, jsonl(tmp_path, texts(9)))
    assert table["id"].tolist() == ["0", "1", "2"]
    assert report["dropped"] == {"beyond the limit": 6}
    assert len(prepare("text", {"limit": 99}, jsonl(tmp_path, texts(9)))[0]) == 9


def test_sample_is_seeded_and_keeps_the_order(tmp_path):
    path = jsonl(tmp_path, texts(200))
    draws = {seed: prepare("text", {"sample": {"n": 20, "seed": seed}}, path)[0]["id"].tolist() for seed in (0, 1)}
    assert draws[0] == prepare("text", {"sample": {"n": 20, "seed": 0}}, path)[0]["id"].tolist()
    assert draws[0] != draws[1]
    assert draws[0] == sorted(draws[0], key=int)
    assert len(set(draws[0])) == 20


def relations_folder(
    folder, index="relation,category,description\ncapital,Knowledge,x\nplural,Linguistic,y\n", **files
):
    files = {"capital": "source,target\nFrance,Paris\nItaly,Rome\n", "plural": "source,target\ncat,cats\n"} | files
    (folder / "relations.csv").write_text(index)
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content)
    return folder


def test_relations_folder(tmp_path):
    table, report = prepare("relations", {}, relations_folder(tmp_path))
    assert table.to_dict("list") == {
        "relation": ["capital", "capital", "plural"],
        "category": ["Knowledge", "Knowledge", "Linguistic"],
        "source": ["France", "Italy", "cat"],
        "target": ["Paris", "Rome", "cats"],
    }
    assert list(report["files"]) == ["relations.csv", "capital.csv", "plural.csv"]
    # Which pairs are used depends on the model's tokenizer, so all of them are there.
    assert len(prepare("relations", {"limit": 1}, tmp_path)[0]) == len(table)


GOOD_D1 = {"id": "c", "depth": 1, "question": "q", "answer": "a", "predecessors": []}
PAIR = {"relation": "r", "category": "Knowledge", "source": "s", "target": "t"}
BAD = {
    "missing column": (
        "text", {}, [{"txt": "x"}],
        r"row 0 \(line 1\) has no column 'text'.*columns are: txt \(nearest: txt\)",
    ),
    "missing in one row": ("text", {}, [{"text": "x"}, {"b": 1}], r"rows\.jsonl row 1 \(line 2\) has no column 'text'"),
    "mapped column": (
        "text", {"columns": {"text": "pasage"}}, [{"passage": "x"}],
        r"no column 'pasage'.*nearest: passage",
    ),
    "nested column": (
        "qa", {"columns": {"answers": "answer.alias"}}, [{"question": "q", "answer": {"aliases": ["x"]}}],
        r"row 0 .* no column 'answer.alias'.*columns inside answer are: aliases",
    ),
    "optional but mapped": (
        "prompts", {"columns": {"group": "g"}}, [{"text": "x"}],
        r"row 0 .*no column 'g' for field 'group'",
    ),
    "unknown field": ("text", {"columns": {"txt": "x"}}, [{"x": "x"}], r"names the field 'txt'.*nearest: text"),
    "column no name": ("text", {"columns": {"text": 3}}, [{"x": "x"}], r"`columns\.text` is 3"),
    "empty text": ("text", {}, [{"text": "x"}, {"text": ""}], r"row 1 \(line 2\): field 'text' is empty"),
    "blank text": ("prompts", {}, [{"text": " \n\t"}], r"row 0 .*field 'text' is empty"),
    "null text": ("text", {}, [{"text": None}], r"row 0 .*field 'text' is empty"),
    "text a list": ("text", {}, [{"text": ["x"]}], r"field 'text' must be of type string, not \[\"x\"\]"),
    "text a truth value": ("text", {}, [{"text": True}], r"field 'text' must be of type string, not true"),
    "text a fraction": ("text", {}, [{"text": 1.5}], r"field 'text' must be of type string, not 1.5"),
    "group an object": ("prompts", {}, [{"text": "x", "group": {}}], r"field 'group' must be of type string"),
    "duplicate id": (
        "text", {}, [{"id": 1, "text": "x"}, {"id": 2, "text": "y"}, {"id": "1", "text": "z"}],
        r"row 2 \(line 3\): field 'id' is '1', as in rows\.jsonl row 0 \(line 1\)",
    ),
    "empty id": ("text", {}, [{"id": "", "text": "x"}], r"field 'id' is empty"),
    "null id": ("text", {}, [{"id": None, "text": "x"}], r"field 'id' is empty"),
    "half a character": (
        "text", {}, [{"text": "x\ud800"}],
        r"row 0 .*'text' holds half of a surrogate pair at character 1",
    ),
    "nothing but questions without answers": (
        "qa", {}, [{"question": "q", "answers": []}, {"question": "q", "answers": ["a"], "question_spans": [[1, 1]]}],
        r"no row can be used \(1 question without answers, 1 question span that is empty or outside the question\)",
    ),
    "empty answer": ("qa", {}, [{"question": "q", "answers": ["x", ""]}], r"field 'answers' \(item 1\) is empty"),
    "answers of objects": (
        "qa", {}, [{"question": "q", "answers": [{"a": 1}]}],
        r"'answers' \(item 0\) must be of type string",
    ),
    "span of one number": (
        "qa", {}, [{"question": "q", "answers": ["a"], "question_spans": [[0]]}],
        r"field 'question_spans'",
    ),
    "depth too great": ("depth", {}, [GOOD_D1 | {"depth": 4}], r"field 'depth' is 4; the maximum is 3"),
    "depth a word": ("depth", {}, [GOOD_D1 | {"depth": "one"}], r"field 'depth' must be of type integer, not \"one\""),
    "score a word": ("depth", {}, [GOOD_D1 | {"score": "good"}], r"field 'score' must be of type number"),
    "unknown predecessor": (
        "depth", {}, [GOOD_D1, GOOD_D1 | {"id": "p", "depth": 2, "predecessors": ["x"]}],
        r"row 1 .*field 'predecessors' of 'p' names 'x', which is no id",
    ),
    "predecessor of wrong depth": (
        "depth", {}, [GOOD_D1, GOOD_D1 | {"id": "s", "depth": 3, "predecessors": ["c"]}],
        r"row 1 .*names 'c' of depth 1; a predecessor must be exactly one depth lower",
    ),
    "cycle": (
        "depth", {},
        [GOOD_D1 | {"id": "a", "depth": 2, "predecessors": ["b"]},
         GOOD_D1 | {"id": "b", "depth": 2, "predecessors": ["a"]}],
        r"exactly one depth lower",
    ),
    "predecessor twice": ("depth", {}, [GOOD_D1 | {"depth": 2, "predecessors": ["c", "c"]}], r"names something twice"),
    "category": (
        "relations", {}, [PAIR | {"category": "Knowlege"}],
        r"field 'category' is \"Knowlege\"; it must be one of Algorithmic",
    ),
    "source twice": (
        "relations", {}, [PAIR, PAIR | {"target": "u"}],
        r"row 1 .*field 'source' is 's', as in rows\.jsonl row 0",
    ),
    "two categories": (
        "relations", {}, [PAIR, PAIR | {"source": "u", "category": "Linguistic"}],
        r"field 'category' of relation 'r' is Linguistic, but Knowledge",
    ),
    "limit and sample": (
        "text", {"limit": 1, "sample": {"n": 1, "seed": 0}}, texts(3),
        "`limit` and `sample` are both given",
    ),
    "negative limit": ("text", {"limit": -1}, texts(3), "`limit` is -1"),
    "sample too large": ("text", {"sample": {"n": 4, "seed": 0}}, texts(3), "is 4, but there are only 3 rows"),
    "sample of relations too large": (
        "relations", {"sample": {"n": 2, "seed": 0}}, [PAIR],
        "relation 'r': `sample.n` is 2, but there are only 1 pairs",
    ),
    "sample without seed": ("text", {"sample": {"n": 1}}, texts(3), r"`sample\.seed` is None"),
    "unknown kind": ("prompt", {}, texts(1), r"kind 'prompt' is unknown \(nearest: prompts"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "entry", "rows", "message"), BAD.values(), ids=BAD)
def test_bad_data_is_named_with_file_row_and_field(tmp_path, kind, entry, rows, message):
    with pytest.raises(AtlasError, match=message) as caught:
        prepare(kind, entry, jsonl(tmp_path, rows))
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 400


BAD_FOLDERS = {
    "file missing": ({"index": "relation,category\nother,Knowledge\ncapital,Knowledge\nplural,Linguistic\n"},
                     r"relations\.csv row 0 \(line 2\) lists relation 'other', but other\.csv does not exist"),
    "file not listed": (
        {"captal": "source,target\na,b\n"},
        r"captal\.csv is not listed in relations\.csv \(nearest: capital",
    ),
    "listed twice": (
        {"index": "relation,category\ncapital,Knowledge\ncapital,Knowledge\n"},
        r"\(line 3\) lists relation 'capital', as",
    ),
    "column missing": (
        {"plural": "source,targt\na,b\n"},
        r"plural\.csv row 0 \(line 2\) has no column 'target'.*nearest: targt",
    ),
    "index column": (
        {"index": "relation,kind\ncapital,Knowledge\n"},
        r"relations\.csv row 0 .* has no column 'category'",
    ),
    "outside": ({"index": "relation,category\n../x,Knowledge\n"}, "not a plain file name"),
    "a name of ours": (
        {"index": "relation,category\ncapital,Knowledge\nplural,Linguistic\n(mean),Knowledge\n",
         "(mean)": "source,target\na,b\n"}, "give the relation another",
    ),
    "empty target": ({"plural": "source,target\na,\n"}, r"plural\.csv row 0 \(line 2\): field 'target' is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_bad_relations_folder(tmp_path, files, message):
    with pytest.raises(AtlasError, match=message):
        prepare("relations", {}, relations_folder(tmp_path, **files))


MAPS = {
    "capital": {"file": "capital/capital.json", "category": "Knowledge"},
    "plural": {"file": "plural.csv", "category": "Linguistic"},
}


def listed_folder(folder, **files):
    files = {
        "capital/capital.json": '[["France", "Paris"], ["Italy", "Rome"], ["Bolivia", "Sucre"], ["Bolivia", "La Paz"]]',
        "plural.csv": "singular,target\ncat,cats\n",
        "README.md": "about",
    } | files
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if content is not None:
            (folder / name).write_text(content)
    return folder


def test_relations_of_several_files_have_the_names_and_categories_of_the_configuration(tmp_path):
    """Files of any name and format; a source may have several targets, as published lists have."""
    folder = listed_folder(tmp_path, **{"plural.csv": "source,target\ncat,cats\n"})
    table, report = prepare("relations", {"relations": MAPS}, folder)
    assert table.to_dict("list") == {
        "relation": ["capital"] * 4 + ["plural"],
        "category": ["Knowledge"] * 4 + ["Linguistic"],
        "source": ["France", "Italy", "Bolivia", "Bolivia", "cat"],
        "target": ["Paris", "Rome", "Sucre", "La Paz", "cats"],
    }
    assert list(report["files"]) == ["capital/capital.json", "plural.csv"]
    assert report["unused_files"] == ["README.md"]
    reverse = {"columns": {"source": "target", "target": "source"}, "relations": MAPS}
    assert prepare("relations", reverse, folder)[0]["source"].tolist()[:2] == ["Paris", "Rome"]
    one = {"relations": {"capital": MAPS["capital"] | {"file": "capital.json"}}}
    assert len(prepare("relations", one, folder / "capital" / "capital.json")[0]) == 4


@pytest.mark.parametrize(
    ("files", "relations", "message"),
    [
        (
            {"capital/capital.json": None},
            MAPS,
            r"'capital' has the file 'capital/capital.json', which the source lacks",
        ),
        ({}, {"capital": MAPS["capital"]}, r"plural\.csv belongs to no relation of the configuration: list it"),
        ({}, MAPS | {"other": MAPS["plural"]}, r"'plural' and 'other' have the same file 'plural\.csv'"),
        ({}, MAPS, r"plural\.csv row 0 \(line 2\) has no column 'source'.*columns are: singular, target"),
        ({"capital/capital.json": '[["France"]]'}, MAPS, r"capital\.json row 0 has 1 parts, but a pair has 2"),
        ({"capital/capital.json": '[["France", ""]]'}, MAPS, r"capital\.json row 0: field 'target' is empty"),
        ({"capital/capital.json": '[["France", ["Paris"]]]'}, MAPS, r"field 'target' must be of type string"),
    ],
)
def test_bad_relations_of_several_files(tmp_path, files, relations, message):
    with pytest.raises(AtlasError, match=message):
        prepare("relations", {"relations": relations}, listed_folder(tmp_path, **files))


def graphless(tmp_path, numbers=(5, 4, 3)):
    """A mapping of records by their names, without predecessors, as DepthQA's authors publish their answers."""
    records = {
        f"d{depth}_q{i}": {"qid": f"d{depth}_q{i}", "depth": depth, "question": "q", "answer": "a"}
        for depth, number in enumerate(numbers, 1)
        for i in range(number)
    }
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(records, indent=1))
    return path


def test_depth_without_predecessors(tmp_path):
    entry = {"format": "json", "columns": {"id": "qid"}}
    table, report = prepare("depth", entry, graphless(tmp_path))
    assert table["id"].tolist()[:2] == ["d1_q0", "d1_q1"]
    assert set(map(len, table["predecessors"])) == {0}
    assert report["unused_columns"] == ["key"]
    # Nothing is known to be below a question, so each depth gives its own.
    limited, report = prepare("depth", {**entry, "limit": 2}, graphless(tmp_path))
    assert limited["id"].tolist() == ["d1_q0", "d1_q1", "d2_q0", "d2_q1", "d3_q0", "d3_q1"]
    assert report["dropped"] == {"beyond the limit": 6}
    sampled = prepare("depth", {**entry, "sample": {"n": 3, "seed": 1}}, graphless(tmp_path))[0]
    assert sampled["depth"].value_counts().to_dict() == {1: 3, 2: 3, 3: 3}
    with pytest.raises(AtlasError, match="is 4, but there are only 3 questions of depth 3 to draw from"):
        prepare("depth", {**entry, "sample": {"n": 4, "seed": 1}}, graphless(tmp_path))


def test_blank_line_in_a_list_of_prompts(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\nthree\n")
    with pytest.raises(AtlasError, match=r"a\.txt row 1 \(line 2\): field 'text' is empty"):
        prepare("prompts", {}, tmp_path / "a.txt")


def test_bad_data_leaves_the_raw_folder_untouched(tmp_path):
    raw = materialise_dataset({"path": str(jsonl(tmp_path, [{"text": ""}]))}, tmp_path / "raw")
    before = {path: path.read_bytes() for path in raw.iterdir()}
    with pytest.raises(AtlasError):
        prepare("text", {}, raw)
    assert {path: path.read_bytes() for path in raw.iterdir()} == before


def test_every_kind_has_a_schema_that_describes_its_fields():
    for kind in KINDS.values():
        assert set(kind.required) <= set(kind.fields)
        assert all(field.get("description") for field in kind.fields.values()), kind.name


def labelled(tmp_path, labels, **entry):
    file = tmp_path / "c.jsonl"
    rows = [{"input": f"Text {i}.", "label": label, "title": "x"} for i, label in enumerate(labels)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prepare("membership", {"columns": {"text": "input"}, **entry}, file)


def test_a_labelled_collection_has_texts_and_whole_labels(tmp_path):
    table, report = labelled(tmp_path, [1, 0, 0])
    assert table.to_dict("list") == {
        "id": ["0", "1", "2"], "text": ["Text 0.", "Text 1.", "Text 2."], "label": [1, 0, 0]
    }  # fmt: skip
    assert report["unused_columns"] == ["title"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, 1], r"no row has the label 0 \(non-member\); membership needs texts of both labels"),
        ([0, 0], r"no row has the label 1 \(member\)"),
        ([1, 2], "field 'label' is 2; it must be one of 0, 1"),
        ([1, "yes"], "field 'label'"),
        ([1, None], "field 'label' is empty"),
    ],
)
def test_labels_that_tell_nothing_are_refused(labels, said, tmp_path):
    with pytest.raises(AtlasError, match=said):
        labelled(tmp_path, labels)


def test_the_shipped_passages_come_in_pairs():
    table, report = prepare("membership", {}, ROOT / "data" / "membership" / "passages.jsonl")
    assert report["dropped"] == {}
    by_label = {label: set(part["id"]) for label, part in table.groupby("label")}
    assert len(by_label[1]) == 32
    assert {name.removesuffix("-new") for name in by_label[0]} == by_label[1]
    words = table["text"].str.split().map(len).groupby(table["label"]).mean()
    assert abs(words[0] - words[1]) < 2


def marked(tmp_path, spans, name="m.jsonl", prompt="Good: yes", answer=" yes"):
    file = tmp_path / name
    rows = [{"id": "a", "prompt": prompt, "answer": answer, "spans": spans}]
    if name.endswith("csv"):
        cell = json.dumps(spans).replace('"', '""')
        file.write_text(f'id,prompt,answer,spans\n"a","{prompt}","{answer}","{cell}"\n')
    elif name.endswith("parquet"):
        pd.DataFrame([*rows, {**rows[0], "id": "b", "spans": {"other": [[0, 4]]}}]).to_parquet(file)
    else:
        rows.append({**rows[0], "id": "b", "spans": {"b": [[0, 1]]}})
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prepare("marked", {}, file)


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.parquet"])
def test_marked_prompts_have_spans_by_name_in_every_format(name, tmp_path):
    table, _ = marked(tmp_path, {"label": [[6, 9], [0, 4]]}, name)
    assert list(table.columns) == ["id", "prompt", "answer", "spans"]
    assert table["spans"][0]["label"] == [[6, 9], [0, 4]]
    assert table["answer"][0] == " yes"
    # and as jobs read them back
    write_frame(tmp_path / "out.parquet", table, {})
    assert spans_of(read_frame(tmp_path / "out.parquet")["spans"][0]) == {"label": [(6, 9), (0, 4)]}


def test_spans_outside_the_prompt_are_left_out_and_counted(tmp_path):
    for spans in ([[6, 10]], [[3, 3]], [[0, 1], [-1, 2]], [[0, 99.0]]):
        _, report = marked(tmp_path, {"label": spans})
        assert report["dropped"] == {"marked span that is empty or outside the prompt": 1}
        assert report["unusable"] == {"marked span that is empty or outside the prompt": ["a"]}


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ({}, "field 'spans' is empty"),
        ({"label": []}, r"field 'spans' \(item label\) is empty"),
        ({"label": [[0]]}, r"field 'spans' \(item label\) holds \[0\]; it must be \{name: \[\[begin, end\]"),
        (
            {"label": [[0, 1, 2]]},
            r"field 'spans' \(item label\) holds \[0, 1, 2\]; it must be \{name: \[\[begin, end\]",
        ),
        ({"label": [["a", "b"]]}, r"field 'spans' \(item label\) holds \"a\"; it must be"),
        ({"label": 3}, r"field 'spans' \(item label\) holds 3; it must be"),
        ({"text": [[0, 1]]}, "a part named 'text': every prompt has a part of that name; call it otherwise"),
        ({"a b": [[0, 1]]}, "a part named 'a b': no option can name it"),
        ([[0, 1]], r"field 'spans' holds \[\[0, 1\]\]; it must be \{name"),
        ("label", "field 'spans' holds \"label\"; it must be"),
    ],
)
def test_spans_that_nothing_can_be_made_of_are_refused(spans, said, tmp_path):
    with pytest.raises(AtlasError, match=said):
        marked(tmp_path, spans)


def test_the_shipped_reviews_are_balanced_and_what_their_script_writes():
    folder = ROOT / "data" / "marked"
    specification = importlib.util.spec_from_file_location("build", folder / "build.py")
    build = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(build)
    assert (folder / "reviews.jsonl").read_text() == build.text()
    table, report = prepare("marked", {}, folder / "reviews.jsonl")
    assert report["dropped"] == {}
    shown = [
        [prompt[begin:end] for begin, end in spans["label"]]
        for prompt, spans in zip(table["prompt"], table["spans"], strict=True)
    ]
    orders = Counter((*labels, answer.strip()) for labels, answer in zip(shown, table["answer"], strict=True))
    assert set(orders.values()) == {2}
    assert len(orders) == 6 * 2
    sentences = [line for prompt in table["prompt"] for line in prompt.splitlines() if line.startswith("Review: ")]
    assert max(Counter(sentences).values()) <= 3
    for prompt in table["prompt"]:
        own = [line for line in prompt.splitlines() if line.startswith("Review: ")]
        assert len(set(own)) == len(own) == 5
