"""Accepted answers in generated text, word by word, and the words that carry content."""

import re
import string

import pytest

from atlas.analyses.saliency.words import content_words, find_alias, find_words, read_word_list, words
from atlas.errors import AtlasError
from places import ROOT


def benchmark_form(text):
    """How the evaluation scripts of TriviaQA compare answers, written anew."""
    spaced = "".join(" " if letter in set(string.punctuation + "‘’´`") else letter for letter in text.lower())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", spaced).split())


TEXTS = [
    "The Beatles", "a  Tale of\tTwo Cities!", "U.S.A.", "Campbell-Bannerman", "snake_case", "‘Til Tuesday", "1,000 men",
    "Hitchcock's Psycho", "an apple and the pear", "theatre", "", "¿Qué?", "İstanbul", "AC/DC",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_those_of_the_benchmarks(text):
    expected = benchmark_form(text.replace("¿", "?"))
    assert " ".join(re.sub(r"[\W_]", "", word.text) for word in words(text)) == re.sub(r"[^\w\s]", "", expected)
    for word in words(text):
        assert text[word.begin : word.end].lower() == word.text


# text, accepted answer, what is found of it (None: nothing)
FOUND = [
    ("It was Paris, France.", "paris", "Paris"),
    ("It was the City of Paris.", "the city of Paris!", "City of Paris"),
    ("Parisian", "Paris", None),
    ("Comparison", "Paris", None),
    ("Sir Henry Campbell-Bannerman", "Campbell Bannerman", "Campbell-Bannerman"),
    ("the U.S.", "U S", "U.S"),
    ("USA", "U.S.A.", None),
    ("Answer A", "A", None),
    ("A.", "A", "A"),
    ("The The", "The The", "The The"),
    ("Paris", "Paris Paris", None),
    ("big big city", "big city", "big city"),
    ("ÉTÉ", "été", "ÉTÉ"),
    ("42", "42.", "42"),
    ("anything", "?!", None),
    ("", "x", None),
]


@pytest.mark.parametrize(("text", "alias", "expected"), FOUND)
def test_an_accepted_answer_is_found_as_whole_words(text, alias, expected):
    span = find_words(text, alias)
    assert (None if span is None else text[slice(*span)]) == expected


def test_exact_allows_nothing_else():
    assert find_alias("The Paris.", ["paris"], "exact") == (4, 9)
    assert find_alias("In Paris", ["paris"], "exact") is None
    assert find_alias("In Paris", ["paris"], "contains") == (3, 8)
    assert find_alias("", ["paris"], "exact") is None


def test_the_first_and_longest_accepted_answer_counts():
    text = "Not Rome but New York City, New York"
    assert find_alias(text, ["New York", "City", "New York City"], "contains") == (13, 26)
    assert find_alias(text, ["York City", "rome"], "contains") == (4, 8)
    assert find_alias(text, ["Berlin"], "contains") is None


STOP = read_word_list(ROOT / "data" / "function_words.txt")

# question, its content words
CONTENT = [
    ("Which Lloyd Webber musical premiered in the US on 10th December 1993?",
     "Lloyd Webber musical premiered US 10th December 1993"),
    ("who wrote he ain't heavy he's my brother lyrics", "wrote heavy brother lyrics"),
    ("What is Hitchcock's film, don’t you know?", "Hitchcock film know"),
    ("Who sang with O'Brien of the WHO?", "sang O Brien WHO"),
    ("WHO IS IT", ""),
    ("What is it?", ""),
    ("Mr. T and plan B", "Mr plan B"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "expected"), CONTENT)
def test_content_words(question, expected):
    assert " ".join(question[begin:end] for begin, end in content_words(question, STOP)) == expected


def test_word_list_takes_comments_and_any_number_a_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# a comment\nThe of # more\n\nand\n")
    assert read_word_list(path) == {"the", "of", "and"}
    path.write_text("# nothing\n")
    with pytest.raises(AtlasError, match=r"words\.txt: it holds no word"):
        read_word_list(path)
    path.write_text("the\ndon't\n")
    with pytest.raises(AtlasError, match=r"words\.txt: \"don't\" is no single word"):
        read_word_list(path)
    path.write_text("什么\n")
    with pytest.raises(AtlasError, match="write its parts"):
        read_word_list(path)


def test_an_accepted_answer_that_cannot_be_read_is_no_answer():
    assert find_alias("\ue000\ue001 a", ["\ue000\ue001 a"], "exact") is None
