"""The table of salient operations holds what was extracted, with texts of tokens; layers without attention are null."""

import json

import numpy as np

from atlas.analyses.head_categories.salient_table import salient_table
from atlas.analyses.registry import TABLES
from atlas.data.tokens import token_texts
from atlas.models.loading import load_tokenizer
from atlas.results.tables import conform
from tiny_models import save_tokenizer

KEYS = {"model": "m", "dataset": "d"}


def arrays(layers=(0, 2), heads=2, tokens=3, mapped=4):
    rng = np.random.default_rng(0)
    shape = len(layers), heads, tokens
    return {
        "layers": np.array(layers), "heads": np.arange(heads),
        "salient_token": rng.integers(0, 90, shape), "salient_ratio": rng.random(shape).astype(np.float32),
        "salient_mapped": rng.integers(0, 90, (*shape, 2, mapped)),
        "salient_logit": rng.normal(size=(*shape, 2, mapped)).astype(np.float32),
    }  # fmt: skip


def made(given, depth=4):
    table = salient_table(given, depth, lambda ids: [f"t{token}" for token in ids])
    return conform(table.assign(**KEYS), TABLES["salient_operations"])


def test_every_row_is_what_was_extracted():
    given = arrays()
    table = made(given)
    assert len(table) == 4 * 2 * 3 * 2
    for row in table[table["layer"].isin([0, 2])].itertuples():
        at = (row.layer // 2, row.head, row.rank - 1)
        assert (row.source_id, row.source) == (given["salient_token"][at], f"t{given['salient_token'][at]}")
        assert row.ratio == float(given["salient_ratio"][at])
        own = (*at, ["direct", "suppression"].index(row.sign))
        assert json.loads(row.mapped) == [f"t{token}" for token in given["salient_mapped"][own]]
        np.testing.assert_allclose(json.loads(row.logits), given["salient_logit"][own], rtol=1e-5)


def test_layers_without_attention_and_tokens_without_a_norm_are_null():
    given = arrays()
    given["salient_ratio"][0, 1, 2] = -np.inf
    table = made(given)
    blank = table["layer"].isin([1, 3]) | ((table["layer"] == 0) & (table["head"] == 1) & (table["rank"] == 3))
    assert table.loc[blank, ["source", "source_id", "ratio", "mapped", "logits"]].isna().all(axis=None)
    assert table.loc[~blank].notna().all(axis=None)


def test_without_them_the_table_is_empty():
    assert len(made({"layers": np.array([0]), "heads": np.array([0])})) == 0


def test_texts_are_of_single_tokens_special_ones_too(tmp_path):
    save_tokenizer(tmp_path)
    assert token_texts(load_tokenizer(tmp_path), [5, 1, 999]) == ["w2", "<s>", "<999>"]
