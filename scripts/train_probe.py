"""Train a truthfulness probe on the hidden states of one model and data set, out of fold."""

from typing import TYPE_CHECKING

from atlas.analyses.saliency.probe import probe_of
from atlas.analyses.saliency.probe_storage import arrays
from atlas.results.files import read_arrays, read_frame, write_arrays
from atlas.results.tables import write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = snakemake.params.options
    hidden, document = read_arrays(snakemake.input.activations)
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    probes, table, note = probe_of(hidden, read_frame(snakemake.input.samples), options, keys)
    log.info("%s", note)
    document.update(metric_options=options, probe=note)
    write_arrays(snakemake.output.probe, arrays(hidden["number"], probes), document)
    write_table(snakemake.output.auroc, table, "probe_auroc", document)
