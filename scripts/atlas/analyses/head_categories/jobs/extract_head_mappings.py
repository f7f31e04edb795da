"""Ranks of every pair's target under every head, read from the weights of one shard of the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.extract import map_heads
from atlas.data.tokens import vocabulary_ids
from atlas.models.architectures import read_shape
from atlas.models.devices import choose_device
from atlas.models.precision import keep_products_exact, products
from atlas.models.weights import WeightReader
from atlas.results.documents import provenance
from atlas.results.shards import layers_of

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result


def run(task: ModelTask) -> Result:
    options = task.options
    layers = layers_of(read_shape(task.folder).layers, **task.part)
    salient = vocabulary_ids(task.tokenizer), options["salient_tokens"], options["salient_mapped"]
    device = choose_device(task.params["device"])
    if device != "cpu":
        keep_products_exact()
    with task.counting("head mappings", "layer", len(layers)) as advance:
        ranks = map_heads(
            task.inputs["model"],
            task.frame("pairs"),
            layers,
            first_mlp=options["first_mlp"],
            first_experts=options["first_experts"],
            k_max=options["k_max"],
            salient=salient if options["salient_tokens"] else None,
            memory_mb=options["memory_mb"],
            threads=task.threads,
            device=device,
            progress=advance,
        )
    document = task.document("pairs")
    reader = WeightReader(task.folder)
    state = {"first_state": reader.first_state(options["first_mlp"], options["first_experts"])}
    runtime = {"device": device, "dtype": "float32", **(products() if device != "cpu" else {})}
    return ranks, document | provenance(options={**document["options"], **options, **state}, runtime=runtime)
