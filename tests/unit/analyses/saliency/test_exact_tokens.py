"""Characters to tokens: prompts by offsets against decoding, and answers that stay the tokens that were generated."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from atlas.analyses.saliency.exact_tokens import (
    inked,
    overlapping,
    question_spans,
    random_tokens,
    tokens_of,
    written_places,
)
from atlas.analyses.saliency.prompts import ask, place
from byte_tokenizer import prompter
from unlimited import ANY

TEXT = (
    "Question: Who wrote the tale of two cities?\nAnswer: Charles Dickens\n\n"
    "Question: Where is the café of my sister?\nAnswer: Paris\n\n"
    "who is the queen of the sea? what is the name of the dog? 東京 is a city. naïve 🙂 words\n"
) * 3
SHOWN = [{"question": "Who is it", "answer": "Ann", "long_answer": "It is Ann."}]
QUESTIONS = [
    "Who wrote the tale of two cities?",
    "  where is the café  of my sister",
    "東京 is the name of a dog?\n",
    "naïve 🙂 words of the sea",
    "x",
]


def trained(kind, merges_across_words):
    """A tokenizer learnt from TEXT; with merges_across_words tokens reach over spaces, colons and line breaks."""
    if kind == "byte_level":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not merges_across_words)
        inner.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        inner = Tokenizer(models.BPE(byte_fallback=True))
        if merges_across_words:
            inner.normalizer = normalizers.Replace(" ", "▁")
            inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        else:
            inner.pre_tokenizer = pre_tokenizers.Metaspace()
            inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
        alphabet = []
    specials = ["<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))] if kind == "metaspace" else ["<s>", "</s>"]
    inner.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=700, special_tokens=specials, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


KINDS = [(kind, across) for kind in ("byte_level", "metaspace") for across in (False, True)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda pair: "_".join(map(str, pair)))
def tokenizer(request):
    return trained(*request.param)


def characters(tokenizer, ids):
    """For each character of the decoded text the tokens that it needs: where the shortest beginning that shows it ends.

    Written anew: by the text of every stretch of tokens instead of offsets or beginnings.
    """
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    owners = [set() for _ in text]
    for token in range(len(ids)):
        left, right = tokenizer.decode(ids[:token]), tokenizer.decode(ids[: token + 1])
        start = len(left.rstrip("\ufffd"))
        end = len(right) if not right.endswith("\ufffd") else len(right.rstrip("\ufffd")) + 1
        for character in range(start, min(end, len(text))):
            owners[character].add(token)
    return text, owners


def question_of(tokenizer, question):
    table = {"id": ["a"], "question": [question], "answers": [["x"]]}
    asked, prefix, _ = ask(prompter(tokenizer), table, SHOWN, prompt="few_shot", limits=ANY, max_new_tokens=4)
    return asked[0], prefix


@pytest.mark.parametrize("question", QUESTIONS)
def test_prompt_tokens_by_offsets_are_those_by_decoding(tokenizer, question):
    asked, prefix = question_of(tokenizer, question)
    text, owners = characters(tokenizer, list(asked.ids))
    start = text.rindex(question)
    for begin in range(len(question)):
        if not question[begin].isspace():
            assert set(overlapping(asked.places, [(begin, begin + 1)])) == owners[start + begin]
    first = min(owners[start + len(question) - len(question.lstrip())])
    assert 0 < prefix <= first


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_span_has_the_tokens_of_its_visible_characters(tokenizer, question):
    """Also where it ends in the space that the next word's token begins with."""
    asked, _ = question_of(tokenizer, question)
    text, owners = characters(tokenizer, list(asked.ids))
    start = text.rindex(question)
    for begin in range(len(question)):
        for end in range(begin + 1, len(question) + 1):
            visible = [i for i in range(begin, end) if not question[i].isspace()]
            expected = sorted(set().union(*(owners[start + i] for i in visible)))
            assert tokens_of(question, asked.places, (begin, end)) == expected


def test_a_token_across_the_border_counts_and_ends_the_shared_beginning():
    byte_level = trained("byte_level", True)
    frame = ("Question: ", "\nAnswer:", True)
    asked = place(byte_level, 0, "Who wrote it", frame)
    border = asked.ids[overlapping(asked.places, [(0, 1)])[0]]
    assert byte_level.decode([border]).startswith("Question: W")  # merged with the words before it
    assert overlapping(asked.places, [(0, 3)])[0] == 0


@pytest.mark.parametrize("text", [TEXT[:90], " Charles Dickens", "café", "東京 and 🙂🙂!", "naïve\n", "a"])
def test_generated_tokens_know_their_characters(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    decoded, places = written_places(tokenizer, ids)
    whole, owners = characters(tokenizer, ids)
    assert decoded == whole
    for character in range(len(decoded)):
        assert set(overlapping(places, [(character, character + 1)])) == owners[character]


def test_generated_tokens_are_not_tokenised_anew():
    byte_level = trained("byte_level", False)
    letters = [byte_level.convert_tokens_to_ids(letter) for letter in "Paris"]
    assert byte_level("Paris", add_special_tokens=False).input_ids != letters
    assert written_places(byte_level, letters) == ("Paris", [(i, i + 1) for i in range(5)])


def test_an_answer_cut_off_inside_a_character_keeps_its_other_places():
    byte_level = trained("byte_level", False)
    ids = [
        byte_level.convert_tokens_to_ids(token) for token in ("h", "i", "ð", "Ł")
    ]  # two of the four bytes of a smile
    text, places = written_places(byte_level, ids)
    assert text.startswith("hi\ufffd")
    assert places[:2] == [(0, 1), (1, 2)]
    assert written_places(byte_level, []) == ("", [])


def test_text_that_changes_as_it_grows_has_no_places():
    inner = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<unk>": 2}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "c")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    assert written_places(tokenizer, [0, 1]) == ("c", None)


def test_white_space_is_no_token_of_a_question():
    assert inked("a  b", [(0, 1), (1, 3), (2, 4), (0, 0)]) == [0, 2]


def test_spans_of_the_data_set_go_before_content_words():
    stop = frozenset({"the"})
    assert question_spans("the red dog", None, stop) == ([(4, 7), (8, 11)], "content_words")
    assert question_spans("the red dog", [], stop) == ([(4, 7), (8, 11)], "content_words")
    assert question_spans("the red dog", [[0, 3]], stop) == ([(0, 3)], "spans")


def test_random_tokens_are_drawn_from_the_whole_question_with_the_same_seed_for_all():
    tokens = list(range(10, 30))
    drawn = random_tokens(tokens, 5, 3, 17)
    assert drawn == random_tokens(tokens, 5, 3, 17) == sorted(set(drawn))
    assert len(drawn) == 5
    assert set(drawn) <= set(tokens)
    assert drawn != random_tokens(tokens, 5, 3, 18)
    assert random_tokens(tokens, 20, 3, 17) == tokens
    counts = dict.fromkeys(tokens, 0)
    for number in range(2000):
        for token in random_tokens(tokens, 5, random.Random(0).randrange(9), number):
            counts[token] += 1
    assert all(abs(count - 500) < 100 for count in counts.values())  # standard deviation 19
