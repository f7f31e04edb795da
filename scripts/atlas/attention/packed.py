"""Many edited copies of several prompts in one forward: prompts side by side, what they share once, no padding.

A pack lays its prompts out in one row of tokens.  A token whose whole past is the past of an earlier prompt's token is
that token (the prompts form a trie), so a common template or a common opening costs one prompt's time.  Every batch
row is one copy of the pack under an edit of its own (an ablated head, say).  Everything but attention acts on single
tokens, so the model's own layers run on the row as it is; our attention function lets each token see its own past.
Exact by causality.  The forward starts at the lowest edited layer, which computes queries, keys, values and attention
once for all rows, and the last layer computes only the last token of each prompt.  Nothing here knows an architecture.
"""

from __future__ import annotations

import contextlib
import contextvars
from dataclasses import dataclass, field, replace

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ..errors import AtlasError
from ..models.architectures import FAMILIES, attention_modules, output_projection
from .edits import apply_edits
from .interface import _eager, require_interface
from .kernels import AttentionInputs
from .masks import Visibility
from .plan import Plan
from .resume import _Skip, decoder_layers, resume_from

# No mask function is registered under this name, so transformers builds no mask: the pack knows what is visible.
PACKED = "atlas_packed"
# Prompts of one attention call differ in length by at most this factor; the shorter ones are padded inside the call.
_SPREAD = 1.25
# Up to this many keys the whole matrix of scores stays in a CPU's cache.
_SHORT = 128


@dataclass
class _Bucket:
    """Prompts of similar length. Indices point into the packed row; padding repeats a prompt's last token."""

    prompts: torch.Tensor  # (S,) numbers of the prompts in the pack
    queries: (
        torch.Tensor
    )  # (S, Q) the tokens that are computed for this prompt, those it shares belong to an earlier one
    keys: torch.Tensor  # (S, K) the whole prompt
    real: torch.Tensor | None  # positions in the flattened queries that are no padding; None: all

    def visible(self, positions, window):
        """(S, Q, K) bool for queries at `positions` (S, Q); padding of the keys lies behind every query."""
        distance = positions[:, :, None] - torch.arange(self.keys.shape[1], device=positions.device)
        return distance >= 0 if window is None else (distance >= 0) & (distance < window)


class Pack:
    """The layout of `prompts` (sequences of token ids, in any order) in one row of N tokens.

    ids, positions (N,); paths: for each prompt the indices (T,) of its tokens in the row; last (S,): where each prompt
    ends, in the order given.
    """

    def __init__(self, prompts):
        if not prompts or not all(len(prompt) for prompt in prompts):
            raise AtlasError("A prompt without tokens cannot be run; remove it or add text.")
        ids, positions, nodes, self.paths, own = [], [], {}, [], []
        for prompt in prompts:
            path, new, parent = [], [], -1
            for position, token in enumerate(prompt):
                node = nodes.setdefault((parent, token), len(ids))
                if node == len(ids):
                    ids.append(token)
                    positions.append(position)
                    new.append(node)
                path.append(node)
                parent = node
            self.paths.append(torch.tensor(path))
            own.append(torch.tensor(new, dtype=torch.long))
        self.ids, self.positions = torch.tensor(ids), torch.tensor(positions)
        self.last = torch.stack([path[-1] for path in self.paths])
        groups = _groups([len(path) for path in self.paths])
        self.buckets = [self._bucket([i for i in group if len(own[i])], own) for group in groups]
        self.buckets = [bucket for bucket in self.buckets if bucket is not None]
        self.last_buckets = [self._bucket(group, [path[-1:] for path in self.paths]) for group in groups]

    def __len__(self):
        return len(self.paths)

    def _bucket(self, group, own):
        if not group:
            return None
        keys, _ = _padded([self.paths[i] for i in group])
        queries, real = _padded([own[i] for i in group])
        return _Bucket(torch.tensor(group), queries, keys, None if bool(real.all()) else real.flatten().nonzero()[:, 0])

    def to(self, device) -> Pack:
        """A copy with its index tensors on `device`."""
        moved = object.__new__(Pack)
        moved.__dict__ = {name: v.to(device) if torch.is_tensor(v) else v for name, v in self.__dict__.items()}
        for name in ("buckets", "last_buckets"):
            moved.__dict__[name] = [
                _Bucket(**{key: v if v is None else v.to(device) for key, v in vars(bucket).items()})
                for bucket in getattr(self, name)
            ]
        return moved


def _groups(lengths):
    """Numbers of prompts of similar length."""
    groups = []
    for prompt in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if groups and lengths[prompt] <= _SPREAD * lengths[groups[-1][0]]:
            groups[-1].append(prompt)
        else:
            groups.append([prompt])
    return groups


def _padded(rows):
    """Index tensors of several lengths as one (S, longest), the rest filled with their last entry, and what is real."""
    longest = max(map(len, rows))
    step = torch.arange(longest)
    return torch.stack([row[step.clamp(max=len(row) - 1)] for row in rows]), torch.stack([step < len(r) for r in rows])


class _Captured(Exception):
    """Ends the last layer's first pass once its keys and values are known."""


@dataclass
class _State:
    pack: Pack
    fused: bool
    plan: Plan = field(default_factory=Plan)
    rows: int = 1
    first: int | None = None  # the layer that is given one row for all, up to its output projection
    capturing: bool = False  # the last layer's first pass: keys and values of all tokens
    cached: tuple | None = None  # (key, value) of all tokens while the last layer runs on last tokens only
    on_device: dict = field(default_factory=dict)
    masks: dict = field(default_factory=dict)

    def at(self, device) -> Pack:
        if device not in self.on_device:
            self.on_device[device] = self.pack.to(device)
        return self.on_device[device]

    def mask(self, pack, number, window, only_last, device):
        """(S, Q, K) bool of bucket `number`, made once."""
        key = (number, window, only_last, device)
        if key not in self.masks:
            bucket = (pack.last_buckets if only_last else pack.buckets)[number]
            self.masks[key] = bucket.visible(pack.positions[bucket.queries], window)
        return self.masks[key]


_ACTIVE: contextvars.ContextVar[_State | None] = contextvars.ContextVar("atlas_packed", default=None)


def _take(tensor, index):
    """(B, H, N, D) and (S, K) indices into N -> (B * S, H, K, D)."""
    b, h, _, d = tensor.shape
    s, k = index.shape
    return tensor.index_select(2, index.flatten()).view(b, h, s, k, d).transpose(1, 2).reshape(b * s, h, k, d)


def _short_attention(query, key, value, visible, scaling):
    """Softmax attention of short prompts as two batched products: query (B, H, Q, D) -> (B, Q, H, Dv).

    key, value (B, KV, K, ...); visible (S, Q, K) for B = rows * S. Scores and softmax in float32 (float64 for a float64
    model). A CPU's fused kernel works off one head of one prompt at a time, and each is too small for it.
    """
    b, h, q, d = query.shape
    kv, k = key.shape[1:3]
    exact = torch.float64 if query.dtype == torch.float64 else torch.float32
    scores = torch.bmm(
        (query.to(exact) * scaling).reshape(b * kv, h // kv * q, d), key.to(exact).reshape(b * kv, k, d).transpose(1, 2)
    )
    scores.view(-1, *visible.shape[:1], h, q, k).masked_fill_(~visible[None, :, None], -torch.inf)
    weights = torch.softmax(scores, dim=-1).to(value.dtype)
    return torch.bmm(weights, value.reshape(b * kv, k, -1)).view(b, h, q, -1).transpose(1, 2)


def _attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, is_causal=None, softcap=None,
               s_aux=None, sliding_window=None, **kwargs):  # fmt: skip
    """transformers' attention function over packs: returns (output (B, N, H, Dv), None)."""
    state = _ACTIVE.get()
    if state is None:
        raise AtlasError("Packed attention ran outside its context; use `with packed(model, pack):`.")
    if state.capturing:
        state.cached = key, value
        raise _Captured
    pack, layer = state.at(query.device), module.layer_idx
    only_last = state.cached is not None
    if only_last:
        key, value = state.cached
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    special = {"softcap": softcap, "s_aux": s_aux}
    special = {name: option for name, option in special.items() if option is not None}
    plan, given = state.plan, query.shape[0]
    rows = state.rows if layer == state.first else given  # the first layer is given one row for all
    edited = layer in plan.uniform or layer in plan.scale or layer in plan.replace
    out = query.new_empty(rows, query.shape[2], query.shape[1], value.shape[-1])

    for number, bucket in enumerate(pack.last_buckets if only_last else pack.buckets):
        visible = state.mask(pack, number, sliding_window, only_last, query.device)
        queries = bucket.prompts[:, None] if only_last else bucket.queries
        q, k, v = _take(query, queries), _take(key, bucket.keys), _take(value, bucket.keys)
        plain = state.fused and not special
        short = plain and q.device.type == "cpu" and k.shape[2] <= _SHORT
        mask = None
        if edited or not short:
            mask = visible[None, :, None].expand(given, -1, -1, -1, -1).reshape(-1, 1, *visible.shape[1:])
        if short:
            part = _short_attention(q, k, v, visible, scaling)
        elif plain:
            part, _ = sdpa_attention_forward(module, q, k, v, mask, dropout=0.0, scaling=scaling)
        else:
            part, _ = _eager(module, q, k, v, mask, False, scaling=scaling, dropout=0.0, **special, **kwargs)
        if rows > given:
            q, k, v, part = (tensor.repeat(rows, 1, 1, 1) for tensor in (q, k, v, part))
            mask = mask if mask is None else mask.repeat(rows, 1, 1, 1)
        if edited:
            seen = Visibility(mask, False, q.shape[0], q.shape[2], k.shape[2], q.shape[2], q.device)
            x = AttentionInputs(q, k, v, seen, scaling, softcap, s_aux)
            part = apply_edits(part, x, _repeated(plan, layer, queries.shape[0]), layer)
        part, target = part.reshape(rows, -1, *part.shape[2:]), queries.flatten()
        if bucket.real is not None:
            part, target = part[:, bucket.real], target[bucket.real]
        out[:, target] = part
    return (_beside(out) if layer == state.first else out), None


def _beside(out):
    """(rows, N, H, Dv) as one row (1, N, H, rows * Dv), which modelling code takes for a wider head."""
    rows, tokens, heads, width = out.shape
    return out.permute(1, 2, 0, 3).reshape(1, tokens, heads, rows * width)


def _stacked(rows, heads):
    """A hook before the output projection that undoes `_beside`: from here on the layer has all rows."""

    def pre(module, args):
        flat = args[0].unflatten(-1, (heads, rows, -1))  # (1, N, H, rows, Dv)
        return (flat[0].permute(2, 0, 1, 3).flatten(2), *args[1:])

    return pre


def _repeated(plan, layer, times):
    """The plan's edits of `layer`, each batch row's `times` times: once per prompt of a bucket."""

    def rows(edit):
        return edit.repeat_interleave(times, 0) if edit.shape[0] > 1 else edit

    return replace(
        Plan(),
        uniform={layer: rows(plan.uniform[layer])} if layer in plan.uniform else {},
        scale={layer: rows(plan.scale[layer])} if layer in plan.scale else {},
        replace={layer: (rows(plan.replace[layer][0]), plan.replace[layer][1])} if layer in plan.replace else {},
    )


AttentionInterface.register(PACKED, _attention)

# What a layer is called with per position, as tensors or tuples of tensors with positions along dimension 1.
_POSITIONAL = ("position_embeddings", "position_ids")


class _LastTokens(_Skip):
    """Stands in for the last layer: keys and values of all tokens, everything else for each prompt's last token."""

    def forward(self, hidden_states, *args, **kwargs):
        state = _ACTIVE.get()
        state.capturing = True
        try:
            self.inner(hidden_states, *args, **kwargs)
        except _Captured:
            pass
        finally:
            state.capturing = False
        last = state.at(hidden_states.device).last
        for name in _POSITIONAL:
            if kwargs.get(name) is not None:
                kwargs[name] = _pick(kwargs[name], last)
        try:
            out = self.inner(hidden_states[:, last], *args, **kwargs)
        finally:
            state.cached = None
        # The model goes on with as many tokens as it began with; the other rows are not read.
        states = out[0] if isinstance(out, tuple) else out
        found = states.new_zeros(len(states), *hidden_states.shape[1:]).index_copy(1, last.to(states.device), states)
        return (found, *out[1:]) if isinstance(out, tuple) else found


def _pick(value, last):
    if isinstance(value, tuple):
        return tuple(_pick(part, last) for part in value)
    return value.index_select(1, last.to(value.device))


@contextlib.contextmanager
def packed(model, pack: Pack):
    """Yields run(layer, hidden, plan, rows) -> (states (rows, S, d), logits (rows, S, V)) of each prompt's last token.

    layer, hidden: the forward starts at this layer (0-based) with its input hidden (1, N, d) of the packed tokens,
    for all rows the same; plan: edits with (rows, heads) or (1, heads) tensors per layer, none of them below `layer`.
    States are what the unembedding is given (after the final norm); prompts in the pack's order.  The same prompt twice
    is computed once.
    """
    require_interface(model)
    if model.training:
        raise AtlasError("The model is in training mode, where dropout changes attention; call model.eval() first.")
    layers = decoder_layers(model)
    state = _State(pack, fused=bool(getattr(model, "_supports_sdpa", False)))
    embedding = model.get_input_embeddings().weight
    ids, positions = pack.ids[None].to(embedding.device), pack.positions[None].to(embedding.device)
    found = {}

    def keep_last(module, args, output):
        hidden = output.last_hidden_state
        output.last_hidden_state = hidden[:, state.at(hidden.device).last]
        return output

    def note(module, args):
        found["states"] = args[0]

    # What comes before the first layer's output projection is the same for all rows. Of a family that we have not seen
    # we do not know that nothing stands between attention and projection, so its rows go through all of it.
    config = model.config.get_text_config()
    modules = attention_modules(model) if config.model_type in FAMILIES else {}
    projections = {index: output_projection(module) for index, module in modules.items()}

    def run(layer, hidden, plan, rows):
        state.plan, state.rows, state.first = plan, rows, layer if layer in projections else None
        if state.first is None:
            given, handle = rows, contextlib.nullcontext()
        else:
            given, handle = 1, projections[layer].register_forward_pre_hook(_stacked(rows, config.num_attention_heads))
        with handle, resume_from(model, layer, hidden.expand(given, -1, -1)):
            logits = model(ids.expand(given, -1), position_ids=positions, use_cache=False).logits
        return found.pop("states"), logits

    before, depth = model.config._attn_implementation, len(layers) - 1
    last = layers[depth]
    handles = [
        model.get_decoder().register_forward_hook(keep_last),
        model.get_output_embeddings().register_forward_pre_hook(note),
    ]
    token = _ACTIVE.set(state)
    try:
        model.set_attn_implementation(PACKED)
        layers._modules[str(depth)] = _LastTokens(last, getattr(model, "_atlas_layer_returns_tuple", False))
        with torch.no_grad():
            yield run
    finally:
        layers._modules[str(depth)] = last
        for handle in handles:
            handle.remove()
        _ACTIVE.reset(token)
        model.set_attn_implementation(before)
