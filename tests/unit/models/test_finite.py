"""Activations that overflow stop every extraction, and the message names the layer they come from."""

import numpy as np
import pytest
import torch

from atlas.analyses.meaningless_tokens import extract as meaningless_extraction
from atlas.analyses.meaningless_tokens.prompts import SpanPrompt
from atlas.analyses.mink import extract as logprob_extraction
from atlas.analyses.mink.scored_texts import ScoredText
from atlas.analyses.safety_heads import ablated_generation
from atlas.analyses.safety_heads import extract as head_ablation
from atlas.analyses.sinks.extract import column_means
from atlas.errors import AtlasError
from atlas.models.finite import first_layer
from atlas.models.generation import Prompt, generate
from families import build
from tiny_models import save_tokenizer

IDS = (5, 9, 33, 7, 120, 64)
PROMPTS = [IDS, IDS[:4], IDS[1:]]


@torch.no_grad()
def overflowing(family="llama", layer=1, attention="sdpa"):
    """A model with finite weights whose layer 1 puts out infinite values."""
    model = build(family, attn_implementation=attention)
    for name, parameter in model.named_parameters():
        if f".{layer}." in name and name.endswith(("down_proj.weight", "dense_4h_to_h.weight", "fc2.weight")):
            parameter.mul_(1e38)
        if f".{layer}." in name and name.endswith(("up_proj.weight", "dense_h_to_4h.weight", "fc1.weight")):
            parameter.mul_(1e4)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    return model


def attention(model):
    span = (11,) * 3
    prompts = [SpanPrompt(ids, ids[:2] + span + ids[2:], 2, 0, 3, len(ids) - 2, 0) for ids in PROMPTS]
    meaningless_extraction.extract(model, prompts, batch_tokens=64)


def sinks(model):
    column_means(model, np.array([IDS, IDS]), batch_tokens=64)


def logprobs(model):
    logprob_extraction.extract(model, {"answer": [ScoredText(0, IDS, (True,) * len(IDS))]}, batch_tokens=64)


def batch_of_logprobs(model):
    logprob_extraction.batch_logprobs(model, [ScoredText(0, IDS, (True,) * len(IDS))])


def ablations(model):
    head_ablation.extract(model, PROMPTS, ablations=["scaling"], epsilon=1e-5)


def answers(model):
    generate(model, [Prompt(i, ids, 3) for i, ids in enumerate(PROMPTS)], [2], batch_size=3)


def ablated_answers(model, folder):
    from atlas.models.loading import load_tokenizer

    save_tokenizer(folder)
    variants = [("scaling", [(0, 1)]), ("scaling", [])]
    ablated_generation.answers(model, load_tokenizer(folder), PROMPTS, variants, epsilon=1e-5, new_tokens=2)


@pytest.mark.parametrize("run", [attention, sinks, logprobs, batch_of_logprobs, ablations, answers])
def test_overflow_names_its_layer(run):
    with pytest.raises(AtlasError, match=r"^layer 1: .* contains NaN or infinite values"):
        run(overflowing())


def test_overflow_of_ablated_answers_names_its_layer(tmp_path):
    with pytest.raises(AtlasError, match=r"^layer 1: the next-token distribution contains NaN or infinite values"):
        ablated_answers(overflowing(), tmp_path)


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "phi", "gemma2"])
def test_layer_is_found_in_every_family(family):
    assert first_layer(overflowing(family, layer=2, attention="eager"), IDS) == "layer 2"
    assert first_layer(build(family), IDS) is None


def test_places_outside_the_layers():
    model = build("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[9] = float("nan")
    assert first_layer(model, IDS) == "the embeddings"
    model = build("llama")
    with torch.no_grad():
        model.lm_head.weight[3] = float("inf")
    assert first_layer(model, IDS) == "the logits"


@pytest.mark.parametrize("run", [attention, sinks, logprobs, ablations, answers])
def test_a_healthy_model_passes(run):
    run(build("llama", attn_implementation="sdpa"))
