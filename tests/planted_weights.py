"""Tiny models whose weights are written by hand, so that what a head does is known before anything is measured."""

import torch

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
