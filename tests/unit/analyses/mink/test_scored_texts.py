"""Which tokens of a text are scored: context, chat template and beginning-of-sequence tokens are not."""

import pytest

from atlas.analyses.mink.scored_texts import chat_prompt, scored_texts, text_rows
from atlas.errors import AtlasError
from atlas.models.limits import LONG, UNKNOWN
from byte_tokenizer import CHAT, prompter, tokenizer
from unlimited import ANY

ROW = {"number": 4, "question": "who am i", "answer": "you are bob", "prediction": None}


def only(tokens, text, **options):
    settings = {"template": "chat", "system": None, "max_tokens": 500, **options}
    found, report = scored_texts(prompter(tokens), [ROW], text, **settings, limits=ANY)
    assert report["texts"] == 1
    return found[0]


def scored(tokens, sequence):
    return tokens.decode([i for i, s in zip(sequence.ids, sequence.scored, strict=True) if s])


def context(tokens, sequence):
    return tokens.decode([i for i, s in zip(sequence.ids, sequence.scored, strict=True) if not s])


@pytest.mark.parametrize(
    ("text", "expected", "unscored"),
    [
        ("answer", "you are bob", "<|user|>who am i<|end|><|assistant|>"),
        ("question", "who am i", "<|user|>"),
        ("question_answer", "who am iyou are bob", "<|user|><|end|><|assistant|>"),
    ],
)
def test_chat_scores_the_text_and_none_of_the_template(text, expected, unscored):
    tokens = tokenizer()
    sequence = only(tokens, text)
    assert scored(tokens, sequence) == expected
    assert context(tokens, sequence) == unscored


def test_a_system_message_is_context():
    tokens = tokenizer()
    sequence = only(tokens, "answer", system="be brief")
    assert context(tokens, sequence) == "<|system|>be brief<|end|><|user|>who am i<|end|><|assistant|>"
    assert scored(tokens, sequence) == "you are bob"


@pytest.mark.parametrize("eos", [False, True])
def test_beginning_of_sequence_stands_once_and_end_of_sequence_not_at_all(eos):
    tokens = tokenizer(bos=True, eos=eos)
    raw = only(tokens, "answer", template="raw")
    assert list(raw.ids).count(0) == 1
    assert raw.ids[0] == 0
    assert not raw.scored[0]
    assert 1 not in raw.ids
    assert scored(tokens, raw) == "you are bob"
    # the template writes none here, and the tokenizer must not add one of its own to it
    assert 0 not in only(tokens, "answer").ids
    doubled = tokenizer(bos=True, eos=eos, template="<s>" + CHAT)
    assert list(only(doubled, "answer").ids).count(0) == 1


def test_with_a_first_token_in_front_all_of_a_raw_question_is_scored_and_without_none_precedes_it():
    tokens = tokenizer(bos=True)
    assert scored(tokens, only(tokens, "question", template="raw")) == "who am i"
    assert only(tokenizer(), "question", template="raw").scored == (True,) * 8  # the first has no score: extraction


def test_a_token_across_the_border_belongs_to_what_follows():
    tokens = tokenizer(template="{% for m in messages %}{{ m.content }}{% endfor %}")
    sequence = only(tokens, "answer")
    assert scored(tokens, sequence) == "iyou are bob"
    assert tokens.decode(sequence.ids) == "who am iyou are bob"


def test_generation_starts_from_the_context_of_the_answer():
    tokens = tokenizer()
    prompt = chat_prompt(prompter(tokens), ROW["question"], template="chat", system=None)
    sequence = only(tokens, "answer")
    assert tuple(prompt) == tuple(i for i, s in zip(sequence.ids, sequence.scored, strict=True) if not s)


def test_dropped_texts_are_counted_by_reason():
    tokens = tokenizer()
    rows = [ROW, {**ROW, "number": 5, "answer": "bob " * 200}]
    found, report = scored_texts(
        prompter(tokens), rows, "answer", template="chat", system=None, max_tokens=100, limits=ANY
    )
    assert [sequence.number for sequence in found] == [4]
    assert report["dropped"] == {
        "no answer": 0, "longer than max_tokens": 1, LONG: 0, UNKNOWN: 0, "no scored token": 0,
    }  # fmt: skip
    with pytest.raises(AtlasError, match="2 no prediction"):
        scored_texts(prompter(tokens), rows, "prediction", template="chat", system=None, max_tokens=100, limits=ANY)
    written = [{**row, "prediction": "" if row["number"] == 4 else "bo"} for row in rows]
    _, report = scored_texts(
        prompter(tokens), written, "prediction", template="chat", system=None, max_tokens=100, limits=ANY
    )
    assert report["dropped"]["no scored token"] == 1


def test_templates_that_cannot_be_used_are_named():
    tokens = tokenizer(template=None)
    with pytest.raises(
        AtlasError, match=r"no chat template; write models: \{m: \{options: \{mink: \{template: raw\}\}\}\}\."
    ):
        only(tokens, "answer")
    with pytest.raises(AtlasError, match="changes the user's text"):
        only(tokenizer(template="{{ messages[0].content | upper | replace('Q', '') }}"), "answer")


def test_rows_take_predictions_by_number():
    import pandas as pd

    table = pd.DataFrame({"question": ["a", "b"], "answer": ["c", "d"]})
    rows = text_rows(table, pd.DataFrame({"number": [1], "prediction": ["e"]}))
    assert [row["prediction"] for row in rows] == [None, "e"]
