"""Scores of membership by hand, and the table of how well they tell members from others."""

import zlib

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from atlas.analyses.mink.membership import MEASURES, membership_table, score_table
from atlas.analyses.mink.metrics import min_k
from atlas.analyses.registry import TABLES
from atlas.errors import AtlasError
from atlas.results.tables import conform

KEYS = {"model": "m", "dataset": "d"}
TEXTS = ["Aa bb CC dd ee", "no capitals here at all", "Xx yy", "Zz, zz, zz. Öö"]


def table(texts=TEXTS):
    return pd.DataFrame(
        {"id": [f"t{i}" for i in range(len(texts))], "text": texts, "label": [i % 2 for i in range(len(texts))]}
    )


def arrays(lengths, seed=0):
    """{kind: [tokens of each text, or 0 for one that is left out]} -> stored arrays."""
    rng = np.random.default_rng(seed)
    found = {}
    for kind, counts in lengths.items():
        total = sum(counts)
        found |= {
            f"{kind}.number": np.flatnonzero(counts).astype(np.int32),
            f"{kind}.tokens": np.array([count for count in counts if count], np.int32),
            f"{kind}.lp": -rng.exponential(3, total).astype(np.float32),
            f"{kind}.mu": rng.normal(-3, 1, total).astype(np.float32),
            f"{kind}.sigma": np.append(rng.uniform(0.5, 2, total - 1), 0).astype(np.float32),
            f"{kind}.rank": np.zeros(total, np.int32),
        }
    return found


def values(frame, text, measure, k=None):
    rows = frame[(frame["text"] == text) & (frame["measure"] == measure)]
    return rows["score"].item() if k is None else rows.loc[rows["k_percent"] == k, "score"].item()


def test_every_score_by_hand():
    stored = arrays({"text": [6, 9, 5, 7], "lowercase": [8, 9, 6, 0]})
    reference = arrays({"text": [4, 0, 5, 6]}, seed=1)
    found, short = score_table(stored, table(), KEYS, k_percent=[20, 50], min_tokens=5, reference=reference)
    assert short == 0
    assert list(found["measure"].unique()) == list(MEASURES)
    assert list(conform(found, TABLES["membership_scores"], "x")) == list(TABLES["membership_scores"])
    ends, lows = np.cumsum([6, 9, 5, 7]), np.cumsum([8, 9, 6, 0])
    others = dict(zip((0, 2, 3), np.split(reference["text.lp"], np.cumsum([4, 5])), strict=True))
    for i, text in enumerate(TEXTS):
        name = f"t{i}"
        own = slice(ends[i] - [6, 9, 5, 7][i], ends[i])
        lp, mu, sigma = (stored[f"text.{part}"][own].astype(float) for part in ("lp", "mu", "sigma"))
        z = [0 if s == 0 else (a - m) / s for a, m, s in zip(lp, mu, sigma, strict=True)]
        for k in (20, 50):
            number = max(1, len(lp) * k // 100)
            assert values(found, name, "mink", k) == pytest.approx(np.mean(sorted(lp)[:number]), rel=1e-12)
            assert values(found, name, "minkpp", k) == pytest.approx(np.mean(sorted(z)[:number]), rel=1e-12)
        loss, size = -lp.mean(), len(zlib.compress(text.encode()))
        assert values(found, name, "loss") == pytest.approx(-loss, rel=1e-12)
        assert values(found, name, "loss") == pytest.approx(-min_k(lp, 100), rel=1e-12)
        assert values(found, name, "zlib") == pytest.approx(-loss / size, rel=1e-12)
        assert values(found, name, "compression") == -size / len(text.encode())
        assert values(found, name, "length") == len(text.encode())
        if i != 3:  # left out in lower case
            lower = stored["lowercase.lp"][lows[i] - [8, 9, 6, 0][i] : lows[i]].astype(float)
            expected = -1 if text == text.lower() else loss / lower.mean()
            assert values(found, name, "lowercase") == pytest.approx(expected, rel=1e-12)
        if i in others:
            assert values(found, name, "reference") == pytest.approx(lp.mean() - others[i].mean(dtype=float), rel=1e-6)
    assert sorted(found[found["measure"] == "lowercase"]["text"]) == ["t0", "t1", "t2"]
    assert sorted(found[found["measure"] == "reference"]["text"]) == ["t0", "t2", "t3"]


def test_a_text_without_capitals_has_the_ratio_one_whatever_batch_it_was_in():
    stored = arrays({"text": [6, 9, 5, 7], "lowercase": [8, 9, 6, 5]})
    found, _ = score_table(stored, table(), KEYS, k_percent=[20], min_tokens=1)
    assert values(found, "t1", "lowercase") == -1  # its two losses differ here


def test_a_loss_of_nothing_in_lower_case():
    stored = arrays({"text": [6, 9, 5, 7], "lowercase": [8, 9, 6, 5]})
    stored["lowercase.lp"] = np.zeros_like(stored["lowercase.lp"])
    found, _ = score_table(stored, table(), KEYS, k_percent=[20], min_tokens=1)
    assert values(found, "t0", "lowercase") == -np.inf
    stored["text.lp"] = np.zeros_like(stored["text.lp"])
    found, _ = score_table(stored, table(), KEYS, k_percent=[20], min_tokens=1)
    assert values(found, "t0", "lowercase") == -1


def test_short_texts_are_dropped_and_counted_and_no_text_is_a_sentence():
    stored = arrays({"text": [6, 9, 3, 7]})
    found, short = score_table(stored, table(), KEYS, k_percent=[20], min_tokens=5)
    assert short == 1
    assert sorted(found["text"].unique()) == ["t0", "t1", "t3"]
    assert {"lowercase", "reference"}.isdisjoint(found["measure"])
    with pytest.raises(AtlasError, match=r"all 4 texts have fewer scored tokens than analyses\.membership\.min_tokens"):
        score_table(stored, table(), KEYS, k_percent=[20], min_tokens=10)


SETTINGS = {"max_fpr": 0.1, "confidence": 0.9, "draws": 200, "seed": 0, "reference": "small", "dtype": "float32"}


def test_the_table_counts_what_each_measure_has_and_its_values_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    texts = [f"Word {'w' * rng.integers(1, 9)} {i}" for i in range(60)]
    stored = arrays({"text": [int(n) for n in rng.integers(5, 20, 60)], "lowercase": [0] * 10 + [7] * 50})
    reference = arrays({"text": [9] * 55 + [0] * 5}, seed=2)
    scores, _ = score_table(stored, table(texts), KEYS, k_percent=[20, 5], min_tokens=5, reference=reference)
    found = membership_table(scores, texts=63, **SETTINGS)
    assert list(conform(found, TABLES["membership"], "x")) == list(TABLES["membership"])
    assert len(found) == 10  # mink and minkpp at two K, six others
    for row in found.itertuples():
        part = scores[(scores["measure"] == row.measure)]
        part = part if np.isnan(row.k_percent) else part[part["k_percent"] == row.k_percent]
        assert row.auroc == pytest.approx(roc_auc_score(part["label"], part["score"]), abs=1e-12)
        assert row.auroc_low <= row.auroc <= row.auroc_high
        assert row.tpr_low <= row.tpr <= row.tpr_high
        assert (row.members + row.nonmembers, row.dropped) == (len(part), 63 - len(part))
        assert row.reference == ("small" if row.measure == "reference" else "")
    counts = found.set_index("measure")["dropped"]
    assert counts["loss"] == 3
    assert counts["lowercase"] == 13
    assert counts["reference"] == 8


def test_texts_of_one_label_are_refused_with_what_to_do():
    scores, _ = score_table(arrays({"text": [6, 2, 7, 3]}), table(), KEYS, k_percent=[20], min_tokens=5)
    with pytest.raises(AtlasError, match=r"data set d: the 2 texts that mink can score all have the label 0"):
        membership_table(scores, texts=4, **SETTINGS)
