"""Every analysis on one model against the stock model: what the product's functions give, and what is right."""

import copy
import functools

import numpy as np
import pandas as pd
import torch

import device_stages as made
import stock_model as stock
from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.head_types.extract import head_scores
from atlas.analyses.head_types.jobs import extract_head_types
from atlas.analyses.meaningless_tokens import extract as meaningless_tokens
from atlas.analyses.meaningless_tokens.jobs import extract_attention
from atlas.analyses.mink import extract as mink
from atlas.analyses.mink import storage as logprobs
from atlas.analyses.mink.jobs import extract_token_logprobs, generate_answers
from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.analyses.safety_heads.extract import HeadAblation
from atlas.analyses.safety_heads.jobs import extract_head_ablations, generate_ablated
from atlas.analyses.saliency import extract as saliency
from atlas.analyses.saliency import hidden_states
from atlas.analyses.saliency.jobs import extract_hidden_states, extract_saliency
from atlas.analyses.saliency.storage import FLOWS
from atlas.analyses.sinks.extract import column_means
from atlas.analyses.sinks.jobs import extract_sinks
from atlas.attention import checked
from atlas.models.generation import generate
from atlas.models.weights import WeightReader

TOLERANCE = 2e-4  # of the largest value
EPSILON = 1e-5
KINDS = ("undifferentiated", "scaling", "mean")
ENDS = (7, 9, 20)
PAIRS = pd.DataFrame({"relation": "a", "source_id": made.ids(24), "target_id": made.ids(24)})


class Different(AssertionError):
    """A number that is not the stock model's."""


def same(measured, expected, what, tolerance=TOLERANCE):
    """Raises Different unless arrays agree to `tolerance` of the largest expected value; NaN only where expected."""
    measured, expected = np.asarray(measured, float), np.asarray(expected, float)
    if measured.shape != expected.shape:
        raise Different(f"{what}: shape {measured.shape} for {expected.shape}")
    if not np.array_equal(np.isnan(measured), np.isnan(expected)):
        raise Different(f"{what}: not the values that are missing")
    worst = np.nanmax(np.abs(measured - expected), initial=0.0) / max(np.nanmax(np.abs(expected), initial=0.0), 1e-30)
    if not worst <= tolerance:
        raise Different(f"{what}: off by {worst:.1e} of the largest value")


def depth(model):
    return model.config.get_text_config().num_hidden_layers


def by_layer(found, model, like):
    """{layer: array} as one array with the layers in front, NaN in layers without attention."""
    missing = np.full_like(next(iter(found.values())), np.nan) if like is None else like
    return np.stack([np.asarray(found.get(layer, missing), float) for layer in range(depth(model))])


def sinks(model, reference, _):
    arrays = column_means(checked(model, *extract_sinks.NEEDS), made.SEQUENCES, batch_tokens=72)
    length = made.SEQUENCES.shape[1]
    rows = length - torch.arange(length)
    for number, ids in enumerate(made.SEQUENCES.tolist()):
        expected = {layer: (a.sum(-2) / rows).numpy() for layer, a in stock.attention(reference, ids).items()}
        same(arrays["alpha"][number], by_layer(expected, model, None), "alpha")


def head_types(model, reference, _):
    arrays = head_scores(checked(model, *extract_head_types.NEEDS), made.TWICE, 11, batch_tokens=66)
    for number, ids in enumerate(made.TWICE.tolist()):
        weights = stock.attention(reference, ids)
        for kind, place in (("previous_token", 10), ("duplicate_token", 0), ("induction", 1)):
            # Of row 11 + r: the column place + r.
            rows = torch.arange(11)
            expected = {layer: a[:, 11 + rows, place + rows].mean(-1).numpy() for layer, a in weights.items()}
            same(arrays[kind][number], by_layer(expected, model, None), kind)


def attention(model, reference, _):
    arrays = meaningless_tokens.extract(checked(model, *extract_attention.NEEDS), made.PROMPTS, batch_tokens=120)
    order = [made.PROMPTS[i] for i in arrays["prompt"]]
    ends = {
        "without": np.cumsum([len(prompt.without) for prompt in order]),
        "with": np.cumsum([len(prompt.with_span) for prompt in order]),
    }
    for place, number in enumerate(arrays["prompt"]):
        prompt = made.PROMPTS[number]
        for condition, ids in (("without", prompt.without), ("with", prompt.with_span)):
            weights = stock.attention(reference, ids)
            here = slice(ends[condition][place] - len(ids), ends[condition][place])
            below = torch.ones(len(ids), len(ids)).tril(-1).double()
            inside = torch.zeros(len(ids), dtype=torch.bool)
            if condition == "with":
                inside[prompt.prefix : prompt.prefix + prompt.span] = True
            outside = (~inside).double()
            expected = {"below": {x: (a * below).sum(-2) for x, a in weights.items()}}
            if condition == "with":
                expected["below_outside"] = {x: (a * below * outside[:, None]).sum(-2) for x, a in weights.items()}
                # What a learned sink takes stays. In float32 one minus the rest would cancel.
                sink = {x: bool((a.sum(-1) < 1 - 1e-4).any()) for x, a in weights.items()}
                exact = stock.attention(_wide(reference), ids) if any(sink.values()) else weights
                left = {
                    x: 1 - (a * inside).sum(-1, keepdim=True) if sink[x] else (a * outside).sum(-1, keepdim=True)
                    for x, a in exact.items()
                }
                expected["below_renormalised"] = {
                    x: (a / left[x] * below * outside[:, None] * outside).nan_to_num(0, 0, 0).sum(-2)
                    for x, a in exact.items()
                }
                question = slice(prompt.prefix + prompt.span, prompt.prefix + prompt.span + prompt.question)
                mass = {x: (a * inside).sum(-1)[:, question].mean(-1).numpy() for x, a in weights.items()}
                same(arrays["span_mass"][place], by_layer(mass, model, None), "span_mass")
            for name, found in expected.items():
                found = {x: value.T.numpy() for x, value in found.items()}
                same(arrays[f"{condition}.{name}"][here].transpose(1, 0, 2), by_layer(found, model, None), name)


@functools.cache
def _wide(model):
    """The stock model in float64."""
    wide = copy.deepcopy(model).double()
    if hasattr(wide, "set_experts_implementation"):
        wide.set_experts_implementation("eager")  # grouped products have no float64
    return wide


def _logprobs(model, reference, texts):
    arrays = mink.extract(checked(model, *extract_token_logprobs.NEEDS), {"answer": texts}, batch_tokens=80)
    for (number, found), text in zip(logprobs.split(arrays, "answer"), texts, strict=True):
        rows = stock.logits(reference, text.ids).log_softmax(-1)
        expected = {"lp": [], "mu": [], "sigma": []}
        for i in range(1, len(text.ids)):
            if text.scored[i]:
                row = rows[i - 1]
                mu = (row.exp() * row).sum()
                expected["lp"].append(row[text.ids[i]])
                expected["mu"].append(mu)
                expected["sigma"].append(((row.exp() * (row - mu) ** 2).sum()) ** 0.5)
        for name, values in expected.items():
            same(found[name], values, f"{name} of text {number}")


def bare_logprobs(model, reference, _):
    _logprobs(model, reference, made.BARE)


def shared_logprobs(model, reference, _):
    _logprobs(model, reference, made.TEXTS)


def generation(model, reference, _):
    for prefix in (0, 3):
        found = generate(checked(model, *generate_answers.NEEDS), made.ASKED, ENDS, batch_size=4, prefix=prefix)
        for answer, asked in zip(found, made.ASKED, strict=True):
            if list(answer.ids) != stock.greedy(reference, asked.ids, asked.max_new_tokens, ENDS):
                raise Different(f"answer {answer.number} with {prefix} shared tokens")


def states(model, reference, _):
    arrays = hidden_states.extract(
        checked(model, *extract_hidden_states.NEEDS), made.SAMPLES, made.PREFIX, batch_tokens=40
    )
    for row, number in enumerate(arrays["number"]):
        expected = stock.states(reference, made.SAMPLES[number].ids)
        same(arrays["states"][row], expected, f"states of sample {number}")


def flows(model, reference, _):
    probe = made.probe(model)
    arrays = saliency.extract(
        checked(model, *extract_saliency.NEEDS),
        made.SAMPLES,
        made.PREFIX,
        losses=["probe_logit", "answer_nll"],
        sample_probe=probe,
        batch_tokens=60,
    )
    for row, number in enumerate(arrays["number"]):
        sample = made.SAMPLES[number]
        own = (probe.layer, probe.weight[number], probe.bias[number])
        found, logit, nll = stock.saliency(reference, sample.ids, sample.answer, own)
        same(arrays["logit"][row], logit, "logit", 1e-3)
        same(arrays["nll"][row], nll, "nll", 1e-3)
        for loss, by in found.items():
            for place, flow in enumerate(FLOWS):
                pairs = _pairs(sample, flow, int(loss == "answer_nll"))
                for layer in range(depth(model)):
                    measured = arrays[f"{loss}.absolute"][row, layer, place]
                    if layer not in by or (loss == "probe_logit" and layer >= probe.layer):
                        same(measured, np.full_like(measured, np.nan), f"{loss} {flow} of layer {layer}")
                        continue
                    expected = (
                        (by[layer].abs() * pairs).sum((-1, -2)) if measured.ndim else (by[layer].abs() * pairs).sum()
                    )
                    same(measured, expected, f"{loss} {flow} of layer {layer}", 1e-3)


def _pairs(sample, flow, shift):
    length = len(sample.ids)
    sets = {"question": sample.question, "random": sample.random,
            "answer": [i - shift for i in sample.answer], "all": range(length - shift)}  # fmt: skip
    source, _, end = flow.split("_")
    chosen = torch.zeros(length, length, dtype=torch.float64)
    for i in sets[end]:
        for j in sets[source]:
            chosen[i, j] = float(i > j)
    return chosen


def ships(model, reference, _):
    ready = checked(model, *extract_head_ablations.NEEDS)
    prompts, heads = made.QUERIES, model.config.get_text_config().num_attention_heads
    ablation = HeadAblation(ready, prompts, range(depth(model)), epsilon=EPSILON, means=True)
    means = stock.head_means(reference, prompts)
    clean = [stock.ablated(reference, ids, "scaling", -1, [()], EPSILON, means) for ids in prompts]
    before = torch.stack([state[0] for state, _ in clean]).numpy()
    same(ablation.clean_gram, before @ before.T, "clean Gram matrix")
    for layer in sorted(means):
        for kind in KINDS:
            gram, kl = ablation.effects(kind, [[(layer, head)] for head in range(heads)])
            rows = [(head,) for head in range(heads)]
            changed = [stock.ablated(reference, ids, kind, layer, rows, EPSILON, means) for ids in prompts]
            for head in range(heads):
                after = torch.stack([state[head] for state, _ in changed]).numpy()
                same(gram[head], after @ after.T, f"{kind}, layer {layer}, head {head}: Gram matrix", 1e-3)
                expected = [_kl(c[1][0], f[1][head]) for c, f in zip(clean, changed, strict=True)]
                if not np.allclose(kl[head], expected, rtol=1e-3, atol=2e-5):
                    worst = np.abs(kl[head] - expected).max()
                    raise Different(f"{kind}, layer {layer}, head {head}: KL off by {worst:.1e}")


def _kl(clean, changed):
    p, q = clean.log_softmax(-1), changed.log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


def ablated_answers(model, reference, tokenizer):
    ready = checked(model, *generate_ablated.NEEDS)
    means = stock.head_means(reference, made.QUERIES)
    first, last = min(means), max(means)
    variants = [("undifferentiated", []), ("undifferentiated", [(first, 1)]), ("scaling", [(last, 3)]),
                ("mean", [(last, 2)])]  # fmt: skip
    found = answers(ready, tokenizer, made.QUERIES, variants, epsilon=EPSILON, new_tokens=4, ends=ENDS)
    for (kind, heads), texts in zip(variants, found, strict=True):
        layer, rows = (heads[0][0], [(heads[0][1],)]) if heads else (-1, [()])

        def run(model, ids, kind=kind, layer=layer, rows=rows):
            return stock.ablated(model, ids, kind, layer, rows, EPSILON, means)[1]

        for ids, text in zip(made.QUERIES, texts, strict=True):
            expected = tokenizer.decode(stock.greedy(reference, ids, 4, ENDS, run), skip_special_tokens=True)
            if text.split() != expected.split():
                raise Different(f"{kind} of {heads}: an answer differs")


def mappings(folder, reference, first_mlp):
    """The ranks of targets under each head, from the weights, against vectors run through the stock modules."""
    result = map_heads(folder, PAIRS, k_max=20, threads=1, first_mlp=first_mlp)
    sources = torch.tensor(PAIRS["source_id"].tolist())
    raw = reference.get_input_embeddings().weight[sources]
    # Of a mixture of experts the raw embedding, by default (option first_experts).
    as_it_is = WeightReader(folder).first_state(first_mlp, "embedding") == "embedding"
    lifted = raw if as_it_is else stock.first_mlp(reference, sources)
    targets = torch.tensor(PAIRS["target_id"].tolist())
    for place, layer in enumerate(result["layers"]):
        logits = stock.head_logits(reference, raw if layer == 0 else lifted, [layer])[layer]
        slack = 1e-3 * logits.abs().amax(-1, keepdim=True)
        for name, signed in (("rank_direct", logits), ("rank_suppression", -logits)):
            own = signed[:, torch.arange(len(targets)), targets][..., None]
            least, most = (signed > own + slack).sum(-1), (signed > own - slack).sum(-1) - 1
            got = torch.as_tensor(result[name][place])
            if not bool(((least <= got) & (got <= most)).all()):
                raise Different(f"{name} of layer {layer}")


# name -> (model, stock model, tokenizer) -> None, or Different
ANALYSES = {
    "sinks": sinks,
    "head types": head_types,
    "meaningless tokens": attention,
    "Min-K%": bare_logprobs,
    "Min-K%, shared start": shared_logprobs,
    "answers": generation,
    "hidden states": states,
    "saliency": flows,
    "Ships": ships,
    "ablated answers": ablated_answers,
}
MAPPINGS = {"head categories": True, "head categories, raw embeddings": False}
