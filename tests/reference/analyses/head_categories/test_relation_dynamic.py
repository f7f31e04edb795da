"""What heads write on prompts equals stock Hugging Face eager, prompt by prompt and head by head; a planted head."""

import numpy as np
import pytest
import torch

import families
from atlas.analyses.head_categories import top_hits as module
from atlas.analyses.head_categories.completions import SPLIT
from atlas.analyses.head_categories.dynamic import dynamic_hits
from atlas.analyses.head_categories.dynamic_prompts import SHOWN, Placed, placed_prompts
from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.head_categories.top_hits import top_hits
from atlas.attention import ATTENTION, START, checked
from atlas.models.limits import Limits
from atlas.models.loading import load_tokenizer
from atlas.models.weights import WeightReader
from attention_engine_reference import _projection, attention_module
from head_maps import pairs_of
from planted_weights import relation_heads
from tiny_models import save_tokenizer

LIMITS = Limits(128, 199)
OPTIONS = {
    "templates": ["w1 {source} w2", "{examples} {source}"], "example": " {source} {target}", "shots": 2, "pairs": 8,
    "seed": 3,
}  # fmt: skip
# Grouped queries, Conv1D and biases, one matrix for all three, biases without a gate, norms behind attention, windows.
FAMILIES = ["llama", "gpt2", "gpt_neox", "phi", "phi3", "qwen2", "gemma2", "mistral_sliding", "opt", "olmo2"]


def some_prompts(count=7, seed=1):
    """Lists of two prompts: some begin alike, of several lengths, the source token within and at the end."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n):
        return tuple(torch.randint(3, 190, (n,), generator=generator).tolist())

    start = draw(3)
    return [[Placed(start + draw(1 + i % 3), 3), Placed((*draw(4), 9), 4 if i % 2 else 2)] for i in range(count)]


@torch.no_grad()
def stock_logits(model, prompt):
    """{context: (layers, heads, V) float64} of one prompt: the slices of the projection's input at the last token, each
    through its own rows of the projection and the unembedding; without context under a mask that leaves one key."""
    config = model.config.get_text_config()
    depth, heads = config.num_hidden_layers, config.num_attention_heads
    found = {"with": [None] * depth, "without": [None] * depth}
    handles, again = [], []

    def attended(layer):
        def hook(own, args, kwargs, output):
            if not again:
                again.append(True)
                size = len(prompt.ids)
                mask = torch.full((1, 1, size, size), torch.finfo(model.dtype).min, dtype=model.dtype)
                mask[..., prompt.place] = 0
                own.forward(*args, **{**kwargs, "attention_mask": mask})
                again.clear()

        return hook

    def projected(layer):
        def pre(own, args):
            z = args[0][0, -1].double().view(heads, -1)
            weight = own.weight.double() if type(own).__name__ == "Conv1D" else own.weight.double().T
            written = torch.einsum("hv,hvd->hd", z, weight.view(heads, z.shape[1], -1))
            context = "without" if again else "with"
            found[context][layer] = written @ model.get_output_embeddings().weight.double().T

        return pre

    for layer in range(depth):
        attention = attention_module(model, layer)
        handles.append(attention.register_forward_hook(attended(layer), with_kwargs=True))
        handles.append(_projection(attention).register_forward_pre_hook(projected(layer)))
    try:
        model(torch.tensor([prompt.ids]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return {context: torch.stack(rows) for context, rows in found.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_hits_equal_the_stock_model(name, tmp_path):
    """In float64, but where another logit is nearer to the target's than Hugging Face's float32 softmax can tell."""
    model = families.build(name, dtype=torch.float64).requires_grad_(False)
    model.save_pretrained(tmp_path)
    prompts = some_prompts()
    generator = np.random.default_rng(0)
    targets, k = generator.integers(0, 199, len(prompts)), generator.choice([1, 10, 60], len(prompts))
    for rows in (None, 2):
        found = dynamic_hits(
            checked(model, ATTENTION, START), WeightReader(tmp_path), prompts, targets, k, max_rows=rows
        )
        assert found["layers"].tolist() == [0, 1, 2, 3]
        wrong = seen = hits = 0
        for pair, both in enumerate(prompts):
            for template, prompt in enumerate(both):
                for context, logits in stock_logits(model, prompt).items():
                    for sign, signed in (("direct", logits), ("suppression", -logits)):
                        own = signed[..., targets[pair]][..., None]
                        slack = 1e-5 * signed.abs().amax(-1, keepdim=True)
                        sure, most = (signed > own + slack).sum(-1), (signed > own - slack).sum(-1) - 1
                        got = torch.from_numpy(found[f"{context}_{sign}"][:, :, pair, template]).bool()
                        wrong += int((got & (sure >= k[pair])).sum() + (~got & (most < k[pair])).sum())
                        hits, seen = hits + int(got.sum()), seen + got.numel()
        assert wrong == 0
        assert 0.03 * seen < hits < 0.6 * seen


def hits_of(states, output, entries, targets, k):
    """top_hits of one head."""
    return top_hits(states[:, None], output[None], entries, float(entries.norm(dim=1).amax()), targets, k)


@pytest.mark.parametrize("shape", [(300, 8, 24, 5000), (3, 24, 24, 700), (40, 8, 24, 40)])
def test_top_hits_equal_a_sort_of_all_logits(shape):
    """Either side of the product, and vocabularies of fewer entries than are tried first."""
    rows, narrow, wide, size = shape
    generator = torch.Generator().manual_seed(0)
    states, output, entries = (
        torch.randn(n, m, generator=generator, dtype=torch.float64)
        for n, m in ((rows, narrow), (narrow, wide), (size, wide))
    )
    logits = states @ output @ entries.T
    # Targets of all ranks, many of them near k.
    place = torch.randint(0, size, (rows,), generator=generator)
    place[::2] = place[::2] % 30
    order = logits.argsort(1, descending=True)
    targets = order[torch.arange(rows), place]
    k = torch.randint(1, 30, (rows,), generator=generator)
    (direct,), (suppressed,) = hits_of(states, output, entries, targets, k)
    assert direct.tolist() == (place < k).tolist()
    assert suppressed.tolist() == (size - 1 - place < k).tolist()


def test_most_rows_are_settled_by_few_entries(monkeypatch):
    ranked = []
    counted = module.count
    monkeypatch.setattr(module, "count", lambda rows, *rest: ranked.append(len(rows)) or counted(rows, *rest))
    generator = torch.Generator().manual_seed(0)
    states, output, entries = (torch.randn(n, m, generator=generator) for n, m in ((500, 8), (8, 24), (20000, 24)))
    targets = torch.randint(0, 20000, (500,), generator=generator)
    hits_of(states, output, entries, targets, torch.full((500,), 10))
    assert sum(ranked) < 25


def test_ties_are_no_hits_in_either_sign():
    """A head that writes nothing ties all logits: the target stands in the middle."""
    found = hits_of(torch.zeros(4, 8), torch.randn(8, 24), torch.randn(600, 24), torch.arange(4), torch.full((4,), 10))
    assert not found.any()


def test_a_planted_head_scores_its_relation_and_others_nothing(tmp_path):
    """Heads of the planted model look at the last token alone, which is the source with context as without."""
    model = relation_heads()
    model.save_pretrained(tmp_path / "model")
    pairs = pairs_of(10, 50)
    prompts = [[Placed((5, source), 1), Placed((6, source, source), 1)] for source in pairs["source_id"]]
    found = dynamic_hits(
        model, WeightReader(tmp_path / "model"), prompts, pairs["target_id"], [1] * len(pairs), max_rows=16
    )
    static = map_heads(tmp_path / "model", pairs, first_mlp=False)["rank_direct"] < 1
    for name, head in (("next_10", (1, 2)), ("next_50", (2, 4))):
        own = (pairs["relation"] == name).to_numpy()
        # Head (1, 2) is planted to write; others write nothing at all.
        assert static[*head][own].all()
        assert found["without_direct"][*head][own].all()
        assert found["with_direct"][*head][own][:, 1].mean() > 0.9
        assert not found["without_suppression"][*head].any()
        assert not found["without_direct"][*head][~own].any()
    others = np.ones(static.shape[:2], bool)
    others[1, 2] = others[2, 4] = False
    assert not found["with_direct"][others].any()


@pytest.fixture
def tokenizer(tmp_path):
    save_tokenizer(tmp_path)
    return load_tokenizer(tmp_path)


def test_prompts_hold_the_source_once_in_every_template(tokenizer):
    pairs = pairs_of(10).set_index(np.arange(100, 130))
    found, dropped = placed_prompts(tokenizer, pairs, OPTIONS, LIMITS)
    assert len(found) == 8
    for label, prompts in found.items():
        assert len(prompts) == 2
        for one in prompts:
            assert one.ids[one.place] == pairs["source_id"][label]
            assert one.ids.count(one.ids[one.place]) == 1
        assert prompts[0].ids == (4, pairs["source_id"][label], 5)
    assert set(dropped) <= {SHOWN}
    shown = {prompts[1].ids[:4] for prompts in found.values()}
    assert len(shown) == 1
    again, _ = placed_prompts(tokenizer, pairs, {**OPTIONS, "pairs": 3}, LIMITS)
    assert list(again) == list(found)[:3]
    assert list(placed_prompts(tokenizer, pairs, {**OPTIONS, "seed": 4}, LIMITS)[0]) != list(found)


def test_pairs_whose_source_stands_twice_or_not_at_all_are_counted(tokenizer):
    pairs = pairs_of(10)
    found, dropped = placed_prompts(tokenizer, pairs, {**OPTIONS, "templates": ["w7 {source}"], "pairs": 100}, LIMITS)
    assert len(found) == 29  # w7 is token 10, the source of one pair
    assert dropped == {SPLIT: 1}
    found, dropped = placed_prompts(tokenizer, pairs, {**OPTIONS, "templates": ["x{source}"]}, LIMITS)
    assert found == {}
    assert sum(dropped.values()) == 30
