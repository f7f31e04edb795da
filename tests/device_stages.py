"""Every extraction as a function of a model, on a few made texts; for tests of devices."""

import random

import numpy as np
import pandas as pd
import torch

from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.head_types.extract import head_scores
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
from atlas.analyses.saliency.flow_batches import extract_flows
from atlas.analyses.saliency.marked_prompts import MarkedPrompt, NamedFlow
from atlas.analyses.saliency.span_flows import span_flows
from atlas.analyses.sinks.extract import column_means
from atlas.attention.apart import attention_layers
from atlas.models.generation import Prompt, generate

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


def marked(number):
    text = some(12, 20)
    length = len(text)
    always = {"text": tuple(range(length - 1)), "predicting": (length - 2,)}
    parts = {"marked": {**always, "label": (3, 7)}, "random": {**always, "label": (5, 9)}}
    return MarkedPrompt(number, text, (length - 1,), parts, 0)


def scored(number, prefix=PREFIX):
    text = some(8, 20)
    marks = (False,) * (len(prefix) + 2) + (True,) * (len(text) - 2)
    return ScoredText(number, prefix + text, marks)


def spanned(_):
    question = some(8, 20)
    return SpanPrompt(PREFIX[:4] + question, PREFIX[:4] + SPAN + question, 4, 0, 6, len(question), 0)


SAMPLES = [sample(i) for i in range(6)]
NAMED = [NamedFlow("S_wp", "text", "label"), NamedFlow("S_pq", "label", "predicting"), NamedFlow("S_ww")]
TEXTS, BARE = [scored(i) for i in range(6)], [scored(i, ()) for i in range(6)]
PROMPTS = [spanned(i) for i in range(6)]
QUERIES = [PREFIX[:3] + some(4, 9) for _ in range(6)]
ASKED = [Prompt(i, query, 8) for i, query in enumerate(QUERIES)]
PAIRS = pd.DataFrame({"relation": ["a"] * 20 + ["b"] * 20, "source_id": ids(40), "target_id": ids(40)})
SEQUENCES = np.array([ids(24) for _ in range(4)])
TWICE = np.array([2 * tuple(DRAWN.sample(range(5, 190), 11)) for _ in range(4)])
MARKED = [marked(i) for i in range(6)]
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


def places(model):
    """Layers with attention that stand for layers 0, 1, 2 and 3, which not every layer of a hybrid has."""
    layers = attention_layers(model)
    return [layers[number * len(layers) // 4] for number in range(4)]


def variants(model):
    there = places(model)
    return [(ablation, [(there[layer], head) for layer, head in heads]) for ablation, heads in VARIANTS]


def groups(model):
    ranks = RANKS.assign(layer=[places(model)[layer] for layer in RANKS["layer"]])
    found = search(model, QUERIES, ranks, ablations=ABLATIONS, epsilon=1e-5, rank=1, candidates=4, size=2)
    return {name: found[name].to_numpy() for name in ("layer", "head", "ships_degrees", "kl_mean")}


def mappings(folder, model):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return map_heads(folder, PAIRS, k_max=20, device=device, threads=1, first_mlp=True)


# stage -> (folder, model, tokenizer) -> {array: values}
STAGES = {
    "sinks": lambda folder, model, _: column_means(model, SEQUENCES, batch_tokens=72),
    "head types": lambda folder, model, _: head_scores(model, TWICE, 11, batch_tokens=66),
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
    "saliency between spans": lambda folder, model, _: extract_flows(
        model, MARKED, (), span_flows(NAMED), backward=["answer_nll"], batch_tokens=60
    ),
    "answers": lambda folder, model, _: {
        "ids": np.concatenate([[*one.ids, -1] for one in generate(model, ASKED, [7, 9, 20], batch_size=4, prefix=3)])
    },
    "head ablations": lambda folder, model, _: safety_heads.extract(
        model, QUERIES, ablations=ABLATIONS, epsilon=1e-5
    ),
    "head groups": lambda folder, model, _: groups(model),
    "ablated answers": lambda folder, model, tokenizer: {
        "texts": np.array(answers(model, tokenizer, QUERIES, variants(model), epsilon=1e-5, new_tokens=4))
    },
    "head mappings": lambda folder, model, _: mappings(folder, model),
}  # fmt: skip
