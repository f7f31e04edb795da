"""What a stock model does, seen from its own eager attention function, whatever the family: the matrix's reference.

The modelling file's `eager_attention_forward` is wrapped. That gives the weights of each layer, their gradients, and
edits of single heads, without the engine, without padding, packing or a cache: one text at a time.
"""

import contextlib
import functools
import sys

import torch

OWN = "eager_attention_forward"


class Unknown(Exception):
    """The stock model does not say what a quantity is, so that a number for it cannot be right."""


def homes(model):
    """The modelling files whose eager function the model's modules call."""
    names = {cls.__module__ for module in model.modules() for cls in type(module).__mro__}
    return [sys.modules[name] for name in sorted(names) if hasattr(sys.modules.get(name), OWN)]


class Calls:
    """The calls of one forward. weights, outputs: {layer: [tensor of each call]}; modules: {layer: module}."""

    def __init__(self):
        self.weights, self.outputs, self.modules = {}, {}, {}

    def only(self, found):
        """{layer: the tensor}, where each layer calls its attention once."""
        if not found:
            raise Unknown("no attention function")
        if any(len(calls) != 1 for calls in found.values()):
            raise Unknown("a layer calls its attention more than once")
        return {layer: calls[0] for layer, calls in found.items()}


@contextlib.contextmanager
def watched(model, change=None, before=None, grads=False):
    """Yields the Calls of forwards inside the block, those of decoder layers.

    before(layer, query) -> query; change(layer, output (B, T, H, Dv)) -> output.
    """
    calls, inside = Calls(), []
    with contextlib.ExitStack() as undo:
        for number, block in enumerate(_layers(model)):
            undo.callback(block.register_forward_pre_hook(lambda *_, number=number: inside.append(number)).remove)
            undo.callback(block.register_forward_hook(lambda *_: inside.clear()).remove)
        for home in homes(model):
            stock = getattr(home, OWN)

            @functools.wraps(stock)
            def attention(module, query, *args, stock=stock, **kwargs):
                layer = inside[-1] if inside else None
                if layer is None:
                    return stock(module, query, *args, **kwargs)
                if before is not None:
                    query = before(layer, query)
                out, weights = stock(module, query, *args, **kwargs)
                if change is not None:
                    out = change(layer, out)
                if grads and weights is not None:
                    weights.retain_grad()
                calls.weights.setdefault(layer, []).append(weights)
                calls.outputs.setdefault(layer, []).append(out.detach())
                calls.modules[layer] = module
                return out, weights

            setattr(home, OWN, attention)
            undo.callback(setattr, home, OWN, stock)
        yield calls


def attention(model, ids):
    """{layer: (H, T, T)} of one text."""
    with torch.no_grad(), watched(model) as calls:
        model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    found = {layer: weights[0].double() for layer, weights in calls.only(calls.weights).items()}
    if any(weights.shape[-2:] != (len(ids), len(ids)) for weights in found.values()):
        raise Unknown("attention over something other than the text's tokens")
    return found


@torch.no_grad()
def logits(model, ids):
    """(T, V) of one text, float64."""
    return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].double()


def greedy(model, ids, limit, ends, run=logits):
    """The answer, one token at a time without a cache."""
    written = []
    for _ in range(limit):
        token = int(run(model, [*ids, *written])[-1].argmax())
        if token in ends:
            break
        written.append(token)
    return written


@torch.no_grad()
def states(model, ids):
    """(layers + 1, d): the residual at the last token, before each layer and behind the last one."""
    layers, found = _layers(model), []
    with contextlib.ExitStack() as hooks:
        for layer in layers:
            keep = layer.register_forward_pre_hook(
                lambda _, args, kwargs: found.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
            )
            hooks.callback(keep.remove)
        keep = layers[-1].register_forward_hook(lambda _, args, out: found.append(_first(out)))
        hooks.callback(keep.remove)
        model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    if len(found) != len(layers) + 1 or any(state.shape != found[0].shape or state.dim() != 3 for state in found):
        raise Unknown("the residual is no single (text, tokens, width) tensor per layer")
    return torch.stack([state[0, -1] for state in found])


def _layers(model):
    """The list of as many modules as the model is deep, of its text part where it has others."""
    depth = model.config.get_text_config().num_hidden_layers
    inner = model.get_decoder() if any(True for _ in model.get_decoder().children()) else model
    lists = [m for m in inner.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == depth]
    if not lists:
        raise Unknown("no list of layers")
    return lists[0]


def _ablation(kind, layer, rows, epsilon, means):
    """(before, change) for `watched`: batch row b has the heads of rows[b] of `layer` ablated."""

    def heads(count):
        where = torch.zeros(len(rows), count, dtype=torch.bool)
        for row, some in enumerate(rows):
            where[row, list(some)] = True
        return where

    def before(at, query):
        if kind != "undifferentiated" or at != layer:
            return query
        return query.masked_fill(heads(query.shape[1])[:, :, None, None], 0)

    def change(at, out):
        if kind == "undifferentiated" or at != layer:
            return out
        where = heads(out.shape[2])[:, None, :, None]
        new = out * epsilon if kind == "scaling" else means[layer].to(out).expand_as(out)
        return torch.where(where, new, out)

    return before, change


@torch.no_grad()
def ablated(model, ids, kind, layer, rows, epsilon, means):
    """(last states (rows, d), last logits (rows, V)): row b with the heads rows[b] of `layer` ablated."""
    before, change = _ablation(kind, layer, rows, epsilon, means)
    kept = {}
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, args: kept.update(states=args[0]))
    try:
        with watched(model, change, before) as calls:
            out = model(input_ids=torch.tensor([list(ids)] * len(rows)), use_cache=False)
        calls.only(calls.outputs)
    finally:
        hook.remove()
    return kept["states"][:, -1].double(), out.logits[:, -1].double()


@torch.no_grad()
def head_means(model, prompts):
    """{layer: (H, Dv)}: each head's output averaged over all tokens of all prompts."""
    rows = {}
    for prompt in prompts:
        with watched(model) as calls:
            model(input_ids=torch.tensor([list(prompt)]), use_cache=False)
        for layer, out in calls.only(calls.outputs).items():
            rows.setdefault(layer, []).append(out[0].double())
    return {layer: torch.cat(outs).mean(0) for layer, outs in rows.items()}


def saliency(model, ids, answer, probe):
    """({loss: {layer: A * dLoss/dA (H, T, T)}}, logit, nll) of one text by autograd.

    probe: (layer, weight, bias). Every weight tensor of the eager function keeps its gradient.
    """
    height, weight, bias = probe
    kept = {}
    hook = _layers(model)[height - 1].register_forward_hook(lambda _, args, out: kept.update(h=_first(out)))
    model.get_input_embeddings().weight.requires_grad_(True)
    try:
        with watched(model, grads=True) as calls:
            out = model(input_ids=torch.tensor([list(ids)]), use_cache=False)
        weights = calls.only(calls.weights)
        logit = kept["h"][0, -1] @ torch.from_numpy(weight).to(kept["h"].dtype) + float(bias)
        lp = out.logits[0].log_softmax(-1)
        nll = -torch.stack([lp[position - 1, ids[position]] for position in answer]).mean()
        found = {}
        for name, loss in (("probe_logit", logit), ("answer_nll", nll)):
            for tensor in weights.values():
                tensor.grad = None
            loss.backward(retain_graph=True)
            found[name] = {
                layer: (a.detach() * (torch.zeros_like(a) if a.grad is None else a.grad))[0].double()
                for layer, a in weights.items()
            }
    finally:
        hook.remove()
        model.zero_grad()
        model.get_input_embeddings().weight.requires_grad_(False)
    return found, float(logit.detach()), float(nll.detach())


_MLPS = ("mlp", "feed_forward", "ffn", "moe")  # in what families call the second part of a layer


@torch.no_grad()
def first_mlp(model, sources):
    """(N, d): what layer 0 adds to the residual of a lone token when its attention adds nothing.

    Raises Unknown where without its MLP the layer would not hand the residual on (weights of the residual, a mixer).
    """
    layer = _layers(model)[0]
    with watched(model) as calls:
        model(input_ids=sources[:1, None], use_cache=False)
    if 0 not in calls.modules:
        raise Unknown("layer 0 has no attention")
    rows = model.get_input_embeddings().weight[sources][:, None]
    found = _layer_output(model, layer, sources, rows, [calls.modules[0]])
    mlps = [module for name, module in layer.named_children() if any(part in name for part in _MLPS)
            and "norm" not in name and list(module.children())]  # fmt: skip
    if mlps:
        left = _layer_output(model, layer, sources, rows, [calls.modules[0], *mlps])
        # Some families' MLP adds the residual itself.
        if not any(torch.allclose(left, kept, rtol=1e-3, atol=1e-5) for kept in (rows, rows * 0)):
            raise Unknown("without its MLP and attention layer 0 does not hand the residual on as it came")
    return (found - rows)[:, 0]


def _layer_output(model, layer, sources, rows, silent):
    """(N, 1, d): the output of `layer` for the tokens `sources`, `rows` for its input, `silent` modules giving 0."""
    kept = {}

    def bare(_, args, kwargs):
        """The bare embedding: without positions and factors that a family puts on it."""
        return ((rows, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": rows})

    def nothing(module, args, out):
        return (torch.zeros_like(out[0]), *out[1:]) if isinstance(out, tuple) else torch.zeros_like(out)

    hooks = [
        *(module.register_forward_hook(nothing) for module in silent),
        layer.register_forward_pre_hook(bare, with_kwargs=True),
        layer.register_forward_hook(lambda _, args, out: kept.update(y=_first(out))),
    ]
    try:
        model(input_ids=sources[:, None], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return kept["y"]


def _first(out):
    return out[0] if isinstance(out, tuple | list) else out


@torch.no_grad()
def head_logits(model, rows, layers):
    """{layer: (H, N, V)}: vectors `rows` (N, d) through each head's value and output map and the unembedding.

    The attention module is given the rows as texts of one token; its function hands out one head's value alone. What
    the biases add is taken away again.
    """
    ids = torch.full((len(rows), 1), 5)
    with watched(model) as calls:
        model(input_ids=ids[:1], use_cache=False)
    unembedding = model.get_output_embeddings().weight.double()
    found = {}
    for layer in layers:
        module = calls.modules.get(layer)
        if module is None:
            raise Unknown(f"layer {layer} has no attention")
        heads = calls.outputs[layer][0].shape[2]
        maps = [_through(model, module, layer, rows, head) - _through(model, module, layer, rows * 0, head)
                for head in range(heads)]  # fmt: skip
        twice = _through(model, module, layer, 2 * rows, 0) - _through(model, module, layer, rows * 0, 0)
        if not torch.allclose(twice, 2 * maps[0], rtol=1e-3, atol=1e-4 * float(maps[0].abs().max())):
            raise Unknown("a head's output is no linear function of what its layer reads")
        found[layer] = torch.stack(maps).double() @ unembedding.T
    return found


def _through(model, module, layer, rows, head):
    """(N, d): the attention module's output for rows given in place of its input, with head `head` alone."""
    kept = {}

    def replace(_, args, kwargs):
        given = rows[:, None].to(torch.float32)
        return ((given, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": given})

    hooks = [
        module.register_forward_pre_hook(replace, with_kwargs=True),
        module.register_forward_hook(lambda _, args, out: kept.update(y=_first(out))),
    ]
    try:
        with _values(model, module, head):
            model(input_ids=torch.full((len(rows), 1), 5), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return kept["y"][:, 0].double()


@contextlib.contextmanager
def _values(model, own, head):
    """Inside the block the attention module `own` hands out the value of `head` alone, as if it saw nothing else."""
    with contextlib.ExitStack() as undo:
        for home in homes(model):
            stock = getattr(home, OWN)

            @functools.wraps(stock)
            def attention(module, query, key, value, *args, stock=stock, **kwargs):
                out, weights = stock(module, query, key, value, *args, **kwargs)
                if module is own:
                    whole = value.repeat_interleave(query.shape[1] // value.shape[1], 1).transpose(1, 2)
                    out = torch.zeros_like(out)
                    out[:, :, head] = whole[:, :, head]
                return out, weights

            setattr(home, OWN, attention)
            undo.callback(setattr, home, OWN, stock)
        yield
