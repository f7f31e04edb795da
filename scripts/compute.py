"""A job of an analysis that reads results and needs no model; `params.job` names it."""

from typing import TYPE_CHECKING

from atlas.results.task import Task, perform
from job import job, task

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    perform(task(Task, snakemake, log), snakemake.output)
