"""Refusal rates of answers that were generated with heads ablated."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.ablation_effect import effect_table, read_phrases
from atlas.results.files import read_frame, read_provenance
from atlas.results.tables import write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    options = snakemake.params.options
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    phrases = read_phrases(Path(snakemake.input.phrases))
    document = {**read_provenance(snakemake.input.answers), "metric_options": options, "phrases": phrases}
    effect = effect_table(read_frame(snakemake.input.answers), phrases, keys, options["confidence"])
    write_table(snakemake.output[0], effect, "ablation_effect", document)
