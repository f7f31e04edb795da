"""The greedy search and ablated generation equal brute-force loops over stock models."""

import numpy as np
import pandas as pd
import pytest
import torch

import families
import head_ablation_reference as reference
from atlas.analyses.registry import TABLES
from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.analyses.safety_heads.extract import Divergence, HeadAblation
from atlas.analyses.safety_heads.head_groups import search
from atlas.analyses.safety_heads.ships import ships
from atlas.models.loading import load_tokenizer
from tiny_models import save_tokenizer


@pytest.fixture
def tokenizer(tmp_path):
    save_tokenizer(tmp_path)
    return load_tokenizer(tmp_path)


def test_divergence_is_kl():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(3, 50, generator=generator).double()
    changed = torch.randn(4, 3, 50, generator=generator) * 5
    found = Divergence(clean)(changed)
    for row in range(4):
        for i in range(3):
            assert abs(found[row, i] - reference.kl(clean[i], changed[row, i])) < 1e-12
    assert Divergence(clean)(clean.float()[None] + 7).max() < 1e-6


def test_search_is_greedy():
    """Each step's group has the highest score of all that add one candidate, by a loop over stock models."""
    model = families.build("llama").requires_grad_(False)
    prompts = reference.prompts()
    everything = [(layer, head) for layer in range(4) for head in range(6)]
    ablation = HeadAblation(model, prompts, range(4), epsilon=1e-5)
    gram, kl = ablation.effects("scaling", [[pair] for pair in everything])
    scores = ships(ablation.clean_gram, gram, 1)
    order = np.argsort(-scores)
    ranked = pd.DataFrame(everything, columns=["layer", "head"]).assign(
        rank=1, ablation="scaling", ships_degrees=scores, kl_mean=kl.mean(1), position=np.argsort(order) + 1
    )
    found = search(model, prompts, ranked, ablations=["scaling"], epsilon=1e-5, rank=1, candidates=5, size=3)
    assert set(found.columns) | {"model", "dataset"} == set(TABLES["head_groups"])
    pool = [everything[i] for i in order[:5]]
    group = [pool[0]]
    for step in (2, 3):
        tried = {}
        for pair in pool:
            if pair not in group:
                edits = [("scaling", *member) for member in (*group, pair)]
                states = np.stack([reference.run(model, p, edits)[0].double().numpy() for p in prompts])
                tried[pair] = float(ships(ablation.clean_gram, states @ states.T, 1))
        group.append(max(tried, key=tried.get))
        row = found[found["step"] == step].iloc[0]
        assert (row["layer"], row["head"]) == group[-1]
        assert abs(row["ships_degrees"] - tried[group[-1]]) <= 1e-3


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "mistral_sliding", "gemma2"])
def test_answers_equal_stock_generation(name, tokenizer):
    """Token by token, without cache and padding, by the brute-force reference; equal for any batch size."""
    model = families.build(name).requires_grad_(False)
    model.generation_config.eos_token_id = None
    prompts = reference.prompts()[:4]
    sets = [("scaling", []), ("undifferentiated", [(1, 2), (3, 0)]), ("scaling", [(0, 1)]), ("scaling", [(0, 1)])]
    expected = []
    for ablation, heads in sets:
        texts = []
        for prompt in prompts:
            ids = list(prompt)
            for _ in range(5):
                logits = reference.run(model, ids, [(ablation, *pair) for pair in heads])[1]
                ids.append(int(logits.argmax()))
            texts.append(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True))
        expected.append(texts)
    for max_rows in (None, 3):
        assert answers(model, tokenizer, prompts, sets, epsilon=1e-5, new_tokens=5, max_rows=max_rows) == expected
    assert expected[0] != expected[1]
    # each prompt without heads of its own, beside sets that all share
    own = [[(0, 1)], [], [(1, 2), (3, 0)], [(2, 4)]]
    texts = []
    for prompt, heads in zip(prompts, own, strict=True):
        ids = list(prompt)
        for _ in range(5):
            logits = reference.run(model, ids, [("undifferentiated", *pair) for pair in heads])[1]
            ids.append(int(logits.argmax()))
        texts.append(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True))
    told = {"epsilon": 1e-5, "new_tokens": 5, "own": [("undifferentiated", own)]}
    assert answers(model, tokenizer, prompts, sets, **told) == [*expected, texts]
    assert answers(model, tokenizer, prompts, [], max_rows=3, **told) == [texts]
    assert texts != expected[0]
