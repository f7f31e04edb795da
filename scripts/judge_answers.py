"""Judged correctness of one model's answers to a depth data set."""

from typing import TYPE_CHECKING

from atlas.analyses.mink.judges import judge
from atlas.results.files import read_frame, read_provenance, write_frame
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    table = read_frame(snakemake.input.dataset)
    answers = snakemake.input.get("answers")
    judgements = judge(
        table,
        read_frame(answers) if answers else None,
        snakemake.params.judge,
        model=snakemake.wildcards.model,
        cache=snakemake.params.cache,
        progress=progress("judge", "answer"),
    )
    document = (
        read_provenance(answers) if answers else provenance(dataset=read_provenance(snakemake.input.dataset)["dataset"])
    )
    write_frame(snakemake.output[0], judgements, {**document, "judge": snakemake.params.judge})
