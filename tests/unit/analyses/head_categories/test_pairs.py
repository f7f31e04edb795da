"""Which pairs of a relation are single tokens, under tokenizers of both conventions for spaces."""

import pandas as pd
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from atlas.analyses.head_categories.pairs import REASONS, needs_leading_space, single_token_pairs
from atlas.analyses.head_categories.relation_names import check_names
from atlas.errors import AtlasError
from unlimited import ANY

WORDS = ["the", "and", "time", "house", "people", "world", "France", "Paris", "Peru", "Lima", "big", "bigger"]


def unigram(words, dummy_prefix):
    """SentencePiece-like: a piece for every word with a leading marker, and single characters."""
    characters = sorted(set("".join(WORDS)) | {"▁", "x"})
    pieces = [("<unk>", 0.0), *(("▁" + word, -1.0) for word in words), *((c, -9.0) for c in characters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    steps = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *steps] if dummy_prefix else steps)
    return tokenizer


def byte_level(words):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(alphabet)}
    merges = []

    def grow(text):
        for end in range(2, len(text) + 1):
            if text[:end] not in vocabulary:
                vocabulary[text[:end]] = len(vocabulary)
                merges.append((text[: end - 1], text[end - 1]))

    for word in words:
        grow("Ġ" + word)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def frame(*rows):
    return pd.DataFrame(rows, columns=["relation", "category", "source", "target"])


PAIRS = frame(
    ("capital", "Knowledge", "France", "Paris"),
    ("capital", "Knowledge", "Peru", "Lima"),
    ("capital", "Knowledge", "xx", "Lima"),
    ("larger", "Linguistic", "big", "bigger"),
    ("larger", "Linguistic", "time", "xx"),
)


MANY = frame(*(("copying", "Algorithmic", word, word) for word in WORDS))


def chosen(words, choice, minimum=1):
    pairs, report = single_token_pairs(MANY, byte_level(words), ANY, minimum=minimum, choice=choice)
    assert len(pairs) == report["scored"].sum()
    return pairs["source"].tolist(), report.iloc[0]


def test_pairs_are_sampled_of_those_that_the_tokenizer_leaves():
    """Sampled before, a model that knows 6 of 12 words would keep about 2 of 4, and perhaps not the relation."""
    choice = {"sample": {"n": 4, "seed": 0}, "limit": None}
    few, report = chosen(WORDS[::2], choice, minimum=6)
    assert len(few) == 4
    assert (report["given"], report["kept"], report["scored"], report["used"]) == (12, 6, 4, True)
    assert few == sorted(few, key=WORDS.index), "in the order of the file"
    every, report = chosen(WORDS, choice, minimum=6)
    assert (report["kept"], report["scored"]) == (12, 4)
    assert chosen(WORDS, choice)[0] == every
    assert len({tuple(chosen(WORDS, {"sample": {"n": 4, "seed": seed}})[0]) for seed in range(5)}) > 1


def test_two_models_share_the_pairs_that_both_have_left():
    choice = {"sample": {"n": 5, "seed": 1}}
    every, _ = chosen(WORDS, choice)
    without = next(word for word in WORDS if word not in every)
    assert chosen([word for word in WORDS if word != without], choice)[0] == every
    lost = every[2]
    assert set(every) - {lost} < set(chosen([word for word in WORDS if word != lost], choice)[0])


def test_limit_takes_the_first_that_are_left_and_all_where_there_are_fewer():
    assert chosen(WORDS[3:], {"limit": 2})[0] == WORDS[3:5]
    assert chosen(WORDS[3:], {"limit": 50})[0] == WORDS[3:]
    assert chosen(WORDS[3:], {"sample": {"n": 12, "seed": 0}})[0] == WORDS[3:]
    assert chosen(WORDS[3:], {"limit": 2}, minimum=10)[1][["scored", "used"]].tolist() == [0, False]


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [(byte_level(WORDS), True), (unigram(WORDS, True), False), (unigram(WORDS, False), True)],
    ids=["byte-level", "sentencepiece with dummy prefix", "sentencepiece without"],
)
def test_leading_space_follows_the_tokenizer(tokenizer, expected):
    assert needs_leading_space(tokenizer) is expected
    assert needs_leading_space(tokenizer, "always") is True
    assert needs_leading_space(tokenizer, "never") is False
    kept, report = single_token_pairs(PAIRS, tokenizer, ANY, minimum=1)
    assert list(kept["target"]) == ["Paris", "Lima", "bigger"]
    wrong, _ = single_token_pairs(PAIRS, tokenizer, ANY, minimum=1, leading_space="never" if expected else "always")
    assert not len(wrong)
    assert report["kept"].tolist() == [2, 1]


def test_ids_are_those_of_the_words_and_no_special_token_counts():
    backend = byte_level(WORDS)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    kept, _ = single_token_pairs(PAIRS, tokenizer, ANY, minimum=1)
    assert kept["source_id"].tolist() == [backend.token_to_id("Ġ" + word) for word in ("France", "Peru", "big")]
    assert kept["target_id"].tolist() == [backend.token_to_id("Ġ" + word) for word in ("Paris", "Lima", "bigger")]
    pd.testing.assert_frame_equal(kept, single_token_pairs(PAIRS, backend, ANY, minimum=1)[0])


def test_report_counts_every_pair_once_and_says_why():
    pairs = pd.concat([PAIRS, PAIRS.iloc[:1], PAIRS.iloc[:1].assign(relation="larger", category="Linguistic")])
    kept, report = single_token_pairs(pairs, byte_level(WORDS), ANY, minimum=2)
    report = report.set_index("relation")
    assert report.loc["capital", ["given", "kept", "source_split", "target_split", "duplicate"]].tolist() == [
        4,
        2,
        1,
        0,
        1,
    ]
    assert report.loc["larger", ["given", "kept", "source_split", "target_split", "duplicate"]].tolist() == [
        3,
        2,
        0,
        1,
        0,
    ]
    assert (report["given"] == report["kept"] + report[list(REASONS)].sum(axis=1)).all()
    assert report["used"].all()
    assert len(kept) == 4


def test_short_relations_are_dropped_and_counted():
    kept, report = single_token_pairs(PAIRS, byte_level(WORDS), ANY, minimum=2)
    assert set(kept["relation"]) == {"capital"}
    assert report["used"].tolist() == [True, False]
    assert report["dropped"].tolist() == ["", "1 of 2 pairs are single tokens, fewer than 2"]


def test_a_tokenizer_that_empties_everything_gives_an_empty_table():
    kept, report = single_token_pairs(PAIRS, byte_level([]), ANY, minimum=1)
    assert len(kept) == 0
    assert kept["source_id"].dtype == "int64"
    assert report["kept"].tolist() == [0, 0]


def test_the_unknown_token_is_no_word():
    pairs = frame(("capital", "Knowledge", "France", "Ω"), ("capital", "Knowledge", "Ω", "Paris"))
    for tokenizer in (
        unigram(WORDS, True),
        PreTrainedTokenizerFast(tokenizer_object=unigram(WORDS, True), unk_token="<unk>"),
    ):
        kept, report = single_token_pairs(pairs, tokenizer, ANY, minimum=1, leading_space="never")
        assert len(kept) == 0
        assert report.iloc[0][["unknown_token", "source_split", "target_split"]].tolist() != [0, 0, 0]
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "France": 1, "Paris": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    _, report = single_token_pairs(pairs, words, ANY, minimum=1)
    assert report["unknown_token"].tolist() == [2]


@pytest.mark.parametrize(
    ("options", "words"), [({"leading_space": "sometimes"}, "sometimes"), ({"minimum": 0}, "minimum")]
)
def test_bad_options(options, words):
    with pytest.raises(AtlasError, match=words):
        single_token_pairs(PAIRS, byte_level(WORDS), ANY, **options)


def test_a_relation_that_the_data_lack_is_refused_with_the_nearest_name():
    check_names(["copying"], ["copying", "year_to_following"], "analyses.head_categories.k")
    with pytest.raises(
        AtlasError, match=r"head_categories.k: the data have no relation 'copyin'; did you mean 'copying'"
    ):
        check_names(["copyin"], ["copying", "year_to_following"], "analyses.head_categories.k")
