"""From a qa data set to answers with exact tokens: the files, the tables, what runs again after a change, bad input."""

import numpy as np
import pandas as pd
import pytest

SAMPLES = "results/activations/tiny/qa_samples/trivia.parquet"
MODEL_RULES = {"generate_qa_answers", "extract_exact_answers"}
TABLES = [f"results/tables/{name}.parquet" for name in ("qa_answers", "qa_dropped")]


def change(project, **options):
    project.configure(lambda config: config["analyses"]["saliency"].update(options))


def answered(project, *arguments):
    process = project.run(*(arguments or [SAMPLES]))
    assert process.returncode == 0, process.stdout
    return pd.read_parquet(project.folder / SAMPLES)


def test_samples_hold_what_saliency_needs(finished):
    rows = pd.read_parquet(finished.folder / SAMPLES)
    assert len(rows) == 39  # one question has no content word
    assert 5 < rows["correct"].sum() < 20
    assert rows["chosen"].sum() == 30
    assert rows.loc[rows["correct"], "chosen"].all()
    assert rows["weight"].groupby(rows["correct"]).sum().tolist() == [(~rows["correct"]).sum(), rows["correct"].sum()]
    assert rows["prefix"].nunique() == 1
    prefix = rows["prefix"][0]
    assert len({tuple(ids[:prefix]) for ids in rows["ids"]}) == 1
    assert len({ids[prefix] for ids in rows["ids"]}) > 10
    words = ["<unk>", "<s>", "</s>", *[f"w{i}" for i in range(196)]]
    for row in rows[rows["chosen"]].itertuples():
        text = [words[token] for token in row.ids]
        assert [text[i] for i in row.answer_tokens] == row.answer.split()[: len(row.answer_tokens)] or row.correct
        expected = row.question.split()[:1] if row.question_strategy == "spans" else row.question.split()
        assert [text[i] for i in row.question_tokens] == expected
        assert row.answer_tokens[-1] == len(row.ids) - 1
    assert set(rows["question_strategy"]) == {"spans", "content_words"}
    assert not list((finished.folder / "results" / "activations").rglob("*.jsonl"))  # the journals are gone


def test_tables(finished):
    answers = pd.read_parquet(finished.folder / TABLES[0])
    assert answers.groupby("model").size().tolist() == [39, 39]
    trained, control = (part.drop(columns="model").reset_index(drop=True) for _, part in answers.groupby("model"))
    pd.testing.assert_frame_equal(trained, control)
    assert set(answers["answers_from"]) == {"tiny"}
    accepted = pd.read_parquet(finished.folder / "results/datasets/trivia.parquet").set_index("id")["answers"]
    for row in trained.itertuples():
        assert row.correct == bool(set(row.answer.split()) & set(accepted[row.sample]))
    dropped = pd.read_parquet(finished.folder / TABLES[1])
    found = dropped[(dropped["model"] == "tiny") & (dropped["dropped"] > 0)]
    assert found[["reason", "dropped", "samples", "questions"]].values.tolist() == [
        ["no exact question token", 1, "t1", 40]
    ]


@pytest.mark.parametrize(
    ("option", "rules"),
    [
        ({"samples": 20}, {"extract_exact_answers"}),
        ({"match": "exact"}, {"extract_exact_answers"}),
        ({"max_new_tokens": 6}, MODEL_RULES),
        ({"prompt": "chat"}, MODEL_RULES),
    ],
)
def test_only_what_an_option_bears_on_runs_again(project, option, rules):
    change(project, **option)
    assert MODEL_RULES & set(project.planned(*TABLES)) == rules


def test_shards_and_batches_change_no_answer(project):
    before = pd.read_parquet(project.folder / SAMPLES)
    change(project, shards=3, batch_size=5)
    pd.testing.assert_frame_equal(answered(project), before)


def test_chat_and_no_self_extraction(project):
    change(project, prompt="chat", self_extraction=False, samples=12)
    rows = answered(project)
    assert set(rows.loc[rows["chosen"] & ~rows["correct"], "answer_strategy"]) == {"whole_answer"}
    assert np.isin(rows["answer_strategy"], ["alias", "whole_answer", ""]).all()
    assert rows["chosen"].sum() == 12


def test_questions_that_cannot_be_used_are_named_in_the_table(project):
    project.edit("tiny/trivia.jsonl", '"question_spans": [[0, 3]]', '"question_spans": [[0, 300]]')
    project.run(TABLES[1])
    dropped = pd.read_parquet(project.folder / TABLES[1]).set_index(["model", "reason"])
    row = dropped.loc["tiny", "question span that is empty or outside the question"]
    assert row["dropped"] == len(row["samples"].split(";")) > 0


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tiny/demonstrations.jsonl", "{}\n", ["tiny/demonstrations.jsonl line 1", "question"]),
        ("tiny/demonstrations.jsonl", "", ["tiny/demonstrations.jsonl", "no worked example"]),
    ],
)
def test_bad_worked_examples_are_one_sentence(project, name, text, words):
    project.write(name, text)
    process = project.run(SAMPLES)
    assert process.returncode != 0
    for word in words:
        assert word in process.stdout
    assert "Traceback" not in process.stdout


def test_a_file_of_worked_examples_that_is_not_there(fresh_shared):
    process = fresh_shared.run("-n", SAMPLES, "--config", "analyses={saliency: {demonstrations: nowhere.jsonl}}")
    assert process.returncode != 0
    assert "nowhere.jsonl" in process.stdout
