"""Helpers of the rules: what each job asks of the scheduler. The formulas are in scripts/atlas/planning/resources.py."""

import dataclasses
import errno
import functools

from atlas.config.idle_shards import idle_shards
from atlas.config.model_sizes import beyond_models
from atlas.errors import AtlasError
from atlas.models.architectures import mlp_states, read_config, read_shape
from atlas.models.devices import visible_gpus
from atlas.models.gpu_locks import GIVEN
from atlas.planning.batches import for_gpus, is_auto
from atlas.planning.estimates import Job, Size, Stage
from atlas.planning.forecast import KNOWN
from atlas.planning.known_shapes import shape_here as known_shape
from atlas.planning.resources import (
    STAGES,
    download_mb,
    download_minutes,
    gpu_mb,
    gpus,
    light_mb,
    memory_mb,
    runtime_minutes,
    stage_options,
)
from atlas.planning.rows_at_hand import most_rows, planned_rows, rows_at_hand
from atlas.results.provenance import read_provenance

# Whatever a scheduler starts uses the GPUs that it has given. Told by Snakemake's mode, and not by the scheduler's own
# variables: a whole run inside one of its jobs shares that job's GPUs.
if workflow.remote_exec:
    os.environ[GIVEN] = "1"

# What a model counts as where neither its files nor a hint tell its size.
UNKNOWN = 1_000_000_000
# From how many parameters on a model is said to be planned on CPUs.
LARGE = 3_000_000_000


def size_hint(model):
    """The entry's `parameters:`; that of its base for what is made of another model."""
    entry = MODELS[model]
    if entry["parameters"] is None and (base := made_of(entry["source"])) is not None:
        return size_hint(base)
    return entry["parameters"]


def size_of(model, awaited=None):
    """From the model's own files once they are there, before that from the hint; `awaited` is the input with them."""
    # Another workflow that uses this one may have put it behind a prefix.
    folder = Path(awaited or f"results/models/{model}")
    try:
        record = read_provenance(folder) if (folder / "provenance.json").exists() else None
    except AtlasError as error:
        raise WorkflowError(str(error)) from None
    if record is None:
        if size_hint(model):
            return Size.guess(size_hint(model))
        # Snakemake asks again when this input is there, and plans with <TBD> until then.
        raise FileNotFoundError(errno.ENOENT, "size not known yet", awaited) from None
    try:
        config = read_config(folder)
        return Size.of(read_shape(config), record, mlp_states(config))
    except AtlasError:  # a family whose sizes transformers alone knows: too slow to ask for a plan
        return Size.guess(record["parameters"])


def size_or_guess(model):
    """The same for jobs that come before the model, or cover several."""
    try:
        return size_of(model)
    except FileNotFoundError:
        return Size.guess(UNKNOWN)


def size_and_whether_known(model):
    """The size that a forecast counts with, and whether it is more than a guess."""
    try:
        return size_of(model), True
    except FileNotFoundError:
        return size_or_guess(model), False


# stage -> the analysis whose dtype it runs in; `asks` fills it.
STAGE_DTYPE = {}
KNOWN.size = size_and_whether_known
KNOWN.cores = workflow.resource_settings.cores or 1  # workflow.cores ends `snakemake --unlock`


def note_plan():
    """Hand the jobs of a run that begins to the logger `progress`."""
    KNOWN.plan = [
        (job.rule.name, dict(job.wildcards.items()), 0.0) for job in workflow.dag.needrun_jobs()
    ]


def on_gpu(entry):
    """Whether a model's jobs are planned on GPUs.

    `auto` goes by this machine where its jobs run here, and asks a scheduler, whose nodes are others, for none.
    """
    here = workflow.resource_settings.nodes is None
    return entry["device"] == "cuda" or (
        entry["device"] == "auto" and here and bool(visible_gpus())
    )


def large_on_cpus():
    """A note for each model that analyses run and that is too large for CPUs, but planned on them."""
    run = {model for block in ANALYSES.values() if block for model in block.get("models", [])}
    for model in sorted(run):
        size = size_hint(model) or 0
        if size > LARGE and not on_gpu(MODELS[model]):
            yield (
                f"{model} has {size / 1e9:.1f} billion parameters, and its jobs are planned on CPUs (device: "
                f"{MODELS[model]['device']}); set device: cuda where they will find a GPU."
            )


def shape_here(model):
    """The sizes of a model whose files are here already; None where they are not."""
    root = root_of(model)
    return known_shape(MODELS[root]["source"], Path(placed(MODEL.format(model=root))), PROJECT)


@functools.cache
def rows_of(dataset):
    """The rows that lie here already, under `path` or since an earlier run."""
    downloaded = Path(placed(f"results/downloads/datasets/{dataset}"))
    return rows_at_hand(DATASETS[dataset], PROJECT, downloaded)


def most_rows_of(dataset):
    return most_rows(DATASETS[dataset], rows_of(dataset))


if workflow.is_main_process:
    if problems := list(beyond_models(CONFIG, functools.cache(shape_here))):
        raise WorkflowError(
            "\n".join(["The configuration asks a model for what it has not:", *problems])
        )
    for note in (*large_on_cpus(), *idle_shards(CONFIG, most_rows_of, functools.cache(shape_here))):
        print(note, file=sys.stderr)


def with_batch(stage, told, model, dataset, size=None):
    """`told`, options of a stage, with a number in place of the `auto` of what is run at once.

    It follows from the configuration and the model alone, since results follow it in rounding: not from `device: auto`.
    size: what is counted with where the configuration has no hint; None: that of the files, for which is waited.
    """
    if not is_auto(stage, told):
        return told
    batch = STAGES[stage].batch
    if MODELS[model]["device"] != "cuda":
        return batch.on_a_cpu(told)
    hint = size_hint(model)
    size = Size.guess(hint) if hint else (size or size_of(model, MODEL.format(model=model)))
    options = stage_options(stage, lambda name: block_of(name, model, CONFIG))
    return batch.put(told, for_gpus(stage, planned_job(stage, model, dataset, size, options)))


def job_of(stage, model, dataset, size):
    """What a job of `stage` is for a model and data set, by the memory and minutes that it takes."""
    blocks = [block_of(name, model, CONFIG) for name in STAGES.get(stage, Stage()).analyses]
    told = {key: value for block in blocks for key, value in block.items()}
    return planned_job(stage, model, dataset, size, with_batch(stage, told, model, dataset, size))


def planned_job(stage, model, dataset, size, options):
    """The same with these options."""
    entry = MODELS[model]
    return Job(
        size=size,
        options=options,
        **planned_rows(DATASETS[dataset])._asdict(),
        gpu=on_gpu(entry),
        dtype=dtype_of(model, STAGE_DTYPE.get(stage)),
        **{key: entry[key] for key in ("device_map", "gpu_memory_gb", "gpu_capability", "threads")},
    )


def forecast_job(stage, model, dataset):
    """The same for a forecast, with the rows that are here already: no result and no request depends on it."""
    job = job_of(stage, model, dataset, size_or_guess(model))
    here = rows_of(dataset)
    return job if here is None else dataclasses.replace(job, **here._asdict())


def asks(stage, analysis=None):
    """The `resources:` of jobs that run a model; analysis: whose dtype it runs in."""
    STAGE_DTYPE[stage] = analysis

    def job(wildcards, input):
        model = wildcards.model
        return job_of(stage, model, wildcards.dataset, size_of(model, input.model))

    KNOWN.jobs[stage] = lambda wildcards: forecast_job(
        stage, wildcards["model"], wildcards["dataset"]
    )

    def minutes(wildcards, input, attempt):
        return runtime_minutes(
            stage, job(wildcards, input), attempt, int(wildcards.get("shards", 1))
        )

    return {
        "mem_mb": lambda wildcards, input, attempt: memory_mb(
            stage, job(wildcards, input), attempt
        ),
        "gpu": lambda wildcards, input, attempt: gpus(stage, job(wildcards, input), attempt),
        # What no plugin of Snakemake reads by itself: for submit commands, and options of a site's own.
        "gpu_mb": lambda wildcards, input, attempt: gpu_mb(stage, job(wildcards, input), attempt),
        "runtime": minutes,
    }


def asks_download():
    """The `resources:` of a model's download, or of making it of another."""

    def megabytes(wildcards, attempt):
        source = MODELS[wildcards.model]["source"]
        return download_mb(size_or_guess(wildcards.model), ".gguf" in str(source).lower(), attempt)

    return {
        "mem_mb": megabytes,
        "runtime": lambda wildcards, attempt: download_minutes(
            size_or_guess(wildcards.model), attempt
        ),
    }


def asks_light(minutes=20):
    """The `resources:` of jobs without a model: over one model's tables, or those of all models."""

    def megabytes(wildcards, attempt):
        models = [wildcards.model] if "model" in wildcards.keys() else MODELS
        return light_mb(sum(size_or_guess(model).heads for model in models), attempt)

    return {
        "mem_mb": megabytes,
        "runtime": lambda wildcards, attempt: attempt * minutes,
    }
