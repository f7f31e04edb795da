"""The flows between marked parts of prompts, as pairs of tokens (the part of span_saliency that runs the model).

Source: Wang et al. 2023, arXiv 2305.14160: S_wp (text to label words), S_pq (label words to the target position), S_ww
(all other pairs), each over pairs of a source token j before its destination i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from atlas.analyses.saliency.flow_batches import Flows
from atlas.analyses.saliency.marked_prompts import SOURCES, MarkedPrompt, NamedFlow
from atlas.attention import Flow

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor


def span_flows(flows: Sequence[NamedFlow]) -> Flows[MarkedPrompt]:
    """The flows of prompts, those of marked tokens and then those of random ones; destinations predict the answer."""
    names = [f"{source} {flow.name}" for source in SOURCES for flow in flows]

    def of(prompts: Sequence[MarkedPrompt], shift: int) -> dict[str, Flow]:
        found: dict[str, Flow] = {}
        for source in SOURCES:
            parts = [prompt.parts[source] for prompt in prompts]
            length = max(len(prompt.ids) for prompt in prompts)
            every = _mask([(*own["text"], *own["predicting"]) for own in parts], length)
            others: list[str] = []
            for flow in flows:
                rows, columns = every, every
                if not flow.rest:
                    rows, columns = (_mask([own[name] for own in parts], length) for name in (flow.target, flow.source))
                name = f"{source} {flow.name}"
                found[name] = Flow(rows, columns, min_distance=1, without=tuple(others) if flow.rest else ())
                others.append(name)
        return found

    return Flows(names, of)


def _mask(positions: Sequence[Sequence[int]], length: int) -> Bool[Tensor, "prompts tokens"]:
    mask = torch.zeros(len(positions), length, dtype=torch.bool)
    for row, chosen in enumerate(positions):
        mask[row, list(chosen)] = True
    return mask
