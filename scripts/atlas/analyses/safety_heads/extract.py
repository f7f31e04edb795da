"""What ablating heads does to the last token: Gram matrices of states, KL divergences (the part that runs the model).

Source: Zhou et al., ICLR 2025, arXiv 2410.13708, equations 5 to 9. A head's attention output o(i) is replaced by

    undifferentiated  the mean of v(j) over the visible j, the exact limit of scaling the query to 0
    scaling           epsilon * o(i)
    mean              the mean of o over all tokens of all prompts

Their code runs the whole model for every head and prompt. Here one clean pass keeps what enters each layer, and every
(head, prompt) is run from the head's layer on, all of them side by side (attention.packed). Families in which prompts
cannot lie side by side run whole, a prompt with all heads of a layer at a time (attention.alone).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.head_edits import ablation_plan, group_masks, head_means
from atlas.attention import Pack, Plan, alone, attend, attention_layers, decoder_layers, layer_inputs, packable, packed
from atlas.errors import AtlasError
from atlas.models.architectures import input_device
from atlas.models.batches import Batches
from atlas.models.finite import require_finite
from atlas.models.transfers import fetched, sent
from atlas.results.shards import shard_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.head_edits import Groups, Prompts
    from atlas.attention.packed import Run

    Progress = Callable[[Iterable], Iterable]

# Bytes of one residual component over the tokens of a forward when max_rows is left open: more is slower on a CPU.
_BYTES = {"cpu": 1 << 14, "cuda": 1 << 17}
_CHECKED = 4  # prompts whose states are compared with the model's own forward on every start


class _Enough(Exception):
    """Ends a forward once the input of the first layer is known."""


def extract(
    model: PreTrainedModel,
    prompts: Prompts,
    *,
    ablations: Sequence[str],
    epsilon: float,
    max_rows: int | None = None,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """Arrays of one shard (every shards-th layer with attention) of all single heads, named as in storage.py.

    prompts: list of token id sequences. max_rows: (head, prompt) pairs that are run at once; None: chosen by
    `default_rows`. Results depend on it by rounding only.
    """
    config = model.config.get_text_config()
    layers = shard_of(attention_layers(model), shard, shards)
    heads = range(config.num_attention_heads)
    ablation = HeadAblation(model, prompts, layers, epsilon=epsilon, max_rows=max_rows, means="mean" in ablations)
    n = len(prompts)
    arrays: dict[str, np.ndarray] = {
        "layer": np.array(layers, np.int32),
        "depth": np.array(len(decoder_layers(model)), np.int32),
        "clean.gram": ablation.clean_gram,
    }
    for kind in ablations:
        arrays[f"{kind}.gram"] = np.zeros((len(layers), len(heads), n, n))
        arrays[f"{kind}.kl"] = np.zeros((len(layers), len(heads), n))
    for i, kind in progress([(i, kind) for i in range(len(layers)) for kind in ablations]):
        gram, kl = ablation.effects(kind, [[(layers[i], head)] for head in heads])
        arrays[f"{kind}.gram"][i], arrays[f"{kind}.kl"][i] = gram, kl
    return arrays


def default_rows(model: PreTrainedModel, prompts: Prompts) -> int:
    """(head, prompt) pairs to run at once: as many as make the processor busy, fewer only where memory is short."""
    config, device = model.config.get_text_config(), next(model.parameters()).device
    tokens = max(map(len, prompts))
    size = next(model.parameters()).element_size()
    rows = max(1, _BYTES[device.type] // size // tokens)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        import psutil

        free = psutil.virtual_memory().available
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    inner = max(inner) if isinstance(inner, list) else inner  # one for each layer
    # Per token: residuals, norms, queries, keys, values and the MLP; per row: logits as they come and in float64.
    row = tokens * size * (10 * config.hidden_size + 4 * inner) + config.vocab_size * (2 * size + 24)
    while rows > 1 and rows * row > free / 4:
        rows //= 2
    return rows


@dataclass(frozen=True)
class _Clean:
    """What the clean pass over some prompts leaves: their numbers, their pack, their last states, their distributions,
    and what enters each layer (on the CPU)."""

    part: list[int]
    pack: Pack
    states: Float[np.ndarray, "prompts width"]
    divergence: Divergence
    inputs: dict[int, Float[Tensor, "1 tokens width"]]


class HeadAblation:
    """The clean pass over `prompts`, and the effects of ablating groups of heads.

    Prompts come in any order and any number; `layers`: lowest layers that groups may have. Raises AtlasError if the
    packed forward does not reproduce the model's own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Prompts,
        layers: Sequence[int],
        *,
        epsilon: float,
        max_rows: int | None = None,
        means: bool = False,
    ) -> None:
        self.model, self.epsilon = model, epsilon
        self.heads = model.config.get_text_config().num_attention_heads
        self.devices = [next(layer.parameters()).device for layer in decoder_layers(model)]
        self.max_rows = max_rows or default_rows(model, prompts)
        # Prompts that begin alike share tokens, so they go into one pack.
        order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
        self.side_by_side = packable(model)
        embeddings = self._embeddings(prompts) if self.side_by_side else []
        most = self.max_rows if self.side_by_side else 1
        self.means = head_means(model, prompts) if means else None
        self.packs: list[_Clean] = []
        self._fitted = Batches("max_rows", one="a prompt")
        for i in range(0, len(order), most):
            self.packs += self._fitted.run(
                lambda part: self._clean(prompts, part, embeddings, layers), order[i : i + most]
            )
        states = np.zeros((len(prompts), self.packs[0].states.shape[-1]))
        for pack in self.packs:
            states[pack.part] = pack.states
        self._check(states, prompts)
        self.clean_gram = states @ states.T
        self.prompts, self.width = states.shape

    def _clean(
        self, prompts: Prompts, part: Sequence[int], embeddings: Sequence[Tensor], layers: Sequence[int]
    ) -> _Clean:
        """The clean pass over the prompts with the numbers `part`, a single one where they run apart."""
        pack = Pack([prompts[i] for i in part])
        if not self.side_by_side:
            with alone(self.model, prompts[part[0]]) as run:
                found, logits = run(0, None, Plan(), 1)
            (states,) = fetched([found[0].double()])
            return _Clean(list(part), pack, states.numpy(), Divergence(logits[0]), {})
        embedded = torch.zeros(1, len(pack.ids), embeddings[0].shape[-1], dtype=embeddings[0].dtype)
        for i, path in zip(part, pack.paths, strict=True):
            embedded[:, path] = embeddings[i]
        with packed(self.model, pack) as run, layer_inputs(self.model, set(layers)) as inputs:
            found, logits = run(0, sent(embedded, self.devices[0]), Plan(), 1)
        states, *entering = fetched([found[0].double(), *inputs.values()])
        kept = dict(zip(inputs, entering, strict=True))
        return _Clean(list(part), pack, states.numpy(), Divergence(logits[0]), kept)

    @torch.no_grad()
    def _embeddings(self, prompts: Prompts) -> list[Float[Tensor, "1 tokens width"]]:
        """What enters layer 0, (1, T, d) of each prompt run alone: the forwards end there."""
        found: list[Tensor] = []

        def take(module: torch.nn.Module, args: tuple, kwargs: dict[str, Tensor]) -> None:
            found.append((args[0] if args else kwargs["hidden_states"]).cpu())
            raise _Enough

        handle = decoder_layers(self.model)[0].register_forward_pre_hook(take, with_kwargs=True)
        try:
            with attend(self.model):
                for prompt in prompts:
                    with contextlib.suppress(_Enough):
                        self.model(self._ids(prompt), use_cache=False, logits_to_keep=1)
        finally:
            handle.remove()
        return found

    def _ids(self, prompt: Sequence[int]) -> Int[Tensor, "1 tokens"]:
        return sent(torch.tensor([prompt]), input_device(self.model))

    @torch.no_grad()
    def _check(self, states: Float[np.ndarray, "prompts width"], prompts: Prompts) -> None:
        """Compare some prompts, the shortest and the longest among them, with the model's own layers."""
        for query, state in enumerate(states):
            require_finite(torch.from_numpy(state), self.model, [prompts[query]], f"the last state of prompt {query}")
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        note: dict[str, Tensor] = {}
        chosen = sorted({order[round(i * (len(order) - 1) / (_CHECKED - 1))] for i in range(_CHECKED)})
        handle = self.model.get_output_embeddings().register_forward_pre_hook(lambda _, args: note.update(last=args[0]))
        own = []
        try:
            with attend(self.model):
                for i in chosen:
                    self.model(self._ids(prompts[i]), use_cache=False, logits_to_keep=1)
                    own.append(note["last"][0, -1].double().cpu().numpy())
        finally:
            handle.remove()
        worst = np.abs(states[chosen] - own).max() / np.abs(own).max()
        half = self.model.dtype in (torch.float16, torch.bfloat16)
        if not worst <= (0.1 if half else 1e-3):
            raise AtlasError(
                f"{type(self.model).__name__} ('{self.model.config.model_type}'): states of packed prompts differ from "
                f"the model's own by {worst:.1e} of their largest value; report the model type."
            )

    def effects(
        self, ablation: str, groups: Groups
    ) -> tuple[Float[np.ndarray, "groups prompts prompts"], Float[np.ndarray, "groups prompts"]]:
        """(Gram matrices (G, Q, Q), KL (G, Q)) float64 of ablating each group, a list of (layer, head), together."""
        states = np.zeros((len(groups), self.prompts, self.width))
        kl = np.zeros((len(groups), self.prompts))
        for clean in self.packs:
            with self._running(clean.pack) as run:

                def batch(numbers: Sequence[int], clean: _Clean = clean, run: Run = run) -> None:
                    chosen = [groups[i] for i in numbers]
                    start = min(layer for group in chosen for layer, _ in group)
                    hidden = sent(clean.inputs[start], self.devices[start]) if clean.inputs else None
                    last, changed = run(start, hidden, self._plan(ablation, chosen), len(numbers))
                    found, kl[np.ix_(numbers, clean.part)] = (
                        x.numpy() for x in fetched([last.double(), clean.divergence(changed)])
                    )
                    if not np.isfinite(found).all():
                        group = chosen[int(np.flatnonzero(~np.isfinite(found).all((1, 2)))[0])]
                        raise AtlasError(f"ablating (layer, head) {group}: the last state has NaN or infinite values.")
                    states[np.ix_(numbers, clean.part)] = found

                for numbers in self._batches(groups, len(clean.part)):
                    self._fitted.run(batch, numbers)
        return states @ states.transpose(0, 2, 1), kl

    def _running(self, pack: Pack) -> AbstractContextManager[Run]:
        """How a pack is run; where prompts run apart it holds one."""
        return packed(self.model, pack) if self.side_by_side else alone(self.model, pack.ids.tolist())

    def _batches(self, groups: Groups, prompts: int) -> list[list[int]]:
        """Numbers of groups that are run together, of similar lowest layer and equal sizes."""
        order = sorted(range(len(groups)), key=lambda i: (min(groups[i])[0], i))
        number = -(-len(groups) // max(1, self.max_rows // prompts))
        borders = [round(i * len(order) / max(1, number)) for i in range(number + 1)]
        return [order[a:b] for a, b in pairwise(borders)]

    def _plan(self, ablation: str, groups: Groups) -> Plan:
        return ablation_plan(ablation, group_masks(groups, self.heads), self.epsilon, self.means)


class Divergence:
    """KL(clean || changed) of next-token distributions in float64, in nats.

    clean: logits (S, V). Called with changed (rows, S, V), it gives (rows, S) where they lie. On a CPU one distribution
    at a time, so that the float64 copies stay in a processor's cache.
    """

    def __init__(self, clean: Float[Tensor, "prompts vocabulary"]) -> None:
        clean = clean.double().cpu()
        self.normal = clean.logsumexp(-1)
        self.probability = (clean - self.normal[:, None]).exp()
        self.own = torch.stack([p @ c for p, c in zip(self.probability, clean, strict=True)])
        self._at: dict[torch.device, list[Tensor]] = {}

    def __call__(self, changed: Float[Tensor, "rows prompts vocabulary"]) -> Float[Tensor, "rows prompts"]:
        device = changed.device
        found = torch.empty(changed.shape[:2], dtype=torch.float64, device=device)
        if device not in self._at:
            self._at[device] = [sent(x, device) for x in (self.probability, self.own, self.normal)]
        probability, own, clean = self._at[device]
        if device.type == "cuda":  # a GPU wants few large products
            for i, (weights, entropy, normal) in enumerate(zip(probability, own, clean, strict=True)):
                logits = changed[:, i].double()
                found[:, i] = (entropy - logits @ weights) + (logits.logsumexp(-1) - normal)
            return found.clamp_min(0)
        for place in np.ndindex(*changed.shape[:2]):
            logits, i = changed[place].double(), place[1]
            mean = probability[i] @ logits
            top = logits.max()
            normal = logits.sub_(top).exp_().sum().log() + top
            found[place] = (own[i] - mean) + (normal - clean[i])
        return found.clamp_min(0)
