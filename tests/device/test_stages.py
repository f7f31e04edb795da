"""Every extraction on one GPU and on two that are not there, equal to the CPU's in float32 (tests/pretend_gpu.py)."""

import random

import numpy as np
import pandas as pd
import pytest
import torch

from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.meaningless_tokens import extract as meaningless_tokens
from atlas.analyses.meaningless_tokens.prompts import SpanPrompt
from atlas.analyses.mink import extract as mink
from atlas.analyses.mink.scored_texts import ScoredText
from atlas.analyses.safety_heads import extract as safety_heads
from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.analyses.safety_heads.head_groups import search
from atlas.analyses.saliency import extract as saliency
from atlas.analyses.saliency import hidden_states
from atlas.analyses.saliency.answered_samples import AnsweredSample
from atlas.analyses.sinks.extract import column_means
from atlas.attention import checked
from atlas.models import next_token
from atlas.models.generation import Prompt, generate
from atlas.models.loading import load_model, load_tokenizer
from pretend_gpu import pretend_gpus
from tiny_models import save_folder

FAMILIES = ("llama", "gpt2", "gpt_neox", "phi", "opt", "gemma", "gemma3", "mistral_sliding")
DEVICES = {"one": (1, {"device": "auto"}), "two": (2, {"device": "auto", "device_map": "auto"})}
ABLATIONS = ["undifferentiated", "scaling", "mean"]
DRAWN = random.Random(0)


def ids(count):
    return tuple(DRAWN.randrange(5, 190) for _ in range(count))


def some(least, most):
    return ids(DRAWN.randrange(least, most))


PREFIX = ids(12)
SPAN = ids(1) * 6


def sample(number):
    question, answer = some(5, 9), some(2, 4)
    first = len(PREFIX)
    end = first + len(question)
    inside, drawn = (first + 1, first + 2), (first, first + 3)
    return AnsweredSample(number, PREFIX + question + answer, inside, tuple(range(end, end + len(answer))), drawn)


def scored(number, prefix=PREFIX):
    text = some(8, 20)
    marks = (False,) * (len(prefix) + 2) + (True,) * (len(text) - 2)
    return ScoredText(number, prefix + text, marks)


def spanned(_):
    question = some(8, 20)
    return SpanPrompt(PREFIX[:4] + question, PREFIX[:4] + SPAN + question, 4, 0, 6, len(question), 0)


SAMPLES = [sample(i) for i in range(6)]
TEXTS, BARE = [scored(i) for i in range(6)], [scored(i, ()) for i in range(6)]
PROMPTS = [spanned(i) for i in range(6)]
QUERIES = [PREFIX[:3] + some(4, 9) for _ in range(6)]
ASKED = [Prompt(i, query, 8) for i, query in enumerate(QUERIES)]
PAIRS = pd.DataFrame({"relation": ["a"] * 20 + ["b"] * 20, "source_id": ids(40), "target_id": ids(40)})
SEQUENCES = np.array([ids(24) for _ in range(4)])
VARIANTS = [("undifferentiated", []), ("undifferentiated", [(0, 1), (3, 2)]), ("scaling", [(1, 1)]), ("mean", [(2, 2)])]
RANKS = pd.DataFrame(
    [(ablation, 1, place, layer, head, 1.0, 1.0) for ablation in ABLATIONS
     for place, (layer, head) in enumerate([(0, 1), (1, 2), (3, 3), (2, 0)], 1)],
    columns=["ablation", "rank", "position", "layer", "head", "ships_degrees", "kl_mean"],
)  # fmt: skip


def probe(model):
    rng, width = np.random.default_rng(0), model.config.get_text_config().hidden_size
    return saliency.SampleProbe(3, rng.normal(size=(len(SAMPLES), width)), rng.normal(size=len(SAMPLES)))


def flows(model, losses, prefix=PREFIX):
    given = None if losses == ["answer_nll"] else probe(model)
    return saliency.extract(model, SAMPLES, prefix, losses=losses, sample_probe=given, batch_tokens=60)


def groups(model):
    found = search(model, QUERIES, RANKS, ablations=ABLATIONS, epsilon=1e-5, rank=1, candidates=4, size=2)
    return {name: found[name].to_numpy() for name in ("layer", "head", "ships_degrees", "kl_mean")}


def mappings(folder, model):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return map_heads(folder, PAIRS, k_max=20, device=device, threads=1, first_mlp=True)


# stage -> (folder, model, tokenizer) -> {array: values}
STAGES = {
    "sinks": lambda folder, model, _: column_means(model, SEQUENCES, batch_tokens=72),
    "attention": lambda folder, model, _: meaningless_tokens.extract(model, PROMPTS, batch_tokens=120),
    "log-probabilities": lambda folder, model, _: mink.extract(
        model, {"answer": TEXTS, "question": TEXTS[:3]}, batch_tokens=80
    ),
    "log-probabilities, nothing shared": lambda folder, model, _: mink.extract(
        model, {"answer": BARE}, batch_tokens=80
    ),
    "hidden states": lambda folder, model, _: hidden_states.extract(model, SAMPLES, PREFIX, batch_tokens=40),
    "saliency of the probe": lambda folder, model, _: flows(model, ["probe_bce", "probe_logit"]),
    "saliency of the answer": lambda folder, model, _: flows(model, ["answer_nll"]),
    "saliency of both": lambda folder, model, _: flows(model, ["probe_bce", "probe_logit", "answer_nll"]),
    "saliency, nothing shared": lambda folder, model, _: flows(model, ["probe_logit"], ()),
    "answers": lambda folder, model, _: {
        "ids": np.concatenate([[*one.ids, -1] for one in generate(model, ASKED, [7, 9, 20], batch_size=4, prefix=3)])
    },
    "head ablations": lambda folder, model, _: safety_heads.extract(
        model, QUERIES, ablations=ABLATIONS, epsilon=1e-5
    ),
    "head groups": lambda folder, model, _: groups(model),
    "ablated answers": lambda folder, model, tokenizer: {
        "texts": np.array(answers(model, tokenizer, QUERIES, VARIANTS, epsilon=1e-5, new_tokens=4))
    },
    "head mappings": lambda folder, model, _: mappings(folder, model),
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def reference(request, tmp_path_factory):
    """(folder, {stage: arrays}) on the CPU."""
    folder = save_folder(tmp_path_factory.mktemp(request.param) / "model", request.param)
    model, tokenizer = load_model(folder, dtype="float32", device="cpu"), load_tokenizer(folder)
    return folder, {stage: run(folder, model, tokenizer) for stage, run in STAGES.items()}


@pytest.mark.parametrize("devices", DEVICES)
def test_every_stage_is_that_of_the_cpu(reference, devices):
    folder, expected = reference
    count, options = DEVICES[devices]
    with pretend_gpus(count, roots=("scripts/atlas",)):
        model, tokenizer = checked(load_model(folder, dtype="float32", **options)), load_tokenizer(folder)
        assert {str(parameter.device) for parameter in model.parameters()} == {f"cuda:{i}" for i in range(count)}
        found = {stage: run(folder, model, tokenizer) for stage, run in STAGES.items()}
    for stage, arrays in expected.items():
        assert found[stage].keys() == arrays.keys(), stage
        for name, array in arrays.items():
            there = np.asarray(found[stage][name])
            if array.dtype.kind == "f":
                scale = np.nanmax(np.abs(array), initial=0)
                np.testing.assert_allclose(there, array, rtol=0, atol=2e-5 * scale, err_msg=f"{stage} {name}")
            else:
                assert (there == array).all(), (stage, name)


@pytest.mark.parametrize("mistake", ["targets left on the first device", "numpy of a GPU tensor"])
def test_a_planted_mistake_is_seen(tmp_path, monkeypatch, mistake):
    """What the harness is for: code that runs on a CPU and fails where there are GPUs."""
    folder = save_folder(tmp_path / "model", "llama")
    statistics = next_token.distribution_statistics

    def wrong(logits, targets):
        if "numpy" in mistake:
            targets.numpy()
            return statistics(logits, targets)
        return statistics(logits, targets.to("cuda:0"))

    monkeypatch.setattr(next_token, "distribution_statistics", wrong)
    model = load_model(folder, dtype="float32", device="cpu")
    if "numpy" in mistake:
        STAGES["log-probabilities"](folder, model, None)
    said = "same device" if "left" in mistake else "numpy"
    with (
        pretend_gpus(2, roots=("scripts/atlas",)),
        pytest.raises((RuntimeError, TypeError), match=said),
    ):
        model = load_model(folder, dtype="float32", device="auto", device_map="auto")
        STAGES["log-probabilities"](folder, model, None)
