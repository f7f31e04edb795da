"""From answers to samples: who is right, who is chosen and with what weight, which tokens are exact; bad input."""

import json

import numpy as np
import pandas as pd
import pytest

from atlas.analyses.saliency.answer_tables import answers_table, dropped_table
from atlas.analyses.saliency.prompts import ask, ask_exact, exact_in, read_demonstrations
from atlas.analyses.saliency.samples import judge, sample_rows, select
from atlas.errors import AtlasError
from atlas.models.limits import Limits
from byte_tokenizer import prompter, tokenizer
from places import ROOT
from unlimited import ANY

SHOWN = [
    {"question": "Who is it", "answer": "Ann", "long_answer": "It is Ann."},
    {"question": "Where is it", "answer": "Rome", "long_answer": "In Rome, they say."},
]
TABLE = pd.DataFrame(
    {
        "id": ["right", "wrong", "spans", "demo", "stop", "blank", "wordless", "asked"],
        "question": ["who wrote emma", "what is red", "who is the king", "where IS it?", "who is it then", "my dog",
                     "plus sign", "iy"],
        "answers": [["Jane Austen", "Austen"], ["blood"], ["Charles"], ["x"], ["x"], ["x"], ["+"], ["y"]],
        "question_spans": [None, None, [[11, 15]], None, None, None, None, None],
    }
)  # fmt: skip
SAID = {
    "right": " It was Austen.",
    "wrong": " a sea of roses ",
    "spans": " 42",
    "stop": " no",
    "blank": " \t",
    "asked": " x",
}
STOP = frozenset(("who", "what", "is", "the", "it", "then"))


def asked_and_judged(bos=False, match="contains", prompt="few_shot", table=TABLE, said=SAID):
    tokens = tokenizer(bos=bos)
    asked, prefix, dropped = ask(prompter(tokens), table, SHOWN, prompt=prompt, limits=ANY, max_new_tokens=8)
    written = pd.DataFrame(
        {
            "number": [item.number for item in asked],
            "tokens": [tokens(said[table["id"][item.number]], add_special_tokens=False).input_ids for item in asked],
        }
    )
    judged, report = judge(tokens, table, asked, written, match=match, stop_words=STOP)
    return tokens, asked, prefix, dropped, judged, report


def samples(replies=None, **options):
    tokens, _, prefix, _, judged, _ = asked_and_judged(**options)
    chosen, weight = select([item.span is not None for item in judged], 4, 0)
    return tokens, sample_rows(judged, chosen, weight, replies or {}, TABLE, prefix, 0).set_index("sample", drop=False)


@pytest.mark.parametrize("prompt", ["few_shot", "chat"])
@pytest.mark.parametrize("bos", [False, True])
def test_exact_tokens_and_the_sequence_they_stand_in(bos, prompt):
    tokens, rows = samples({1: "roses"}, bos=bos, prompt=prompt)
    assert rows.index.tolist() == ["right", "wrong", "spans", "asked"]
    assert rows["correct"].tolist() == [True, False, False, False]

    def text(row, name):
        return tokens.decode([rows["ids"][row][i] for i in rows[name][row]])

    assert text("right", "answer_tokens") == "Austen"
    assert text("wrong", "answer_tokens") == "roses"
    assert text("spans", "answer_tokens") == "42"
    assert [text(row, "question_tokens") for row in rows.index] == ["wroteemma", "red", "king", "iy"]
    assert rows["question_strategy"].tolist() == ["content_words", "content_words", "spans", "content_words"]
    assert rows["answer_strategy"].tolist() == ["alias", "self_extraction", "whole_answer", "whole_answer"]
    assert rows["exact_answer"].tolist() == ["Austen", "roses", "42", "x"]
    assert rows["answer"].tolist() == ["It was Austen.", "a sea of roses", "42", "x"]
    prefixes = {tuple(ids[:prefix]) for ids, prefix in zip(rows["ids"], rows["prefix"], strict=True)}
    assert len(prefixes) == 1
    assert prefixes.pop()[:1] == (0,) if bos and prompt == "few_shot" else True
    for row in rows.itertuples():
        assert row.answer_tokens[-1] == len(row.ids) - 1
        assert row.prefix <= min(row.question_tokens)
        assert max(row.question_tokens) < row.answer_tokens[0]
        assert len(row.random_tokens) == len(row.question_tokens)
        assert row.random_overlap == len(set(row.random_tokens) & set(row.question_tokens))
    whole = tokens.decode(rows["ids"]["wrong"])
    assert ("where IS it" in whole) is False
    if prompt == "few_shot":
        assert whole.removeprefix("<s>") == (
            "Question: Who is it\nAnswer: Ann\n\nQuestion: Where is it\nAnswer: Rome\n\n"
            "Question: what is red\nAnswer: a sea of roses"
        )
    else:
        assert whole == (
            "<|user|>Who is it<|end|><|assistant|>Ann<|end|><|user|>Where is it<|end|><|assistant|>Rome<|end|>"
            "<|user|>what is red<|end|><|assistant|> a sea of roses"
        )


def test_everything_left_out_is_named():
    _, _, _, dropped, _, report = asked_and_judged()
    assert {reason: names for reason, names in dropped.items() if names} == {
        "question is a worked example": ["demo"],
        "no answer holds a word": ["wordless"],
    }
    assert {reason: names for reason, names in report["dropped"].items() if names} == {
        "empty answer": ["blank"],
        "no exact question token": ["stop"],
    }
    frame = dropped_table({**dropped, **report["dropped"]}, len(TABLE), {"model": "m", "dataset": "d"}, "b")
    assert frame.set_index("reason")["dropped"].sum() == 4
    assert frame.set_index("reason")["samples"]["empty answer"] == "blank"


def test_a_span_on_white_space_has_no_token_and_is_counted():
    table = TABLE.iloc[[2, 7]].reset_index(drop=True)
    table["question_spans"] = [[[3, 4], [11, 15]], [[0, 1]]]
    _, _, _, _, judged, report = asked_and_judged(table=table)
    assert report["lost_spans"] == 1
    assert len(judged) == 2
    table["question_spans"] = [[[3, 4]], [[0, 1]]]
    _, _, _, _, judged, report = asked_and_judged(table=table)
    assert report["dropped"]["no exact question token"] == ["spans"]


def test_prompts_beyond_the_context_are_left_out():
    tokens = tokenizer()
    _, _, dropped = ask(prompter(tokens), TABLE, SHOWN, prompt="few_shot", limits=ANY, max_new_tokens=8)
    asked, _, _ = ask(prompter(tokens), TABLE, SHOWN, prompt="few_shot", limits=ANY, max_new_tokens=8)
    longest = max(len(item.ids) for item in asked)
    _, _, dropped = ask(
        prompter(tokens), TABLE, SHOWN, prompt="few_shot", limits=Limits(longest + 7, 1 << 40), max_new_tokens=8
    )
    assert dropped["prompt longer than the context"]
    with pytest.raises(AtlasError, match=r"none of 8 questions can be asked \(.*6 prompt longer than the context\)"):
        ask(prompter(tokens), TABLE, SHOWN, prompt="few_shot", limits=Limits(20, 1 << 40), max_new_tokens=8)


def test_exact_means_the_whole_answer():
    _, _, _, _, judged, _ = asked_and_judged(match="exact")
    assert not any(item.span for item in judged)


def test_no_usable_answer_is_an_error():
    with pytest.raises(AtlasError, match=r"none of 1 answers can be used \(1 empty answer\)"):
        asked_and_judged(table=TABLE.iloc[[5]].reset_index(drop=True))


def test_answers_in_any_script_are_right_or_left_out():
    table = TABLE.iloc[:3].reset_index(drop=True).assign(answers=[["दिन"], ["Zoë"], ["北京"]])
    said = {"right": " यह दान है", "wrong": " Zoe\u0308!", "spans": " \ue000\ue001\ue002 a"}
    _, _, _, _, judged, report = asked_and_judged(table=table, said=said)
    assert [item.span is not None for item in judged] == [False, True]
    assert judged[1].text[slice(*judged[1].span)] == "Zoe\u0308"
    reason = "answer is a text of which less than half of the letters belong to words"
    assert report["dropped"][reason] == ["spans"]
    assert reason not in asked_and_judged()[-1]["dropped"], "a reason that nothing is dropped for has no row"


def test_the_model_is_asked_for_the_exact_answer_in_its_own_words():
    tokens, _, _, _, judged, _ = asked_and_judged()
    wrong = [item for item in judged if item.span is None]
    framing = {"limits": ANY, "max_new_tokens": 8}
    asked, prefix = ask_exact(prompter(tokens), wrong, TABLE, SHOWN, prompt="few_shot", **framing)
    written = tokens.decode(asked[0].ids)
    assert written.endswith("Question: what is red\nAnswer: a sea of roses\nExact answer:")
    assert "Question: Where is it\nAnswer: In Rome, they say.\nExact answer: Rome\n\n" in written
    assert {item.ids[:prefix] for item in asked} == {asked[0].ids[:prefix]}
    assert prefix > 100
    assert ask_exact(
        prompter(tokens), wrong, TABLE, SHOWN, prompt="few_shot", limits=Limits(9, 1 << 40), max_new_tokens=8
    ) == ([], 0)
    chat, _ = ask_exact(prompter(tokens), wrong, TABLE, SHOWN, prompt="chat", **framing)
    assert tokens.decode(chat[0].ids).endswith("\nAnswer: a sea of roses<|end|><|assistant|>")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(" roses\nmore", "roses"), ("The roses.", "roses"), ("tulips", None), ("", None), ("\n", None), ("!", None),
     ("sea of roses", "sea of roses"), ("rose", None)],
)  # fmt: skip
def test_a_reply_counts_if_it_stands_in_the_answer(reply, expected):
    span = exact_in("a sea of roses", reply)
    assert (None if span is None else "a sea of roses"[slice(*span)]) == expected


@pytest.mark.parametrize(
    ("right", "wrong", "samples", "expected"),
    [(25, 275, 150, (25, 125)), (0, 300, 150, (0, 150)), (300, 0, 150, (150, 0)), (20, 30, 150, (20, 30)),
     (112, 188, 150, (112, 38)), (200, 100, 150, (113, 37)), (140, 5, 150, (140, 5)), (200, 5, 150, (145, 5))],
)  # fmt: skip
def test_all_right_answers_and_drawn_wrong_ones_are_chosen(right, wrong, samples, expected):
    correct = np.array([True] * right + [False] * wrong)
    chosen, weight = select(correct, samples, 0)
    assert (chosen[correct].sum(), chosen[~correct].sum()) == expected
    assert (weight[~chosen] == 0).all()
    for kind in (correct, ~correct):
        if (chosen & kind).any():
            assert weight[kind].sum() == pytest.approx(kind.sum())
            assert len(set(weight[kind & chosen])) == 1
    again, _ = select(correct, samples, 0)
    assert (again == chosen).all()
    if wrong > expected[1] > 0:
        other, _ = select(correct, samples, 1)
        assert (other != chosen).any()


def test_every_wrong_answer_is_as_likely_to_be_chosen():
    correct = np.array([True] * 2 + [False] * 20)
    counts = sum(select(correct, 12, seed)[0].astype(int) for seed in range(1000))
    assert (counts[:2] == 1000).all()
    assert abs(counts[2:] - 500).max() < 80  # standard deviation 16


def test_what_was_not_chosen_has_no_exact_answer():
    tokens, _, prefix, _, judged, _ = asked_and_judged()
    chosen = np.array([False] * 4)
    rows = sample_rows(judged, chosen, np.zeros(4), {}, TABLE, prefix, 0)
    assert rows["answer_strategy"].tolist() == ["alias", "", "", ""]
    assert rows["answer_tokens"].map(len).tolist() == [6, 0, 0, 0]
    assert tokens.decode(rows["ids"][1]).endswith(" a sea of roses ")
    table = answers_table(rows, {"model": "m", "dataset": "d"}, "b")
    assert table["answer_tokens"].tolist() == [6, 0, 0, 0]


# what stands in the file -> what the message says
BAD = {
    "not json": ("{", r"demos\.jsonl line 1: not a worked example"),
    "no long answer": ('{"question": "q", "answer": "a"}', r"line 1: .*KeyError\('long_answer'\)"),
    "a number": ('{"question": "q", "answer": 3, "long_answer": "3"}', r"line 1: not a worked example"),
    "another answer": (
        json.dumps(SHOWN[0]) + "\n" + json.dumps(SHOWN[1] | {"answer": "Paris"}),
        r"line 2: long_answer does not hold the answer 'Paris'",
    ),
    "nothing": ("\n\n", "it holds no worked example"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_worked_examples(tmp_path, case):
    text, message = BAD[case]
    (tmp_path / "demos.jsonl").write_text(text)
    with pytest.raises(AtlasError, match=message):
        read_demonstrations(tmp_path / "demos.jsonl")


def test_shipped_worked_examples_can_be_read():
    assert len(read_demonstrations(ROOT / "data" / "qa_demonstrations.jsonl")) >= 5


def test_tokenizers_without_template_or_offsets_are_refused():
    tokens = tokenizer(template=None)
    with pytest.raises(AtlasError, match=r"analyses\.saliency\.prompt is chat, but .* no chat template"):
        ask(prompter(tokens), TABLE, SHOWN, prompt="chat", limits=ANY, max_new_tokens=8)
    with pytest.raises(AtlasError, match="changes the user's text"):
        ask(prompter(tokenizer(template="nothing")), TABLE, SHOWN, prompt="chat", limits=ANY, max_new_tokens=8)
