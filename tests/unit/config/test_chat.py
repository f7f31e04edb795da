"""What chat templates are given: one day for all models, values for single ones, and nothing that is without effect."""

import pytest

from atlas.errors import AtlasError
from configurations import check

THINKING = "chat_template_kwargs: {enable_thinking: false}"


def values(text):
    return {key: entry["chat_template_kwargs"] for key, entry in check(text)["models"].items()}


def test_the_day_is_a_constant_and_may_be_written_with_or_without_quotes():
    assert check("{}")["chat_date"] == "2024-07-26"
    for text in ("'2025-01-02'", "2025-01-02"):
        assert check(f"chat_date: {text}")["chat_date"] == "2025-01-02"


@pytest.mark.parametrize("text", ["today", "'2025-02-30'", "2025-1-2", "20250102", "2025-01-02 10:00:00", "5", "null"])
def test_what_is_no_day_is_refused(text):
    with pytest.raises(AtlasError, match="chat_date"):
        check(f"chat_date: {text}")


def test_a_control_is_asked_in_the_words_of_its_base_unless_it_has_its_own():
    assert values("{}") == {"tiny": {}, "tiny-shuffled": {}}
    given = {"enable_thinking": False}
    assert values(f"models: {{tiny: {{{THINKING}}}}}") == {"tiny": given, "tiny-shuffled": given}
    own = f"models: {{tiny: {{{THINKING}}}, tiny-shuffled: {{chat_template_kwargs: {{}}}}}}"
    assert values(own) == {"tiny": given, "tiny-shuffled": {}}
    chain = "again: {source: {control: {of: tiny-shuffled, kind: shuffled, seed: 1}}}"
    assert values(f"models: {{{chain}, tiny: {{{THINKING}}}}}")["again"] == given


def test_a_day_among_the_values_is_text():
    assert values("models: {tiny: {chat_template_kwargs: {date_string: 2025-01-02}}}")["tiny"] == {
        "date_string": "2025-01-02"
    }


@pytest.mark.parametrize("name", ["tokenize", "add_generation_prompt", "messages", "chat_template"])
def test_what_the_workflow_says_itself_cannot_be_set(name):
    with pytest.raises(AtlasError, match=rf"models\.tiny\.chat_template_kwargs: '{name}' is set by the workflow"):
        check(f"models: {{tiny: {{chat_template_kwargs: {{{name}: true}}}}}}")


@pytest.mark.parametrize("value", ["text", "[a]", "3"])
def test_values_are_a_mapping(value):
    with pytest.raises(AtlasError, match=r"models\.tiny\.chat_template_kwargs: .* is not a mapping of values"):
        check(f"models: {{tiny: {{chat_template_kwargs: {value}}}}}")


def test_values_that_nothing_reads_are_noted():
    given = f"models: {{tiny: {{{THINKING}}}}}"
    assert check(f"{{{given}}}")["notes"] == []
    notes = check(f"{{{given}, only: [sinks]}}")["notes"]
    assert any("models.tiny.chat_template_kwargs: no analysis here uses" in note for note in notes)
