"""Claims about safety heads on tiny models whose heads are planted: from the model to the verdict."""

import itertools

import numpy as np
import pytest
import torch

import planted_claims as planted
from atlas.analyses.safety_heads.extract import extract
from atlas.analyses.safety_heads.metrics import head_table, replicates_of
from planted_weights import looking, silent, uniform

LAYERS, HEADS = 6, 6
SINK = 5  # what every prompt begins with
OPTIONS = {
    "ablations": ["undifferentiated", "scaling"], "rank": [1], "confidence": 0.95, "bootstrap": 200, "seed": 0
}  # fmt: skip
EVERY = list(itertools.product(range(LAYERS), range(HEADS)))
LOW, HIGH = EVERY[:10], EVERY[-10:]  # within the lowest third of the layers, and the highest


def writing(heads):
    """A model in which only these heads write: each what it reads of the tokens, with weights of its own."""
    model = silent(LAYERS)
    drawn = torch.Generator().manual_seed(1)
    for layer, head in heads:
        attention = model.model.layers[layer].self_attn
        width = attention.head_dim
        columns = slice(head * width, (head + 1) * width)
        weight = attention.o_proj.weight.data
        weight[:, columns] = torch.randn(len(weight), width, generator=drawn) / 5
    return model


def prompts(number):
    rng = np.random.default_rng(0)
    return [(SINK, *map(int, rng.integers(6, 190, rng.integers(6, 12)))) for _ in range(number)]


def measured(model, number):
    arrays = extract(model, prompts(number), ablations=OPTIONS["ablations"], epsilon=1e-5)
    drawn = replicates_of(arrays, OPTIONS)
    frame = head_table(arrays, {}, 0, OPTIONS, replicates=drawn)
    return frame, {name: found.astype("float32") for name, found in drawn.items()}


def verdicts(folder, model, number, sibling=None):
    """The rows of the claims of a model; `sibling`: another of its family."""
    found = {}
    for name, one in (("own", model), *([("sibling", sibling)] if sibling is not None else [])):
        found[name, "safety_heads"], found[name, "safety_resamples"] = measured(one, number)
    frame = planted.verdicts(folder, found)
    return frame[frame["analysis"] == "safety_heads"].set_index("claim")


def verdict_of(claim, *given, **more):
    (found,) = set(verdicts(*given, **more).loc[[claim], "claim_verdict"])
    return found


@pytest.mark.parametrize(
    ("heads", "number", "verdict"), [(LOW, 20, "holds"), (HIGH, 20, "does not hold"), (LOW, 8, "undecided")]
)
def test_layers_of_the_heads_that_write(heads, number, verdict, tmp_path):
    assert verdict_of("E2", tmp_path, writing(heads), number) == verdict


@pytest.mark.parametrize(
    ("heads", "number", "verdict"),
    [([(3, 2)], 20, "holds"), (EVERY, 20, "does not hold"), ([(3, 2)], 8, "undecided")],
)
def test_number_of_the_heads_that_write(heads, number, verdict, tmp_path):
    assert verdict_of("E3", tmp_path, writing(heads), number) == verdict


@pytest.mark.parametrize(
    ("other", "number", "verdict"), [(HIGH, 20, "holds"), (LOW, 20, "does not hold"), (HIGH, 8, "undecided")]
)
def test_heads_that_write_in_two_models(other, number, verdict, tmp_path):
    assert verdict_of("E5", tmp_path, writing(LOW), number, writing(other)) == verdict


@torch.no_grad()
def at_little():
    """Every head looks at the token SINK, of which it reads next to nothing, and so writes next to nothing."""
    model = looking(writing(EVERY), {SINK: 3.0}, 3.0)
    model.model.embed_tokens.weight[SINK, 2:] *= 0.01
    for layer in model.model.layers:
        layer.self_attn.v_proj.weight[:, :2] = 0
    return model


@pytest.mark.parametrize(
    ("model", "number", "verdict"),
    [
        (at_little, 20, "holds"),
        # Heads that look everywhere alike: to make them do so changes nothing, to take them away does.
        (lambda: uniform(writing(EVERY)), 20, "does not hold"),
        (at_little, 8, "undecided"),
    ],
)
def test_what_heads_look_at(model, number, verdict, tmp_path):
    assert verdict_of("E1", tmp_path, model(), number) == verdict


@pytest.mark.parametrize("heads", [[], HIGH[:3]])
def test_heads_that_do_nothing_have_no_order(heads, tmp_path):
    """Angles of rounding would put the strongest where heads are counted first, whichever heads they are."""
    frame = verdicts(tmp_path, writing(heads), 20, writing(heads))
    for claim in ("E2", "E5", "E1", *(["E3"] if not heads else [])):
        assert set(frame.loc[[claim], "claim_verdict"]) == {"undecided"}
        assert frame.loc[[claim], "reason"].str.contains("smaller angles are rounding").all()
