"""Which jobs may be done on another one's load of their model (scripts/atlas/models/one_load.py)."""

import atexit
import tempfile

from atlas.results import ahead


def on_one_load(model):
    """Whether jobs of a model on this machine share a load of it."""
    return CONFIG["one_load"] is True or (CONFIG["one_load"] == "auto" and on_gpu(MODELS[model]))


def planned(job):
    """A job of the run as others are told of it; None if it is to load its model for itself."""
    stage = job.rule.name
    whole = stage in KNOWN.jobs and stage in STAGES and STAGES[stage].whole_model
    if not (whole and len(job.output) == 1 and on_one_load(job.wildcards.model)):
        return None
    told = {
        "wildcards": dict(job.wildcards.items()),
        "inputs": dict(job.input.items()),
        "params": dict(job.params.items()),
        "listed": list(job.params),
        "resources": {name: job.resources.get(name, 0) for name in ("gpu", "mem_mb")},
    }
    try:
        return ahead.Planned(stage, output=str(job.output[0]), **ahead.plain(told))
    except TypeError:  # it would not be the same job
        return None


def tell_jobs():
    """Write down what the jobs of a run may do for each other, and where that stands."""
    os.environ.pop(ahead.PLAN, None)
    # A scheduler gives each job its own GPUs and minutes.
    if workflow.resource_settings.nodes is not None:
        return
    asked = workflow.dag_settings
    forced = asked.forceall or asked.forcerun or asked.forcetargets
    jobs = []
    for job in workflow.dag.needrun_jobs():
        if (told := planned(job)) is not None:
            jobs.append(told)
            # It is to be computed, also where an earlier run was cut off, which Snakemake calls forced too.
            if forced and workflow.dag.reason(job).forced:
                ahead.forget(told.output)
    if not jobs:
        return
    jobs.sort(key=lambda told: [told.stage, *(text.zfill(9) for text in told.wildcards.values())])
    with tempfile.NamedTemporaryFile(dir=".snakemake") as now:
        began = os.stat(now.name).st_mtime_ns
    file, path = tempfile.mkstemp(prefix="atlas-planned-jobs-", suffix=".json")
    os.close(file)
    atexit.register(Path(path).unlink, missing_ok=True)
    ahead.write_plan(path, ahead.Plan(jobs, READ_NS, began))
    os.environ[ahead.PLAN] = path


onstart:
    note_plan()
    tell_jobs()
