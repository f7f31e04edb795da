"""Saliency between marked parts equals autograd on stock eager attention over pairs that are counted one by one."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import any_family
import families
import stock_model as stock
from atlas.analyses.saliency.flow_batches import extract_flows
from atlas.analyses.saliency.jobs import extract_span_saliency
from atlas.analyses.saliency.marked_prompts import MarkedPrompt, marked_prompts, named_flows
from atlas.analyses.saliency.span_flows import span_flows
from atlas.analyses.saliency.span_metrics import span_table
from atlas.analyses.saliency.storage import merge
from atlas.attention import checked, decoder_layers
from atlas.models.limits import Limits
from byte_tokenizer import tokenizer
from planted_weights import looking, silent

FLOWS = [
    {"name": "S_ww", "rest": True},  # wherever it stands, it is the last
    {"name": "S_wp", "from": "text", "to": "label"},
    {"name": "S_pq", "from": "label", "to": "predicting"},
    {"name": "S_lx", "from": "label", "to": "other"},
]
# (tokens of the prompt, tokens of the answer, {part: its tokens}, random ones); the first token is none of the text
TEXTS = [
    (12, 2, {"label": (3, 7, 8), "other": (10,)}, {"label": (1, 5, 9), "other": (4,)}),
    (7, 1, {"label": (2,), "other": (3, 5)}, {"label": (6,), "other": (1, 2)}),
    (15, 3, {"label": (4, 14), "other": (12, 13)}, {"label": (2, 3), "other": (7, 14)}),
    (9, 1, {"label": (1, 2), "other": (8,)}, {"label": (3, 4), "other": (5,)}),
]
KEYS = {"model": "m", "dataset": "d"}


def prompts():
    draw = torch.Generator().manual_seed(4)
    found = []
    for number, (asked, answered, marked, random) in enumerate(TEXTS):
        answer = tuple(range(asked, asked + answered))
        always = {"text": tuple(range(1, asked)), "predicting": tuple(i - 1 for i in answer)}
        ids = tuple(torch.randint(3, 190, (asked + answered,), generator=draw).tolist())
        parts = {"marked": {**always, **marked}, "random": {**always, **random}}
        found.append(MarkedPrompt(5 + number, ids, answer, parts, 1))
    return found


def pairs_of(parts):
    """{flow: set of (destination, source)}, each pair asked for by itself."""
    found = {}
    for name, source, target in (
        ("S_wp", "text", "label"), ("S_pq", "label", "predicting"), ("S_lx", "label", "other")
    ):  # fmt: skip
        found[name] = {(i, j) for i in parts[target] for j in parts[source] if j < i}
    every = {*parts["text"], *parts["predicting"]}
    found["S_ww"] = {(i, j) for i in every for j in every if j < i} - set().union(*found.values())
    return found


def build(name):
    made = any_family.build(name) if name == "lfm2" else families.build(name)
    return made.requires_grad_(False)


FAMILIES = ["llama", "gpt2", "mistral_sliding", "gemma2", "opt", "lfm2"]


def run(model, given=None, flows=FLOWS, **options):
    flows = named_flows(flows)
    own = {"batch_tokens": 40, "block": 3, **options}
    return extract_flows(model, given or prompts(), (), span_flows(flows), backward=["answer_nll"], **own)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_mean_is_that_of_the_pairs_counted_one_by_one(name):
    model = checked(build(name), *extract_span_saliency.NEEDS)
    arrays = run(model)
    reference, width = copy.deepcopy(model).double(), model.config.get_text_config().hidden_size
    depth = len(decoder_layers(model))
    flows = [(source, flow.name) for source in ("marked", "random") for flow in named_flows(FLOWS)]
    expected = {reduced: [] for reduced in ("mean sum_then_abs", "sum abs_then_sum")}
    for row, prompt in enumerate(prompts()):
        by, _, nll = stock.saliency(reference, prompt.ids, prompt.answer, (1, np.zeros(width), 0.0))
        assert arrays["nll"][row] == pytest.approx(nll, rel=1e-4)
        numbers = np.full((2, depth, len(flows)), np.nan)
        for place, (source, flow) in enumerate(flows):
            pairs = pairs_of(prompt.parts[source])[flow]
            assert arrays["answer_nll.pairs"][row, place] == len(pairs)
            for layer, s in by["answer_nll"].items() if pairs else ():
                one = s[:, [i for i, _ in pairs], [j for _, j in pairs]]
                numbers[:, layer, place] = one.sum(0).abs().mean(), one.abs().sum()
        for reduced, own in zip(expected.values(), numbers, strict=True):
            reduced.append(own)
    for reduced, per_prompt in expected.items():
        reduction, heads = reduced.split()
        table = span_table(
            arrays, named_flows(FLOWS), KEYS, reduction=reduction, heads=heads, confidence=0.9, dropped=0
        )
        known = ~np.isnan(per_prompt).all(1)  # prompts with a pair of each flow: all but two of random ones
        assert known.sum() == known.size - 2
        wanted = np.stack([np.mean(np.array(per_prompt)[known[:, f], :, f], 0) for f in range(len(flows))], 1)
        assert np.isnan(wanted).all(1).tolist() == [x not in by["answer_nll"] for x in range(depth)]
        assert np.isnan(wanted).any() == (name == "lfm2")
        for place, (source, flow) in enumerate(flows):
            own = table[(table["source"] == source) & (table["flow"] == flow)].sort_values("layer")
            scale = np.nanmax(wanted[:, place])
            each = np.array(per_prompt)[known[:, place], :, place]
            spread = stats.sem(each, axis=0) * stats.t.ppf(0.95, len(each) - 1)
            np.testing.assert_allclose(own["high"] - own["saliency"], spread, rtol=1e-3, atol=1e-4 * scale)
            np.testing.assert_allclose(own["saliency"] - own["low"], spread, rtol=1e-3, atol=1e-4 * scale)
            np.testing.assert_allclose(own["saliency"], wanted[:, place], rtol=1e-4, atol=2e-5 * scale)


def test_shards_give_the_same_bytes_and_batches_the_same_numbers():
    model = build("llama")
    whole = run(model, batch_tokens=20)
    joined = merge([run(model, batch_tokens=20, shard=n, shards=3) for n in (1, 2, 3)])
    for name, array in whole.items():
        assert array.tobytes() == joined[name].tobytes(), name
    for name, array in run(model, batch_tokens=1000, block=64).items():
        np.testing.assert_allclose(array, whole[name], rtol=1e-4, atol=1e-5 * np.nanmax(np.abs(array), initial=0))


def test_a_late_flow_alone_gives_what_it_gives_beside_others():
    """With nothing before the answer to measure, the graph starts late, behind a cache."""
    model = checked(build("llama"), *extract_span_saliency.NEEDS)
    late = [MarkedPrompt(p.number, p.ids, p.answer, p.parts, min(p.answer) - 1) for p in prompts()]
    alone, beside = run(model, late, [FLOWS[2]], batch_tokens=1), run(model)
    for kind in ("signed", "absolute"):
        for place in (0, 1):
            found, wanted = alone[f"answer_nll.{kind}"][:, :, place], beside[f"answer_nll.{kind}"][:, :, 1 + 4 * place]
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6 * np.abs(wanted).max())


WORDS, LABEL = range(10, 90), 90


@torch.no_grad()
def anchored():
    """Labels gather the words before them in the first layer; the answer is read from the labels in the last."""
    strength, gathered, read_out = 2, 3, 4
    model = silent(2, vocab_size=400)
    embedding = model.model.embed_tokens.weight
    embedding.zero_()
    looking(model, {LABEL: 3.0}, 3.0)
    embedding[list(WORDS), strength] = 1.0
    model.lm_head.weight.zero_()
    model.lm_head.weight[5, read_out] = 1
    for layer, (source, target) in zip(model.model.layers, ((strength, gathered), (gathered, read_out)), strict=True):
        layer.self_attn.v_proj.weight.zero_()
        layer.self_attn.v_proj.weight[0, source] = 1
        layer.self_attn.o_proj.weight[target, 0] = 0.1
    model.model.layers[0].self_attn.q_proj.weight.zero_()  # all alike
    return model.requires_grad_(False)


def test_labels_that_carry_the_answer_are_found_where_they_do():
    draw = np.random.default_rng(0)
    given = []
    for number in range(5):
        words = [int(word) for word in draw.choice(WORDS, 16)]
        labels = (4, 9, 13)
        ids = [LABEL if place in labels else word for place, word in enumerate(words)]
        drawn = tuple(sorted(draw.choice([i for i in range(1, 15) if i not in labels], 3, replace=False).tolist()))
        always = {"text": tuple(range(16)), "predicting": (15,)}
        parts = {"marked": {**always, "label": labels}, "random": {**always, "label": drawn}}
        given.append(MarkedPrompt(number, (*ids, 5), (16,), parts, 0))
    flows = [FLOWS[1], FLOWS[2], FLOWS[0]]
    arrays = run(anchored(), given, flows)
    table = span_table(
        arrays, named_flows(flows), KEYS, reduction="mean", heads="sum_then_abs", confidence=0.95, dropped=0
    )
    value = table.set_index(["source", "flow", "layer"])["saliency"]
    marked, random = value["marked"], value["random"]
    assert marked["S_wp", 0] > 10 * max(marked["S_pq", 0], marked["S_ww", 0])
    assert marked["S_pq", 1] > 10 * max(marked["S_wp", 1], marked["S_ww", 1])
    assert random["S_wp", 0] < marked["S_wp", 0] / 3
    assert random["S_pq", 1] < marked["S_pq", 1] / 10


def test_from_characters_to_the_table():
    """What the rows of a data set mark is what is measured, with a token in front that is none of the text."""
    rows = [
        {"id": "a", "prompt": "bad: no\nfine: yes\nwell:", "answer": " yes", "spans": {"label": [[5, 7], [14, 17]]}},
        {"id": "b", "prompt": "ill: no\nwell:", "answer": " yes", "spans": {"label": [[5, 7]]}},
    ]
    flows = [FLOWS[1], FLOWS[2], FLOWS[0]]
    given, report = marked_prompts(
        tokenizer(bos=True), pd.DataFrame(rows), named_flows(flows), seed=0, limits=Limits(None, 400)
    )
    assert report["measured"] == 2
    arrays = run(families.build("llama", vocab_size=400).requires_grad_(False), given, flows)
    tokens = [len(row["prompt"]) for row in rows]  # a byte is a token
    labels = ([5, 6, 14, 15, 16], [5, 6])
    for row, (length, own) in enumerate(zip(tokens, labels, strict=True)):
        wp, pq = sum(own), 4 * len(own)
        every = (length + 3) * (length + 2) // 2  # the prompt, and three of the answer that predict the next
        assert arrays["answer_nll.pairs"][row, :3].tolist() == [wp, pq, every - wp - pq]
