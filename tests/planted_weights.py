"""Tiny models whose weights are written by hand, so that what a head does is known before anything is measured."""

import torch
from scipy.linalg import hadamard

from families import build


def silent(layers, **overrides):
    """A model whose heads and MLPs write nothing."""
    model = build("llama", num_hidden_layers=layers, **overrides)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    return model


@torch.no_grad()
def uniform(model):
    """Every head looks everywhere alike."""
    for layer in model.model.layers:
        layer.self_attn.q_proj.weight.zero_()
    return model


@torch.no_grad()
def looking(model, keys, weight):
    """How much a head looks at a token depends on the token alone: `keys` {token: number}, 0 for all others.

    Dimension 0 of the stream is 1 for all tokens and read by every query, dimension 1 holds the number and is read by
    every key, each times `weight`: a larger number draws more, a negative one repels.
    """
    embedding = model.model.embed_tokens.weight
    embedding[:, 0], embedding[:, 1] = 1.0, 0.0
    for token, number in keys.items():
        embedding[token, 1] = number
    for layer in model.model.layers:
        layer.input_layernorm.weight.fill_(1)
        attention = layer.self_attn
        for matrix, source in ((attention.q_proj, 0), (attention.k_proj, 1)):
            matrix.weight.zero_()
            # The dimension of each head that rotation turns least, so that places hardly matter.
            matrix.weight[attention.head_dim // 2 - 1 :: attention.head_dim, source] = weight
    return model


@torch.no_grad()
def induction_pair():
    """(model, feeding, inducing, duplicate): a GPT-2 of two layers, and the (layer, head) of three heads made by hand.

    The stream holds a token's code, its place's code, and room for the code of the token before. The feeding head
    looks one place back, by places, and writes the token it finds into that room; the inducing one looks for the place
    that has this token's code in that room; the duplicate one looks for its own token's code. All others look
    everywhere alike, and nothing else writes. Codes have mean 0, so that the norms do no more than scale.
    """
    token, place, before = slice(0, 128), slice(128, 192), slice(192, 320)
    model = build("gpt2", n_embd=320, n_head=2, n_layer=2, n_positions=60)
    for name, parameter in model.named_parameters():
        parameter.fill_(float(name.endswith("weight") and ".ln_" in name))
    generator = torch.Generator().manual_seed(0)
    half = torch.tensor([1.0, -1.0]).repeat(64)
    codes = torch.stack([half[torch.randperm(128, generator=generator)] for _ in range(199)])
    places = torch.tensor(hadamard(64)[1:61], dtype=torch.float32)  # all but the row of ones
    model.transformer.wte.weight[:, token] = codes
    model.transformer.wpe.weight[:, place] = places
    width, (first, second) = 160, (layer.attn for layer in model.transformer.h)

    def look(attention, head, source, query, key, size):
        """Queries are what `source` makes of the part `query` of the stream, keys are its part `key`."""
        start = head * width
        attention.c_attn.weight[query, start : start + size] = 4 * source
        attention.c_attn.weight[key, 320 + start : 320 + start + size] = torch.eye(size)

    look(first, 0, places[1:].T @ places[:-1] / 64, place, place, 64)
    look(first, 1, torch.eye(128), token, token, 128)
    look(second, 1, torch.eye(128), token, before, 128)
    first.c_attn.weight[token, 640 : 640 + 128] = torch.eye(128)
    first.c_proj.weight[:128, before] = torch.eye(128)
    return model, (0, 0), (1, 1), (0, 1)


@torch.no_grad()
def relation_heads():
    """A model in which head (1, 2) writes "the next word" of words 10 to 39 and head (2, 4) the one of words 50 to 79.

    Tokens are orthogonal; every head looks at the last token alone, others write nothing.
    """
    model = silent(3, hidden_size=192, num_attention_heads=6, num_key_value_heads=6, head_dim=96, intermediate_size=64)
    width = 192
    embedding, unembedding = model.model.embed_tokens.weight, model.lm_head.weight
    embedding.zero_()
    unembedding.zero_()
    for token in range(10, 80):
        embedding[token, token] = 1.0
        unembedding[token, 100 + token] = 1.0  # what is written is not what is read
    for layer in model.model.layers:
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.fill_(1)
        layer.self_attn.v_proj.weight.zero_()
    model.model.norm.weight.fill_(1)
    for layer, head, start in ((1, 2, 10), (2, 4, 50)):
        attention = model.model.layers[layer].self_attn
        for i in range(30):
            attention.v_proj.weight[head * 96 + i, start + i] = 1.0
            attention.o_proj.weight[100 + start + (i + 1) % 30, head * 96 + i] = 1.0
        assert attention.v_proj.weight.shape == (6 * 96, width)
    return model
