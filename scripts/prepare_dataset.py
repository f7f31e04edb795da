"""Write the rows of one data set that the analyses use, checked against their kind's schema."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.data.kinds import prepare
from atlas.results.documents import provenance
from atlas.results.files import write_frame
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    entry = snakemake.params.entry
    frame, report = prepare(entry["kind"], entry, Path(snakemake.input.raw))
    log.info("%s", report)
    write_frame(snakemake.output[0], frame, provenance(dataset=report, options=entry))
