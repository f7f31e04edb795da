"""Saliency sums of flows between tokens in batches of texts, for any flows (the part that runs the model).

Source: Wang et al., arXiv 2305.14160, and Luo et al., arXiv 2601.07422:

    S_h(i, j) = A_h(i, j) * dLoss/dA_h(i, j) = A_h(i, j) * <g_h(i), v_h(j)>,    g_h(i) = dLoss/dO_h(i)

with O_h(i) the output of head h at destination i, so no T x T tensor and no gradient of a parameter is needed. Only
destinations later than the first source count, and g at a destination depends on later positions alone: everything
before them runs without a graph, what all texts share once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

import numpy as np
import torch

from atlas.analyses.saliency.storage import empty, merge
from atlas.attention import (
    Flow,
    FlowPairs,
    Plan,
    attend,
    decoder_layers,
    flow_sums,
    lowest_layers,
    read_in_layer,
    residuals,
)
from atlas.errors import AtlasError
from atlas.models.architectures import decoder_stack
from atlas.models.batches import Batches
from atlas.models.next_token import check_head, logits_of, scaled
from atlas.models.shared_prefix import continued, padded, prefix_cache, shares
from atlas.models.transfers import fetched, sent
from atlas.results.shards import batches, shard_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.types import Ids, KeysAndValues, Progress
    from atlas.attention import FlowSums

SUMS = ("signed", "absolute", "sum_then_abs")


class AnsweredText(Protocol):
    """A text with an answer: number of its row; ids; answer: positions in ids of its exact answer tokens; first: the
    first position that some flow ends in, or that predicts an answer token."""

    @property
    def number(self) -> int: ...
    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def answer(self) -> tuple[int, ...]: ...
    @property
    def first(self) -> int: ...


Text = TypeVar("Text", bound=AnsweredText)


@dataclass(frozen=True)
class SampleProbe:
    """The probe as each sample meets it: logit = <weight, h> + bias on the residual h with index `layer` (at least 1).

    weight, bias: in the order of the samples; of the fold that did not train on the sample, its scaler folded in.
    """

    layer: int
    weight: Float[np.ndarray, "samples width"]
    bias: Float[np.ndarray, " samples"]


@dataclass(frozen=True)
class Flows(Generic[Text]):
    """names: of the flows, in the order of the arrays. of: {name: Flow} of a batch, from the texts and from whether an
    answer's destinations are the positions that predict it (1, one to the left) or its own (0)."""

    names: Sequence[str]
    of: Callable[[Sequence[Text], int], Mapping[str, Flow]]


def extract_flows(
    model: PreTrainedModel,
    samples: Sequence[Text],
    prefix: Ids,
    flows: Flows[Text],
    *,
    backward: Sequence[str],
    sample_probe: SampleProbe | None = None,
    batch_tokens: int,
    block: int = 128,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """The arrays of storage of one shard of `samples`, of which all begin with the ids `prefix`.

    backward: the losses that run backward, of probe_logit (which needs sample_probe) and answer_nll; batch_tokens:
    tokens of a batch behind the prefix, padding included; block: query rows whose attention is rebuilt at once. Shards
    are cut between batches, so results do not depend on their number. Raises AtlasError for sums that are not finite.
    """
    if "answer_nll" in backward:
        check_head(model)
    prefix = prefix[: min(sample.first for sample in samples)] if shares(model) else ()
    lengths = [len(sample.ids) - len(prefix) for sample in samples]
    groups = shard_of(batches(lengths, batch_tokens), shard, shards)
    heads = model.config.get_text_config().num_attention_heads
    height = depth = len(decoder_layers(model))
    parts = [empty(backward, depth, heads, len(flows.names))]
    if sample_probe is not None and list(backward) == ["probe_logit"]:
        height = sample_probe.layer
    with lowest_layers(model, height):
        with attend(model), _top(model, backward, sample_probe, None):
            shared = prefix_cache(model, prefix)

        def batch(group: Sequence[int]) -> dict[str, np.ndarray]:
            chosen, own = [samples[i] for i in group], None
            if sample_probe is not None and "probe_logit" in backward:
                own = SampleProbe(sample_probe.layer, sample_probe.weight[group], sample_probe.bias[group])
            return _batch(model, shared, chosen, len(prefix), flows, backward, own, block)

        fitted = Batches("batch_tokens")
        for group in progress(groups):
            parts += fitted.run(batch, group)
    return merge(parts)


def _batch(
    model: PreTrainedModel,
    shared: KeysAndValues,
    samples: Sequence[Text],
    start: int,
    flows: Flows[Text],
    losses: Sequence[str],
    sample_probe: SampleProbe | None,
    block: int,
) -> dict[str, np.ndarray]:
    ids = padded(model, [sample.ids for sample in samples], start)
    cache = continued(shared, len(samples), model) if shares(model) else None
    split = min(sample.first for sample in samples) - start
    if cache is None or (start == 0 and 4 * split < ids.shape[1]):
        split = 0  # little to save, and without a cache attention needs no mask of texts x tokens x tokens
    if split > 0:  # nothing before the first destination needs a graph
        with torch.no_grad(), attend(model), _top(model, losses, sample_probe, None):
            decoder_stack(model)(input_ids=ids[:, :split], past_key_values=cache, use_cache=True)
    here = start + split
    plan = Plan(grads=True, capture=True, block=block)
    last = sent(torch.tensor([len(sample.ids) - 1 - here for sample in samples]), ids.device)
    depth = len(decoder_layers(model))
    height = depth if sample_probe is None else sample_probe.layer
    keep = {sample_probe.layer} if sample_probe is not None else set()
    top = _top(model, losses, sample_probe, last)
    with attend(model, plan, padded_right=True) as record, residuals(model, keep) as hidden, top:
        given = {"input_ids": ids[:, split:], "past_key_values": cache, "use_cache": cache is not None}
        final = decoder_stack(model)(**given).last_hidden_state
        del cache, given
        totals = {}
        if sample_probe is not None:
            state = hidden.pop(sample_probe.layer)
            texts = torch.arange(len(last), device=state.device)
            totals["probe_logit"] = _logits(state[texts, last.to(state.device)], sample_probe)
        if "answer_nll" in losses:
            totals["answer_nll"] = _answer_nll(model, final, ids[:, split:], samples, here)
        del final
        found = {("logit" if name == "probe_logit" else "nll"): value.detach() for name, value in totals.items()}
        for loss in losses:
            layers = [x for x in sorted(record.captures) if loss == "answer_nll" or x < height]
            if not layers:
                raise AtlasError(
                    f"no layer below the probe's, {height}, has attention, so {loss} has no saliency; leave this model "
                    "out, or ask for answer_nll alone."
                )
            outputs = [cast(torch.Tensor, record.captures[layer].output) for layer in layers]  # the plan asks for them
            # Summed over the batch: the gradient of each text is that of its own loss.
            grads = torch.autograd.grad(totals.pop(loss).sum(), outputs, retain_graph=bool(totals))
            one = record.captures[layers[0]]
            pairs = FlowPairs(flows.of(samples, int(loss == "answer_nll")), one.batch, one.kv_len, one.offset)
            sums = {}
            for layer, grad in zip(layers, grads, strict=True):
                sums[layer] = flow_sums(record.captures[layer], grad, pairs, block)
            found.update(_by_layer(loss, sums, depth))
    return _arrays(samples, found)


def _top(
    model: PreTrainedModel,
    losses: Sequence[str],
    sample_probe: SampleProbe | None,
    rows: Int[Tensor, " batch"] | None,
) -> AbstractContextManager[None]:
    """What follows the highest attention, for the tokens that the probe reads alone; where it is the only reader."""
    if sample_probe is None or losses != ["probe_logit"]:
        return contextlib.nullcontext()
    return read_in_layer(model, sample_probe.layer - 1, rows)


def _logits(states: Float[Tensor, "batch width"], sample_probe: SampleProbe) -> Float[Tensor, " batch"]:
    exact = torch.promote_types(states.dtype, torch.float32)
    weight, bias = (
        sent(torch.from_numpy(part).to(exact), states.device) for part in (sample_probe.weight, sample_probe.bias)
    )
    return (states.to(weight.dtype) * weight).sum(-1) + bias


def _answer_nll(
    model: PreTrainedModel,
    states: Float[Tensor, "batch tokens width"],
    ids: Int[Tensor, "batch tokens"],
    samples: Sequence[AnsweredText],
    here: int,
) -> Float[Tensor, " batch"]:
    """(B,) mean over the exact answer tokens of - log p(token | what stands before it), with a graph."""
    rows = [(row, position - here) for row, sample in enumerate(samples) for position in sample.answer]
    row, position = (sent(torch.tensor(part), states.device) for part in zip(*rows, strict=True))
    logits = logits_of(model, states[row, position - 1])
    logits = scaled(model, logits.to(torch.promote_types(logits.dtype, torch.float32)))
    targets = ids[row.to(ids.device), position.to(ids.device)].to(logits.device)
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    count = sent(torch.tensor([len(sample.answer) for sample in samples]), nll.device)
    return nll.new_zeros(len(samples)).index_add(0, row.to(nll.device), nll) / count


def _by_layer(loss: str, sums: Mapping[int, Mapping[str, FlowSums]], depth: int) -> dict[str, Tensor]:
    """The sums of one loss from {layer: {flow: FlowSums}}, still on a device; NaN in layers that are not there."""
    one = next(iter(sums.values()))
    place = next(iter(one.values())).signed.device

    def stack(name: str) -> Float[Tensor, "samples layers flows ..."]:
        by_layer = {
            x: torch.stack([getattr(part, name) for part in of.values()], 1).to(place) for x, of in sums.items()
        }
        missing = torch.full_like(next(iter(by_layer.values())), torch.nan)
        return torch.stack([by_layer.get(layer, missing) for layer in range(depth)], 1)

    return {
        **{f"{loss}.{name}": stack(name) for name in SUMS},
        f"{loss}.pairs": torch.stack([part.pairs for part in one.values()], 1),
        f"{loss}.layers": torch.tensor(sorted(sums)),
    }


def _arrays(samples: Sequence[AnsweredText], found: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The arrays of a batch, fetched from the devices together. Raises AtlasError where a sum is not finite."""
    here = dict(zip(found, fetched(list(found.values())), strict=True))
    missing = torch.full((len(samples),), torch.nan)
    arrays = {"number": np.array([sample.number for sample in samples], np.int32)}
    arrays |= {name: here.get(name, missing).numpy() for name in ("logit", "nll")}
    for loss in (name.removesuffix(".layers") for name in found if name.endswith(".layers")):
        for name in SUMS:
            for layer in here[f"{loss}.layers"].tolist():
                if not bool(torch.isfinite(here[f"{loss}.{name}"][:, layer]).all()):
                    raise AtlasError(
                        f"layer {layer}: the saliency is NaN or infinite; check the model's weights and dtype."
                    )
            arrays[f"{loss}.{name}"] = here[f"{loss}.{name}"].numpy()
        arrays[f"{loss}.pairs"] = here[f"{loss}.pairs"].numpy().astype(np.int32)
    return arrays
