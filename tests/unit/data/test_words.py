"""Words of any script, and the one form in which texts are compared."""

import random
import sys
import unicodedata
from functools import cache

import pytest

from atlas.analyses.mink.judges.reference import reference_scores, refused
from atlas.analyses.saliency.words import find_alias
from atlas.data.words import NO_WORD, UNREAD, find_words, fold, unread

SENTENCES = {
    "Chinese": "北京是中国的首都。",
    "Japanese": "東京は日本のメトロポリスです。",
    "Hindi": "दिल्ली भारत की राजधानी है।",
    "Russian": "Москва — столица России.",
    "Greek": "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "Arabic": "القاهرة هي عاصمة مصر",
    "Hebrew": "ירושלים היא עיר",
    "Thai": "กรุงเทพเป็นเมืองหลวง",
    "Korean": "서울은 대한민국의 수도이다",
    "Tamil": "சென்னை ஒரு நகரம்",
    "Georgian": "თბილისი არის დედაქალაქი",
    "Vietnamese": "Hà Nội là thủ đô của Việt Nam",
    "Burmese": "နေပြည်တော်",
    "Persian": "می\u200cخواهم به تهران بروم",
    "German": "Die Straße nach Köln",
    "Amharic": "አዲስ አበባ",
}
# Both are compared in the same place; a rule that drops what tells them apart takes one for the other.
DIFFERENT = [
    ("दान", "दिन"), ("Müller", "Möller"), ("Müller", "Muller"), ("北京", "東京"), ("ลูก", "ลก"), ("καλή", "καλά"),
    ("не", "нё"), ("10²", "102"), ("かき", "がき"), ("インド", "インドネシア"), ("שָׁלוֹם", "שִׁלוֹם"), ("มา", "ม้า"),
]  # fmt: skip
SAME = [
    ("Cafe\u0301", "CAFÉ"), ("が", "か\u3099"), ("각", "\u1100\u1161\u11a8"), ("ＡＢＣ１", "abc1"), ("ｶﾞｽ", "ガス"),
    ("ΣΊΣΥΦΟΣ", "Σίσυφος"), ("STRASSE", "Straße"), ("co\u00adoperate", "cooperate"), ("ﬁn", "fin"),
]  # fmt: skip


def score(gold, answer):
    return float(reference_scores([("question", gold, answer)])[0])


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_an_identical_answer_has_the_highest_score_in_every_script(text):
    assert score(text, text) == 5
    assert find_alias(text, [text], "exact") is not None
    assert unread(text) is None


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_other_letters_are_another_word(first, second):
    assert fold(first) != fold(second)
    assert [word.text for word in find_words(first)] != [word.text for word in find_words(second)]
    assert find_alias(second, [first], "exact") is None
    assert find_alias(f"«{second}».", [first], "contains") is None
    assert score(first, second) < 5


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_same_letters_in_another_encoding_are_the_same_word(first, second):
    assert fold(first) == fold(second)
    assert score(first, second) == 5
    assert find_alias(f"({second})", [first], "contains") is not None


WORDS = [
    ("北京2020年", ["北", "京", "2020", "年"]),
    ("コンピューターの本", ["コンピューター", "の", "本"]),
    ("दिन, दान", ["दिन", "दान"]),
    ("don't 3.14 snake_case A-b", ["don", "t", "3", "14", "snake", "case", "a", "b"]),
    ("a ≠ b", ["a", "b"]),
    ("a =\u0338 b", ["a", "b"]),
    ("한국어 텍스트", ["한국어", "텍스트"]),
    ("\u0301 \u200d!", []),
]


@pytest.mark.parametrize(("text", "expected"), WORDS)
def test_words_of_a_text(text, expected):
    assert [word.text for word in find_words(text)] == expected


def test_words_in_ascii_are_those_of_the_published_metric():
    from rouge_score import rouge_scorer

    published, draw = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True), random.Random(0)
    letters = [*map(chr, range(32, 127)), " ", " ", "e", "s", "ing ", "ies ", "\n", "\t"]
    for _ in range(300):
        gold, answer = ("".join(draw.choices(letters, k=draw.randint(1, 80))) for _ in range(2))
        if refused(gold, answer) is None:
            assert score(gold, answer) == 1 + 4 * published.score(gold, answer)["rougeL"].fmeasure
        else:
            assert not any(map(str.isalnum, gold))


@cache
def _alphabet(script):
    """Letters and marks of one block of 128 code points, as far as Unicode names them."""
    found = [chr(code) for code in range(script * 128, script * 128 + 128)]
    named = [letter for letter in found if unicodedata.category(letter)[0] in "LMN"]
    return [letter for letter in named if fold(letter)]


def _texts(count, seed):
    """Texts of words in one or two scripts, with marks behind letters, and what may stand between words."""
    draw = random.Random(seed)
    blocks = [block for block in range(sys.maxunicode // 128) if any(letter.isalpha() for letter in _alphabet(block))]
    between = [" ", ", ", " — ", "。", "\u3000", "-", "\n", " «", "!", "\u060c "]
    for _ in range(count):
        words = []
        for block in draw.choices(draw.sample(blocks, 2), k=draw.randint(1, 6)):
            first = draw.choice([letter for letter in _alphabet(block) if letter.isalpha()])
            words.append(first + "".join(draw.choices(_alphabet(block), k=draw.randint(0, 5))))
        yield "".join(word + draw.choice(between) for word in words)


def test_whatever_the_text_an_identical_answer_is_right():
    for text in _texts(2000, 0):
        assert unread(text) is None, ascii(text)
        assert score(text, text) == 5, ascii(text)
        assert find_alias(text, [text], "exact") is not None, ascii(text)


def test_whatever_the_text_its_encoding_and_case_do_not_count():
    for text in _texts(2000, 1):
        told = [word.text for word in find_words(text)]
        for form in ("NFC", "NFD"):
            assert [word.text for word in find_words(unicodedata.normalize(form, text))] == told, ascii(text)
        if "\u0131" in text:  # the dotless i, whose capital is that of the other i
            continue
        for case in (text.upper(), text.lower(), text.casefold()):
            assert "".join(word.text for word in find_words(case)) == "".join(told), ascii(text)


def test_whatever_the_text_another_letter_makes_it_another_one():
    draw = random.Random(2)
    for text in _texts(2000, 2):
        places = [place for place, letter in enumerate(text) if unicodedata.category(letter)[0] in "LMN"]
        place = draw.choice(places)
        other = draw.choice(_alphabet(ord(text[place]) // 128))
        changed = text[:place] + other + text[place + 1 :]
        if fold(changed) == fold(text):  # the same letter, or its capital
            continue
        assert [word.text for word in find_words(changed)] != [word.text for word in find_words(text)], ascii(text)
        assert find_alias(changed, [text], "exact") is None, ascii(text)


@pytest.mark.parametrize(
    ("text", "reason"), [("🍎", NO_WORD), ("?!", NO_WORD), ("\ue000\ue001 a", UNREAD), ("", NO_WORD)]
)
def test_a_text_of_which_too_little_is_read_gets_no_score(text, reason):
    assert unread(text) == reason
    assert score(text, text) != score(text, text), "NaN"
    assert reason in refused(text, text)


def test_an_answer_of_which_too_little_is_read_gets_no_score_and_one_without_words_is_wrong():
    assert score("Paris", "") == score("Paris", "🍎") == 1
    assert refused("Paris", "\ue000\ue001") is not None
