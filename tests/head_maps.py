"""Pairs for head mappings, and what ranks and hits must be for given logits."""

import numpy as np
import pandas as pd
import torch

from atlas.models import architectures

K_MAX = 12


def some_pairs(vocabulary=199, seed=0):
    """Relations that share sources, a source with several targets, several pairs with one target."""
    generator = np.random.default_rng(seed)
    frames = []
    for relation, n, targets in (("b", 40, 199), ("a", 33, 6), ("c", 30, 199)):
        source = generator.choice(vocabulary, n, replace=False)
        target = generator.choice(targets, n)
        frames.append(pd.DataFrame({"relation": relation, "source_id": source, "target_id": target}))
    return pd.concat(frames).sample(frac=1, random_state=seed).drop_duplicates().reset_index(drop=True)


def check(result, logits, pairs, *, tolerance):
    """Ranks and hits equal those of `logits` wherever no other logit is within `tolerance` (relative) of the target."""
    vocabulary = logits.shape[-1]
    targets = torch.tensor(pairs["target_id"].tolist())
    slack = tolerance * logits.abs().amax(-1, keepdim=True)
    clear = []
    for name, signed in (("rank_direct", logits), ("rank_suppression", -logits)):
        own = signed[:, :, torch.arange(len(pairs)), targets][..., None]
        sure = (signed > own + slack).sum(-1)
        possible = (signed > own - slack).sum(-1) - 1  # without the target itself
        got = torch.as_tensor(result[name])
        assert ((sure <= got) & (got <= possible)).all()
        clear.append((sure == possible).float().mean())
    assert min(clear) > 0.99

    expected, unclear = {}, set()
    for sign, signed in ((1, logits), (-1, -logits)):
        for _, group in pairs.groupby("relation"):
            for token in group["target_id"].unique():
                own = signed[:, :, group.index.tolist(), int(token)][..., None]
                around = signed[:, :, group.index.tolist()]
                part = slack[:, :, group.index.tolist()]
                sure, possible = (around > own + part).sum(-1), (around > own - part).sum(-1) - 1
                for at, head, i in (sure < K_MAX).nonzero().tolist():
                    key = (int(result["layers"][at]), head, sign, int(group.index[i]), int(token))
                    expected[key] = int(sure[at, head, i])
                    if sure[at, head, i] != possible[at, head, i]:
                        unclear.add(key)
    names = ("hit_layer", "hit_head", "hit_sign", "hit_pair", "hit_target")
    got = dict(zip(zip(*(result[n].tolist() for n in names), strict=True), result["hit_rank"].tolist(), strict=True))
    assert len(got) == len(result["hit_rank"])
    assert {k: v for k, v in got.items() if k not in unclear} == {k: v for k, v in expected.items() if k not in unclear}
    assert len(unclear) <= 0.02 * len(expected)
    assert vocabulary == 199
    assert len(expected) > 100


def pairs_of(*starts):
    """The relations `next_{start}`, of 30 words each, that planted_weights.relation_heads writes."""
    frames = []
    for start in starts:
        source = np.arange(start, start + 30)
        target = start + (np.arange(30) + 1) % 30
        frames.append(
            pd.DataFrame({
                "relation": f"next_{start}", "category": "Algorithmic", "source": [f"w{i - 3}" for i in source],
                "target": [f"w{i - 3}" for i in target], "source_id": source, "target_id": target,
            })
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def live_value_and_output(model, layer):
    """(heads, width, value_width) and (heads, value_width, width) from the stock modules, float64."""
    shape = architectures.read_shape(model.config)
    attention = architectures.attention_modules(model)[layer]
    output = architectures.output_projection(attention).weight.double()
    output = output if model.config.model_type == "gpt2" else output.T
    width, dh, kv = shape.width, shape.value_width, shape.kv_heads
    match model.config.model_type:
        case "gpt2":
            value = attention.c_attn.weight.double()[:, 2 * width :].T.reshape(kv, dh, width)
        case "gpt_neox":
            value = attention.query_key_value.weight.double().reshape(kv, 3, dh, width)[:, 2]
        case "phi3":
            value = attention.qkv_proj.weight.double()[-kv * dh :].reshape(kv, dh, width)
        case _:
            value = attention.v_proj.weight.double().reshape(kv, dh, width)
    value = value.transpose(1, 2).repeat_interleave(shape.group, 0)
    return value, output.reshape(shape.heads, dh, width)


def live_first_mlp(model, rows):
    """The MLP contribution of layer 0 to the residual of a lone token, by the stock modules."""
    layer, kind = architectures.decoder_layers(model)[0], model.config.model_type
    if kind == "opt":
        return layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(rows))))
    before = {"gpt2": "ln_2", "phi": "input_layernorm", "cohere2": "input_layernorm", "olmo2": None}
    before |= dict.fromkeys(("gemma2", "gemma3_text"), "pre_feedforward_layernorm")
    before = before.get(kind, "post_attention_layernorm")
    out = layer.mlp(rows if before is None else getattr(layer, before)(rows))
    return layer.post_feedforward_layernorm(out) if kind in ("gemma2", "gemma3_text", "olmo2") else out
