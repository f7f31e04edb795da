"""Claims about saliency on tiny models whose heads are planted: from the model to the verdict.

A token's strength is a number of its embedding that heads read and bring, at once or by way of another token, to where
the answer's logit is read.
"""

import numpy as np
import pandas as pd
import pytest
import torch

import planted_claims as planted
from atlas.analyses.saliency import hidden_states, probe_storage, probe_table
from atlas.analyses.saliency.answered_samples import answered_samples
from atlas.analyses.saliency.exact_tokens import random_tokens
from atlas.analyses.saliency.extract import extract, usable
from atlas.analyses.saliency.metrics import tables
from atlas.analyses.saliency.mixture import mixture_table
from atlas.analyses.saliency.probe import probe_of
from planted_weights import looking, silent

KEYS = {"model": "own", "dataset": "d"}
REDUCED = {"reduction": "mean", "heads": "sum_then_abs", "layers": "mean"}
PROBE = {"folds": 5, "regularisation": 1.0, "layers": "all", "weights": "equal", "too_few": "answer_nll"}
ANSWERS, OTHERS, EXACT = range(5, 9), range(10, 90), range(100, 400)  # tokens
RELAY, LAST = 90, 91  # tokens between every question and its answer
# Dimensions of the stream: a token's strength, what is on its way, what the answer's logit reads, what tells right.
STRENGTH, RELAYED, READ_OUT, TRUTH, TOLD = 2, 3, 4, 5, 6


@torch.no_grad()
def base(exact=1.0, others=0.01, by_relay=False, tells=EXACT):
    """A model of two layers that writes nothing yet; strengths of the exact question tokens and of all others.

    exact: a number or one for each token of EXACT. tells: tokens that say in questions whether they are answered right.
    Heads look everywhere alike; by_relay: those of the last layer at RELAY alone.
    """
    model = silent(2, vocab_size=400)
    embedding = model.model.embed_tokens.weight
    embedding.zero_()
    looking(model, {RELAY: 3.0}, 3.0)
    embedding[list(OTHERS), STRENGTH] = others
    embedding[list(EXACT), STRENGTH] = torch.as_tensor(exact, dtype=torch.float32)
    embedding[list(tells), TRUTH] = torch.tensor([1.0, -1.0]).repeat(len(tells) // 2)
    embedding[list(ANSWERS), 8:12] = torch.eye(4)
    model.lm_head.weight.zero_()
    model.lm_head.weight[list(ANSWERS), READ_OUT] = 1
    for place, layer in enumerate(model.model.layers):
        layer.self_attn.v_proj.weight.zero_()
        if place == 0 or not by_relay:
            layer.self_attn.q_proj.weight.zero_()
    return model


@torch.no_grad()
def bring(model, layer, source, target, size=0.1):
    """The first head of a layer writes the mean of one dimension over all that it sees to another."""
    attention = model.model.layers[layer].self_attn
    attention.v_proj.weight[0, source] = 1
    attention.o_proj.weight[target, 0] = size
    return model


def direct(size=0.01, **strengths):
    """The question is read where the answer is predicted."""
    return bring(base(**strengths), 1, STRENGTH, READ_OUT, size)


def relayed(**strengths):
    """A token behind the question reads it, and the answer is predicted from that token."""
    return bring(bring(base(**strengths, by_relay=True), 0, STRENGTH, RELAYED), 1, RELAYED, READ_OUT)


def telling(tells=EXACT):
    """The last token of an answer is told whether it is right."""
    return bring(base(tells=tells), 0, TRUTH, TOLD)


def samples(size, seed=0):
    """`size` answered questions, every second one right, of tokens with even ids: two of eight in a question are exact.

    RELAY, LAST and one token of the answer follow.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(size):
        question = rng.choice(OTHERS[number % 2 :: 2], 8)
        question[[2, 5]] = EXACT[number]
        ids = [3, 4, *question, RELAY, LAST, rng.choice(ANSWERS)]
        random = random_tokens(list(range(2, 10)), 2, 0, number)
        rows.append(
            {"sample": f"s{number}", "correct": number % 2 == 0, "chosen": True, "weight": 1.0, "prefix": 2, "ids": ids,
             "question_tokens": [4, 7], "answer_tokens": [12], "random_tokens": random, "question_strategy": "spans",
             "random_overlap": len({4, 7} & set(random)), "answer_strategy": "alias"}
        )  # fmt: skip
    return pd.DataFrame(rows)


def probed(model, frame):
    """The stored probe of a model."""
    hidden = hidden_states.extract(model, *answered_samples(frame), batch_tokens=256)
    probes, _ = probe_of(hidden, frame, {"probe": PROBE, "confidence": 0.95, "seed": 0}, KEYS)
    return probe_storage.arrays(hidden["number"], probes)


def measured(model, frame, loss="answer_nll"):
    """The tables saliency and saliency_mixture of a model."""
    given, prefix = answered_samples(frame)
    losses, probe = ([loss], None) if loss == "answer_nll" else usable(probed(model, frame), given, [loss])
    arrays = extract(model, given, prefix, losses=losses, sample_probe=probe, batch_tokens=256)
    layer = 0 if probe is None else probe.layer
    saliency = tables(arrays, frame, losses, REDUCED, KEYS, layer)["saliency"]
    return saliency, mixture_table(saliency, confidence=0.95, draws=100, seed=0)


def verdicts(folder, found, claim, loss="answer_nll"):
    frame = planted.verdicts(folder, found, own={"saliency": {"loss": [loss], "confidence": 0.95}})
    return set(frame.loc[frame["claim"] == claim, "claim_verdict"])


@pytest.mark.parametrize(
    ("model", "size", "verdict"), [(relayed, 60, "holds"), (direct, 60, "does not hold"), (relayed, 8, "undecided")]
)
def test_way_of_the_flow(model, size, verdict, tmp_path):
    strengths = np.random.default_rng(1).gamma(4, 0.2, len(EXACT))
    found = {("own", "saliency"): measured(model(exact=strengths), samples(size))[0]}
    assert verdicts(tmp_path, found, "A1") == {verdict}


@pytest.mark.parametrize(
    ("smaller", "size", "verdict"), [(0.01, 40, "holds"), (0.001, 40, "does not hold"), (0.01, 8, "undecided")]
)
def test_size_of_what_is_written(smaller, size, verdict, tmp_path):
    models = {"own": direct(0.001), "smaller": direct(smaller)}
    found = {(name, "saliency"): measured(model, samples(size))[0] for name, model in models.items()}
    assert verdicts(tmp_path, found, "A2") == {verdict}


def two_kinds():
    """Strong tokens and weak ones."""
    return np.random.default_rng(1).normal(np.arange(len(EXACT)) // 2 % 2 * 1.5 - 2, 0.1)


def one_kind():
    """Around one strength, some closely and some not: no Gaussian either, and yet one kind."""
    return np.random.default_rng(1).normal(-1, np.where(np.arange(len(EXACT)) // 2 % 2, 0.3, 0.03))


@pytest.mark.parametrize(
    ("logs", "size", "verdict"),
    [(two_kinds, 120, "holds"), (one_kind, 240, "does not hold"), (two_kinds, 8, "undecided")],
)
def test_kinds_of_tokens(logs, size, verdict, tmp_path):
    saliency, mixture = measured(direct(exact=10 ** logs()), samples(size))
    found = {("own", "saliency"): saliency, ("own", "saliency_mixture"): mixture}
    assert verdicts(tmp_path, found, "A3") == {verdict}


@pytest.mark.parametrize(
    ("own", "control", "size", "verdict"),
    [(telling, base, 60, "holds"), (base, telling, 60, "does not hold"), (telling, base, 8, "undecided")],
)
def test_what_the_last_token_is_told(own, control, size, verdict, tmp_path):
    found, frame = {}, samples(size)
    for name, model in (("own", own()), ("control", control())):
        stored = probed(model, frame)
        found[name, "probe_auroc"] = probe_table.table(stored, frame["correct"].to_numpy(), PROBE, KEYS)
    assert verdicts(tmp_path, found, "A4") == {verdict}


@pytest.mark.parametrize(
    ("strengths", "size", "verdict"),
    [
        ({"exact": 1.0, "others": 0.01}, 40, "holds"),
        ({"exact": 0.01, "others": 1.0}, 40, "does not hold"),
        ({"exact": 1.0, "others": 0.01}, 8, "undecided"),
    ],
)
def test_strength_of_the_exact_tokens(strengths, size, verdict, tmp_path):
    found = {("own", "saliency"): measured(direct(**strengths), samples(size))[0]}
    assert verdicts(tmp_path, found, "A5") == {verdict}


@pytest.mark.parametrize(
    ("tells", "size", "verdict"), [(EXACT, 60, "holds"), (OTHERS, 60, "does not hold"), (EXACT, 8, "undecided")]
)
def test_tokens_that_tell_a_probe(tells, size, verdict, tmp_path):
    found = {("own", "saliency"): measured(telling(tells), samples(size), "probe_bce")[0]}
    assert verdicts(tmp_path, found, "A5", "probe_bce") == {verdict}


def test_heads_that_write_nothing_decide_nothing(tmp_path):
    frame, found = samples(60), {}
    found["own", "saliency"], found["own", "saliency_mixture"] = measured(base(), frame)
    found["smaller", "saliency"] = found["own", "saliency"]
    assert (found["own", "saliency"]["saliency"] == 0).all()
    for claim in ("A1", "A2", "A3", "A5"):
        assert verdicts(tmp_path, found, claim) == {"undecided"}
