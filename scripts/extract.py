"""A job of an analysis that runs a model or reads its weights; `params.job` names it."""

from typing import TYPE_CHECKING

from atlas.models.batches import memory_named
from atlas.models.gpu_locks import take_gpus
from atlas.models.one_load import OneLoad
from atlas.models.task import ModelTask
from atlas.results.equal import Equal
from atlas.results.task import perform
from job import job, task

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    jobs, this, equal = OneLoad(snakemake), task(ModelTask, snakemake, log), Equal(snakemake)
    with jobs.own() as made:
        if not made and not equal.take():
            take_gpus(snakemake.resources.get("gpu", 0))
            with memory_named():
                perform(this, snakemake.output)
            equal.note()
    jobs.go_on(this)
