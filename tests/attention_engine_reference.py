"""Stock Hugging Face attention for comparison: full T x T weights, autograd, hooks and edited eager functions."""

import contextlib
import functools
import sys

import torch

import families

ENGINE_FAMILIES = [*families.FAMILIES, *families.ATTENTION_ONLY]
TOKENS = 24
TOLERANCE = 2e-5
PADDINGS = ("none", "left", "right")
PAD = 5


@functools.cache
def model_of(name):
    return families.build(name).requires_grad_(False)


def eager(model, ids):
    """(layers, heads, T, T) float64 attention of stock eager code."""
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_attentions=True, use_cache=False)
    return torch.cat(out.attentions).double().numpy()


def heads(model):
    config = model.config.get_text_config()
    return config.num_hidden_layers, config.num_attention_heads


def batch(padding="none"):
    """Two random texts; the second has PAD padding tokens on one side.  Returns ids, mask (2, TOKENS)."""
    ids = torch.randint(3, 190, (2, TOKENS), generator=torch.Generator().manual_seed(5))
    mask = torch.ones_like(ids)
    if padding == "left":
        mask[1, :PAD] = 0
    elif padding == "right":
        mask[1, TOKENS - PAD :] = 0
    return ids, mask


def last_real(mask):
    """Position of the last real token of each text."""
    return mask.shape[1] - 1 - mask.flip(1).argmax(1)


def objective(model, ids, mask, **options):
    """A scalar that depends on every layer: log-probabilities of token 7 after each text, summed."""
    logits = model(ids, attention_mask=mask, use_cache=False, **options).logits
    return logits[torch.arange(len(ids)), last_real(mask)].log_softmax(-1)[:, 7].sum()


@functools.cache
def attention(name, padding):
    """(L, B, H, T, T) stock eager attention; rows of padding queries are set to 0."""
    ids, mask = batch(padding)
    with torch.no_grad():
        out = model_of(name)(ids, attention_mask=mask, use_cache=False, output_attentions=True)
    return torch.stack(out.attentions) * mask[None, :, None, :, None]


@functools.cache
def attention_and_gradients(name, padding, dtype=torch.float32):
    """Stock attention and dL/dA of `objective`, each (L, B, H, T, T), by autograd with retain_grad."""
    model = families.build(name, dtype=dtype)
    ids, mask = batch(padding)
    out = model(ids, attention_mask=mask, use_cache=False, output_attentions=True)
    for weights in out.attentions:
        weights.retain_grad()
    out.logits[torch.arange(len(ids)), last_real(mask)].log_softmax(-1)[:, 7].sum().backward()
    weights = torch.stack([w.detach() for w in out.attentions])
    return weights, torch.stack([w.grad for w in out.attentions])


def attention_module(model, layer):
    return next(m for m in model.modules() if getattr(m, "layer_idx", None) == layer and _projection(m) is not None)


def _projection(module):
    if not type(module).__name__.endswith("Attention"):
        return None
    return next((getattr(module, n) for n in ("o_proj", "c_proj", "dense", "out_proj") if hasattr(module, n)), None)


@contextlib.contextmanager
def scaled_heads(model, layer, factors):
    """Stock model whose head slices of the output projection's input are multiplied by factors (B, H)."""

    def pre(module, args):
        x = args[0]
        return (x * factors.repeat_interleave(x.shape[-1] // factors.shape[1], dim=1)[:, None],)

    handle = _projection(attention_module(model, layer)).register_forward_pre_hook(pre)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def zero_queries(model, layer, where):
    """Stock eager model in which the queries of heads `where` (B, H) are 0: uniform attention over what they see."""
    home = sys.modules[type(attention_module(model, layer)).__module__]
    stock = home.eager_attention_forward

    def eager_attention_forward(module, query, *args, **kwargs):
        if module.layer_idx == layer:
            query = query.masked_fill(where[:, :, None, None], 0)
        return stock(module, query, *args, **kwargs)

    home.eager_attention_forward = eager_attention_forward
    try:
        yield
    finally:
        home.eager_attention_forward = stock


def assert_close(measured, expected, tolerance=TOLERANCE):
    """Largest difference relative to the largest expected magnitude (at least 1)."""
    assert measured.shape == expected.shape
    assert torch.isfinite(measured).all()
    scale = max(1.0, float(expected.abs().max()))
    worst = float((measured.double() - expected.double()).abs().max()) / scale
    assert worst <= tolerance, f"largest difference {worst:.2e}"
