"""Saliency of question-to-answer flow (the part that runs the model).

Source: Luo et al., arXiv 2601.07422, Fig. 1, after Wang et al., arXiv 2305.14160; flow_batches.py has the measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from atlas.analyses.saliency.flow_batches import Flows, SampleProbe, extract_flows
from atlas.analyses.saliency.probe_storage import of_samples
from atlas.analyses.saliency.storage import FLOWS, backward_losses
from atlas.attention import Flow
from atlas.errors import AtlasError

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from atlas.analyses.saliency.answered_samples import AnsweredSample
    from atlas.analyses.types import Arrays, Ids, Progress


def extract(
    model: PreTrainedModel,
    samples: Sequence[AnsweredSample],
    prefix: Ids,
    *,
    losses: Iterable[str],
    sample_probe: SampleProbe | None = None,
    batch_tokens: int,
    block: int = 128,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """The arrays of storage of one shard of `samples`.

    prefix: the ids that all samples begin with; losses: of probe_bce, probe_logit, answer_nll; sample_probe: for the
    first two; the rest as for `extract_flows`.
    """
    backward = backward_losses(losses)
    if "probe_logit" in backward and sample_probe is None:
        raise AtlasError("The losses probe_bce and probe_logit need a probe; train one or ask for answer_nll.")
    return extract_flows(
        model,
        samples,
        prefix,
        Flows(FLOWS, _flows),
        backward=backward,
        sample_probe=sample_probe,
        batch_tokens=batch_tokens,
        block=block,
        shard=shard,
        shards=shards,
        progress=progress,
    )


def usable(
    stored: Arrays, samples: Sequence[AnsweredSample], losses: Iterable[str]
) -> tuple[list[str], SampleProbe | None]:
    """(losses, SampleProbe or None) of a stored probe; the loss is answer_nll alone where none could be trained."""
    if int(stored["layer"]) == 0:
        return ["answer_nll"], None
    if "probe_logit" not in backward_losses(losses):
        return list(losses), None
    weight, bias = of_samples(stored, [sample.number for sample in samples])
    return list(losses), SampleProbe(int(stored["layer"]), weight, bias)


def _flows(samples: Sequence[AnsweredSample], shift: int) -> dict[str, Flow]:
    """{flow: Flow} of a batch; shift: 1 where the destinations are the positions that predict E_A, one to the left."""
    length = max(len(sample.ids) for sample in samples)
    empty_mask = torch.zeros(len(samples), length, dtype=torch.bool)
    masks = {name: empty_mask.clone() for name in ("question", "random", "answer", "all")}
    for row, sample in enumerate(samples):
        masks["question"][row, list(sample.question)] = True
        masks["random"][row, list(sample.random)] = True
        masks["answer"][row, [position - shift for position in sample.answer]] = True
        masks["all"][row, : len(sample.ids) - shift] = True
    # Distance 1: a destination is later than its source, so that E_A is part of `all` pair by pair.
    return {flow: Flow(masks[flow.split("_")[2]], masks[flow.split("_")[0]], min_distance=1) for flow in FLOWS}
