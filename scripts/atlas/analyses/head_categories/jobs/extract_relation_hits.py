"""Which targets are among the top of what every head writes on prompts with their sources, with and without context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.analyses.head_categories.completions import unasked
from atlas.analyses.head_categories.dynamic import dynamic_hits
from atlas.analyses.head_categories.dynamic_prompts import placed_prompts
from atlas.attention import ATTENTION, START, checked
from atlas.errors import AtlasError
from atlas.models.architectures import decoder_layers, input_device
from atlas.models.weights import WeightReader

if TYPE_CHECKING:
    from atlas.analyses.head_categories.dynamic_prompts import Placed
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (ATTENTION, START)


def run(task: ModelTask) -> Result:
    options, pairs, top = task.options, task.frame("pairs"), task.params["k"]
    prompts: dict[int, list[Placed]] = {}
    dropped: dict[str, dict[str, int]] = {}
    for relation, rows in pairs.groupby("relation", sort=True):
        found, dropped[str(relation)] = placed_prompts(task.tokenizer, rows, options, task.limits)
        prompts |= found
    if not prompts:
        why = "; ".join(f"{relation}: {unasked(lost)}" for relation, lost in dropped.items())
        raise AtlasError(
            f"analyses.relation_dynamic.templates: no relation can be asked for. {why}. Each source must be one token "
            "that stands once in every template."
        )
    chosen = pairs.loc[list(prompts)]
    model = checked(task.model, *NEEDS)
    hits = dynamic_hits(
        model,
        WeightReader(task.folder, device=input_device(model)),
        list(prompts.values()),
        chosen["target_id"].tolist(),
        [top.get(relation, top["default"]) for relation in chosen["relation"]],
        max_rows=options["max_rows"],
        progress=task.progress("heads on prompts", "template"),
    )
    hits |= {"pair": np.array(list(prompts), np.int32), "depth": np.array(len(decoder_layers(model)), np.int32)}
    return hits, task.provenance(samples={"dropped": dropped})
