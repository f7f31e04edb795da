"""Claims about spans of meaningless tokens on tiny models whose heads are planted: from the model to the verdict."""

import numpy as np
import pytest

import planted_claims as planted
from atlas.analyses.meaningless_tokens.extract import extract
from atlas.analyses.meaningless_tokens.prompts import SpanPrompt
from planted_weights import looking, silent, uniform

SLASH = 5  # the token of the span
FIRST = 6  # what every prompt begins with


def prompts(number):
    """Prompts of random tokens: a prefix, a question and two tokens behind it, with and without a span between."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(number):
        prefix, span, question = rng.integers(6, 10), 6, rng.integers(11, 15)
        ids = (FIRST, *map(int, rng.integers(7, 190, prefix + question + 1)))
        with_span = (*ids[:prefix], *[SLASH] * span, *ids[prefix:])
        found.append(SpanPrompt(ids, with_span, int(prefix), 0, span, int(question), 2))
    return found


def verdicts(folder, model, number):
    arrays = extract(model, prompts(number), batch_tokens=256)
    frame = planted.verdicts(folder, {("own", "attention"): arrays})
    return frame[frame["part"] == "all heads"].set_index("claim")


def ignoring():
    return looking(silent(2), {SLASH: -1.0}, 1.5)


def drawn():
    return looking(silent(2), {SLASH: 1.0}, 0.8)


@pytest.mark.parametrize(
    ("model", "number", "said"),
    [
        # A span that no head sees changes nothing; it has next to no attention, and what follows has its own.
        (ignoring, 20, ("does not hold", "holds", "holds")),
        # A span that all heads look at takes it from the question.
        (drawn, 20, ("holds", "does not hold", "does not hold")),
        # Rows that look everywhere alike share with a span as with any token, and earlier tokens are in more rows.
        (lambda: uniform(silent(2)), 20, ("holds", "does not hold", "does not hold")),
        (ignoring, 5, ("undecided",) * 3),
        (drawn, 5, ("undecided",) * 3),
    ],
)
def test_spans_of_the_weights(model, number, said, tmp_path):
    frame = verdicts(tmp_path, model(), number)
    for claim, verdict in zip(("D1", "D2", "D3"), said, strict=True):
        assert frame.loc[claim, "claim_verdict"] == verdict, frame.loc[claim]


def test_heads_that_leave_nothing_to_compare_are_undecided(tmp_path):
    """Heads that look at the first token alone give a span, and what stands around it, no attention at all."""
    frame = verdicts(tmp_path, looking(silent(2), {FIRST: 3.0}, 30.0), 20)
    assert set(frame["claim_verdict"]) == {"undecided"}
    assert frame["reason"].str.contains("has no attention in some bootstrap draws").all()
    assert (frame.index == ["D1", "D2", "D3"]).all()
