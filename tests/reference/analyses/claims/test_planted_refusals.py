"""The claim about refusals on tiny models whose heads are planted: from the model, by its answers, to the verdict.

Every head looks at the one marker of a prompt. What it reads there, and where it writes that, is the heads' kind.
"""

import numpy as np
import pytest
import torch

import planted_claims as planted
from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.analyses.safety_heads.ablated_sets import answers_frame, variants
from atlas.analyses.safety_heads.ablation_effect import effect_table
from atlas.analyses.safety_heads.extract import extract
from atlas.analyses.safety_heads.ships import ranking
from atlas.models.loading import load_tokenizer
from planted_weights import looking, silent
from tiny_models import save_tokenizer

ABLATIONS = ["undifferentiated", "scaling"]
MARKERS = range(5, 15)
REFUSAL, OTHER = 17 + 3, 18 + 3  # ids of w17 and w18, behind three special tokens
ABLATED = 6  # heads of a set, half of all
FIRST, SECOND = [(0, head) for head in range(6)], [(1, head) for head in range(6)]
# Dimensions of the stream: a number that all markers share, one of each marker's own, and what heads write.
SHARED, OWN, REFUSE, ELSE = 2, 3, 4, 5


@torch.no_grad()
def planted_model(refusing, reads, elsewhere=()):
    """`refusing` heads write the logit of a refusal, as large as what they read of the marker; it outweighs the other
    answer only with most of them there. `elsewhere`: heads that write each marker's own number where no logit reads."""
    model = looking(silent(2), dict.fromkeys(MARKERS, 3.0), 3.0)
    embedding = model.model.embed_tokens.weight
    embedding[:, SHARED : ELSE + 1] = 0
    for place, token in enumerate(MARKERS):
        embedding[token, SHARED], embedding[token, OWN] = 2, 2 + place / 3
    for layer in model.model.layers:
        layer.self_attn.v_proj.weight.zero_()
        for entry, source in enumerate((SHARED, OWN)):
            layer.self_attn.v_proj.weight[entry :: layer.self_attn.head_dim, source] = 1
    for heads, entry, target, size in ((refusing, reads - SHARED, REFUSE, 0.02), (elsewhere, 1, ELSE, 0.3)):
        for layer, head in heads:
            attention = model.model.layers[layer].self_attn
            attention.o_proj.weight[target, head * attention.head_dim + entry] = size
    model.lm_head.weight.zero_()
    model.lm_head.weight[REFUSAL, REFUSE], model.lm_head.weight[OTHER, 0] = 20, 1
    return model


def all_refuse():
    """Six heads refuse, each as strongly as the marker says, and nothing else is written."""
    return planted_model(SECOND, OWN)


def others_are_strong():
    """Six heads refuse, the same at each marker; six others turn the states much more, and no answer reads them."""
    return planted_model(SECOND, SHARED, elsewhere=FIRST)


def prompts(number):
    rng = np.random.default_rng(0)
    words = [list(map(int, rng.integers(30, 190, 12))) for _ in range(number)]
    for place, ids in enumerate(words):
        ids[int(rng.integers(0, 8))] = MARKERS[place % len(MARKERS)]
    return [tuple(ids) for ids in words]


def effects(model, tokenizer, number):
    """The table ablation_effect of a model, from its heads' Ships to its answers."""
    asked = prompts(number)
    arrays = extract(model, asked, ablations=ABLATIONS, epsilon=1e-5)
    ranked = ranking(arrays, {"ablations": ABLATIONS, "rank": [1]})
    sets = variants(ranked, ablations=ABLATIONS, numbers=[0, ABLATED], rank=1, draws=2, seed=0)
    chosen = list(zip(sets["ablation"], sets["heads"], strict=True))
    texts = answers(model, tokenizer, asked, chosen, epsilon=1e-5, new_tokens=1)
    return effect_table(answers_frame(sets, texts, [f"p{place}" for place in range(number)]), ["w17"], {}, 0.95)


@pytest.mark.parametrize(
    ("model", "number", "verdict"),
    [(all_refuse, 20, "holds"), (others_are_strong, 20, "does not hold"), (all_refuse, 5, "undecided")],
)
def test_heads_that_refuse(model, number, verdict, tmp_path):
    save_tokenizer(tmp_path / "tokenizer")
    table = effects(model(), load_tokenizer(tmp_path / "tokenizer"), number)
    frame = planted.verdicts(tmp_path, {("own", "ablation_effect"): table})
    assert set(frame.loc[frame["claim"] == "E4", "claim_verdict"]) == {verdict}
