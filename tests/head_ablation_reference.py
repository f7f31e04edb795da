"""Brute force: one full forward of the stock model per (head, prompt), the head replaced at the o_proj input."""

import torch
from transformers import DynamicCache

from attention_engine_reference import _projection, attention_module


def prompts(count=6, shared=3, seed=7):
    """Random token ids of different lengths that begin alike; some share more, one is another's beginning."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n):
        return tuple(torch.randint(3, 190, (n,), generator=generator).tolist())

    start = draw(shared)
    found = [start + draw(int(n)) for n in torch.randint(2, 14, (count,), generator=generator)]
    found[1] = found[0][:-1] + draw(4)
    found[2] = found[0][:-1]
    return found


def ablated_output(module, ablation, values, output, head, heads, epsilon, mean):
    """The head's new output (T, Dv); values (KV, T, Dv) as the cache holds them; output (T, Dv) its own."""
    if ablation == "scaling":
        return output * epsilon
    if ablation == "mean":
        return mean.expand_as(output)
    value = values[head // (heads // len(values))].double()
    own = module.config.sliding_window if module.config.model_type == "mistral" else None  # all its layers slide
    window = getattr(module, "sliding_window", own)
    rows = []
    for i in range(len(value)):
        seen = value[max(0, i - window + 1) if window else 0 : i + 1]
        sinks = getattr(module, "sinks", None)
        rows.append(seen.sum(0) / (len(seen) + (0 if sinks is None else float(sinks[head].double().exp()))))
    return torch.stack(rows).to(output)


@torch.no_grad()
def run(model, prompt, edits=(), epsilon=1e-5, means=None):
    """(last state (d,), last logits (V,), states of all layers) with `edits` [(ablation, layer, head)]."""
    heads = model.config.get_text_config().num_attention_heads
    cache, handles, found = DynamicCache(), [], {}
    by_layer = {}
    for ablation, layer, head in edits:
        by_layer.setdefault(layer, []).append((ablation, head))

    def hook(layer, todo):
        def pre(module, args):
            z = args[0].clone()
            width = z.shape[-1] // heads
            for ablation, head in todo:
                part = slice(head * width, (head + 1) * width)
                mean = None if means is None else means[layer][head].to(z)
                z[0, :, part] = ablated_output(
                    attention_module(model, layer), ablation, cache.layers[layer].values[0], z[0, :, part], head,
                    heads, epsilon, mean,
                )  # fmt: skip
            return (z,)

        return pre

    for layer, todo in by_layer.items():
        handles.append(_projection(attention_module(model, layer)).register_forward_pre_hook(hook(layer, todo)))
    handles.append(model.get_output_embeddings().register_forward_pre_hook(lambda _, args: found.update(s=args[0])))
    try:
        out = model(torch.tensor([prompt]), past_key_values=cache, use_cache=True, output_hidden_states=True)
    finally:
        for handle in handles:
            handle.remove()
    return found["s"][0, -1], out.logits[0, -1], out.hidden_states


@torch.no_grad()
def head_means(model, all_prompts):
    """{layer: (H, Dv)}: each head's output averaged over all tokens of all prompts."""
    config = model.config.get_text_config()
    rows = {layer: [] for layer in range(config.num_hidden_layers)}
    handles = [
        _projection(attention_module(model, layer)).register_forward_pre_hook(
            lambda _, args, layer=layer: rows[layer].append(args[0][0].double())
        )
        for layer in rows
    ]
    try:
        for prompt in all_prompts:
            model(torch.tensor([prompt]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: torch.cat(z).mean(0).view(config.num_attention_heads, -1) for layer, z in rows.items()}


def kl(clean, changed):
    """KL in nats of two logit vectors, the textbook way in float64."""
    p, q = clean.double().log_softmax(-1), changed.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum())
