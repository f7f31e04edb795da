"""Claims about Min-K% and score gaps on tiny models whose logits are planted: from the model to the verdict.

No head and no MLP writes, so what a model expects next depends on the last token alone.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

import planted_claims as planted
from atlas.analyses.mink.answers import answers_frame, question_prompts
from atlas.analyses.mink.extract import extract
from atlas.analyses.mink.judges import judge
from atlas.analyses.mink.metrics import mink_table
from atlas.analyses.mink.score_gaps import score_gap_table
from atlas.analyses.mink.scored_texts import scored_texts, text_rows
from atlas.data.chat import Prompter
from atlas.models.generation import Prompt, generate
from atlas.models.limits import Limits
from atlas.models.loading import load_tokenizer
from planted_weights import silent
from tiny_models import save_tokenizer

LIMITS = Limits(None, 199)
WORDS, END = range(3, 199), 2  # ids of w0 to w195, and of the end token
ANSWERS = 180  # words that stand in answers
CHAIN = ("w1", "w2", "w3", "w4", "w5")  # what a model answers to what it knows
PART, WHOLE, HARD, WRONG = "w10", "w11", "w12", "w9"  # ends of questions, and a wrong answer


@pytest.fixture
def prompter(tmp_path):
    save_tokenizer(tmp_path / "tokenizer")
    return Prompter(load_tokenizer(tmp_path / "tokenizer"), "own")


def number(word):
    return WORDS[int(word[1:])]


@torch.no_grad()
def expecting(logits, following=()):
    """A model with these `logits` (vocabulary,) after any token; `following`: (token, the one that it expects next)."""
    model = silent(1)
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    embedding.zero_()
    head.zero_()
    embedding[:, 0] = embedding[:, 1] = 1  # dimension 1 for tokens after which nothing else is expected
    model.model.norm.weight.fill_(1)
    size = (embedding.shape[1] / 2) ** 0.5  # of both dimensions of a token, after the norm
    head[:, 0] = torch.as_tensor(logits, dtype=torch.float32) / size
    for place, (token, after) in enumerate(following, 2):
        embedding[token, 1], embedding[token, place] = 0, 1
        head[after, place] = 15 / size
    return model


def mink_of(model, prompter, table):
    """The table mink of a model on the gold answers of a depth data set."""
    given = {"template": "raw", "system": None, "max_tokens": 100, "limits": LIMITS}
    texts, _ = scored_texts(prompter, text_rows(table), "answer", **given)
    arrays = extract(model, {"answer": texts}, batch_tokens=512)
    return mink_table(arrays, table, {}, k_percent=[20], min_tokens=5, template="raw", dtype="float32")[0]


# --------------------------------------------------------------------------------------------------- depth and models
def falling(slope, rest):
    """Logits that fall by `slope` from word to word; `rest`: of all that stands in no answer."""
    logits = np.full(199, float(rest))
    logits[WORDS[0] : WORDS[ANSWERS]] = -slope * np.arange(ANSWERS)
    return expecting(logits)


def depths(size):
    """Questions of three depths, `size` of each; the words of deeper answers have higher numbers."""
    rng = np.random.default_rng(0)
    rows = [
        {"id": f"{depth}.{place}", "depth": depth, "question": "w0",
         "answer": " ".join(f"w{word}" for word in rng.integers(40 * (depth - 1), 40 * (depth + 1), 10))}
        for depth in (1, 2, 3) for place in range(size)
    ]  # fmt: skip
    return pd.DataFrame(rows)


TRUE = {"own": (0.02, -5), "smaller": (0.02, 4), "older": (0.04, -5)}
# Rarer words are what this model expects most, its family's smaller model wastes less, the older one tells words apart
# less.
FALSE = {"own": (-0.04, 4), "smaller": (-0.04, -5), "older": (-0.02, 4)}


@pytest.mark.parametrize(
    ("models", "size", "verdict"), [(TRUE, 40, "holds"), (FALSE, 40, "does not hold"), (TRUE, 5, "undecided")]
)
def test_words_that_models_expect(models, size, verdict, prompter, tmp_path):
    table = depths(size)
    found = {(name, "mink"): mink_of(falling(*logits), prompter, table) for name, logits in models.items()}
    frame = planted.verdicts(tmp_path, found)
    for claim in ("B1", "B2", "B3"):
        rows = frame[frame["claim"] == claim]
        assert set(rows["verdict"]) == {verdict}, rows


def test_models_that_expect_every_word_alike_decide_nothing(prompter, tmp_path):
    mink = mink_of(expecting(np.zeros(199)), prompter, depths(40))
    assert mink["mink"].nunique() == 1
    frame = planted.verdicts(tmp_path, {(name, "mink"): mink for name in TRUE})
    rows = frame[frame["claim"].isin(["B1", "B2", "B3"])]
    assert set(rows["verdict"]) == {"undecided"}
    assert (rows["value"] == 0).all()


# --------------------------------------------------------------------------------------------------------- score gaps
def knowing(*ends):
    """A model that answers with the chain after these ends of questions, and wrongly after others."""
    logits = np.zeros(199)
    logits[WORDS[0] :] = -0.02 * np.arange(len(WORDS))
    logits[number(WRONG)] = 5
    steps = [*pairwise(CHAIN), *((end, CHAIN[0]) for end in ends)]
    following = [(number(token), number(after)) for token, after in steps]
    return expecting(logits, [*following, (number(CHAIN[-1]), END), (number(WRONG), END)])


def connected(size):
    """`size` questions of depth 3, each with its part of depth 2: to all, the chain is right, but to a quarter."""
    rng = np.random.default_rng(0)
    rows = []
    for place in range(size):
        hard = place % 4 == 0
        gold = [f"w{word}" for word in rng.integers(100, ANSWERS, len(CHAIN))] if hard else CHAIN
        rows += [
            {"id": f"part {place}", "depth": 2, "question": PART, "answer": " ".join(CHAIN), "predecessors": []},
            {"id": f"whole {place}", "depth": 3, "question": HARD if hard else WHOLE, "answer": " ".join(gold),
             "predecessors": [f"part {place}"]},
        ]  # fmt: skip
    return pd.DataFrame(rows)


def gaps(model, prompter, table):
    """The table score_gap of a model, from its own answers."""
    settings = {"questions": None, "seed": 0, "max_new_tokens": [8, 8, 8], "batch_size": 64}
    asked, _ = question_prompts(prompter, table, settings, template="raw", system=None, limits=LIMITS)
    written = generate(model, [Prompt(*one) for one in asked], {END}, batch_size=64)
    answers = answers_frame(written, table, prompter.tokenizer)
    judgements = judge(table, answers, {"kind": "reference"}, model="own")
    mink = mink_of(model, prompter, table)
    return score_gap_table(table, judgements, mink, k_percent=20, text="answer")[0].assign(judge="reference")


@pytest.mark.parametrize(
    ("known", "size", "verdict"),
    [
        # What a model knows it answers, whole and part: the gap is 0. What it does not know it did not memorise.
        ((PART, WHOLE), 48, "holds"),
        # Parts alone are known: every whole is wrong, whatever was memorised of it.
        ((PART,), 48, "does not hold"),
        ((PART, WHOLE), 8, "undecided"),
    ],
)
def test_answers_that_models_know(known, size, verdict, prompter, tmp_path):
    frame = planted.verdicts(tmp_path, {("own", "score_gap"): gaps(knowing(*known), prompter, connected(size))})
    for claim in ("B4", "B5"):
        rows = frame[frame["claim"] == claim]
        assert set(rows["verdict"]) == {verdict}, rows.T
