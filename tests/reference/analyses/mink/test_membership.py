"""Membership on tiny models: every number from stock logits, and members that were trained in."""

import random
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

import byte_tokenizer
from atlas.analyses.mink.extract import extract
from atlas.analyses.mink.membership import membership_table, score_table
from atlas.analyses.mink.scored_texts import marked_texts
from atlas.models.limits import Limits
from families import build

SIZE = 300  # rows of the embedding: the byte tokenizer's, and some that stand for nothing
LIMITS = Limits(None, SIZE)
KEYS = {"model": "m", "dataset": "d"}
MAX_FPR = 0.1


def collection(texts, seed=0):
    """As many members as non-members of one kind: made words, some with a capital, the lengths of each pair alike."""
    draw = random.Random(seed)

    def word(length):
        letters = "".join(draw.choice("abcdeimnorsty") for _ in range(length))
        return letters.capitalize() if draw.random() < 0.4 else letters

    shapes = [[draw.randrange(2, 6) for _ in range(draw.randrange(4, 9))] for _ in range(texts // 2)]
    rows = [" ".join(map(word, shapes[i // 2])) for i in range(texts)]
    return pd.DataFrame({"id": [f"t{i}" for i in range(texts)], "text": rows, "label": [i % 2 for i in range(texts)]})


def stored(model, tokens, table, batch_tokens=150):
    """The arrays that the job stores."""
    asked = {"text": list(table["text"]), "lowercase": [text.lower() for text in table["text"]]}
    found = {
        kind: marked_texts(
            tokens, [(i, [(text, True)], True) for i, text in enumerate(texts)], kind,
            block="membership", max_tokens=100, limits=LIMITS,
        )[0]
        for kind, texts in asked.items()
    }  # fmt: skip
    return extract(model, found, batch_tokens=batch_tokens)


def tables(arrays, table, reference=None):
    """(membership_scores, membership) as the job makes them."""
    scores, _ = score_table(arrays, table, KEYS, k_percent=[20, 50], min_tokens=2, reference=reference)
    settings = {"max_fpr": MAX_FPR, "confidence": 0.95, "draws": 300, "seed": 0}
    return scores, membership_table(scores, texts=len(table), reference="small", dtype="float32", **settings)


@torch.no_grad()
def logprobs(model, tokens, text):
    """(lp, z) of every token that has something before it: one forward of the stock model, statistics in float64."""
    ids = tokens(text)["input_ids"]
    logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    lp, z = [], []
    for i in range(1, len(ids)):
        row = logits[i - 1].log_softmax(-1)
        mean = (row.exp() * row).sum()
        deviation = (row.exp() * (row - mean) ** 2).sum().sqrt()
        lp.append(row[ids[i]].item())
        z.append(((row[ids[i]] - mean) / deviation).item())
    return np.array(lp), np.array(z)


def brute(model, small, tokens, text):
    """{(measure, K): score} of one text."""
    lp, z = logprobs(model, tokens, text)
    lower, other = logprobs(model, tokens, text.lower())[0], logprobs(small, tokens, text)[0]
    found = {}
    for k in (20, 50):
        number = max(1, len(lp) * k // 100)
        found["mink", k] = np.sort(lp)[:number].mean()
        found["minkpp", k] = np.sort(z)[:number].mean()
    size = len(zlib.compress(text.encode()))
    return {
        **found, ("loss", 0): lp.mean(), ("zlib", 0): lp.mean() / size, ("lowercase", 0): -lp.mean() / lower.mean(),
        ("reference", 0): lp.mean() - other.mean(), ("compression", 0): -size / len(text.encode()),
        ("length", 0): len(text.encode()),
    }  # fmt: skip


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "qwen3", "gemma2", "olmo2"])
def test_every_score_and_rate_from_stock_logits(family, bos):
    model, small = build(family, vocab_size=SIZE), build("opt", vocab_size=SIZE)
    tokens, table = byte_tokenizer.tokenizer(bos=bos), collection(14)
    scores, found = tables(stored(model, tokens, table), table, stored(small, tokens, table))
    expected = {row.id: brute(model, small, tokens, row.text) for row in table.itertuples()}
    assert len(scores) == len(table) * 10
    for row in scores.itertuples():
        wanted = expected[row.text][row.measure, 0 if np.isnan(row.k_percent) else row.k_percent]
        assert row.score == pytest.approx(wanted, rel=2e-5, abs=2e-5), row
        assert row.tokens == len(tokens(table.set_index("id")["text"][row.text])["input_ids"]) - 1
    for row in found.itertuples():
        key = row.measure, 0 if np.isnan(row.k_percent) else row.k_percent
        values = [expected[name][key] for name in table["id"]]
        false, true, _ = roc_curve(table["label"], values, drop_intermediate=False)
        assert row.auroc == pytest.approx(roc_auc_score(table["label"], values), abs=1e-9)
        assert row.tpr == pytest.approx(true[false <= MAX_FPR].max(), abs=1e-9)


def trained_on(texts, tokens, steps=40):
    """A tiny Llama after a few steps on `texts` alone."""
    torch.manual_seed(0)
    model = build("llama", vocab_size=SIZE).train()
    batch = tokens(list(texts), padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def shuffled(model):
    """The control: every matrix's entries permuted."""
    for weights in model.parameters():
        if weights.ndim > 1:
            weights.copy_(weights.flatten()[torch.randperm(weights.numel())].view_as(weights))
    return model


def test_members_that_were_trained_in_are_found_and_by_nothing_else():
    tokens, table = byte_tokenizer.tokenizer(), collection(48, seed=4)
    tokens.pad_token = "</s>"
    untrained = build("llama", vocab_size=SIZE)
    before = stored(untrained, tokens, table, 2000)
    model = trained_on(table.loc[table["label"] == 1, "text"], tokens)
    rows = tables(stored(model, tokens, table, 2000), table, before)[1].set_index(["measure", "k_percent"])
    for measure in (("mink", 20), ("mink", 50), ("minkpp", 50)):
        assert rows.loc[measure, "auroc"] > 0.97, measure
        assert rows.loc[measure, "tpr"] > 0.8, measure
        assert rows.loc[measure, "auroc_low"] > 0.9, measure
    auroc = rows["auroc"].droplevel(1)
    assert min(auroc["loss"], auroc["reference"], auroc["zlib"]) > 0.97
    controls = {"untrained": untrained, "shuffled": shuffled(model)}
    for name, control in controls.items():
        rows = tables(stored(control, tokens, table, 2000), table)[1]
        assert ((rows["auroc_low"] <= 0.5) & (rows["auroc_high"] >= 0.5)).all(), (name, rows)
