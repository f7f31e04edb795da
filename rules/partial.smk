"""After a run with --keep-going in which something failed: the tables and figures of what is there, with what is not named."""

import json
import subprocess


def shown_models(figure, models):
    """The models among `models` whose every file of the figure's own tables is there; all of them in a usual run."""
    record = registry.PLOTS[figure["plot"]]
    if UNMADE is None or record.measures_machine:
        return list(models)
    datasets = {table: figure_datasets(figure, table) for table in record.tables}
    return [
        model
        for model in models
        if all(
            made(file)
            for table in record.tables
            for file in metric_files(table, [model], datasets[table])
        )
    ]


def can_be_made(path):
    """Whether anything of what a table or figure shows is there."""
    name = Path(path).stem
    if path.startswith(f"{OWN}/tables/"):
        return name != "costs" and any(map(made, metric_files(name)))
    if path.startswith(f"{DRAWN}/") and name in FIGURES:
        figure = FIGURES[name]
        measures = registry.PLOTS[figure["plot"]].measures_machine
        return not measures and bool(shown_models(figure, figure["models"]))
    return False


def finish_what_can_be():
    """Start Snakemake once more for tables and figures that wait for results which this run could not make."""
    global UNMADE
    unmade = sorted({str(file) for job in workflow.dag.needrun_jobs() for file in job.output})
    UNMADE = set(unmade)
    targets = [
        file
        for file in unmade
        if file.startswith((f"{OWN}/tables/", f"{DRAWN}/")) and can_be_made(file)
    ]
    if not targets:
        return
    record = Path(f"{OWN}/.unmade.json")
    record.write_text(json.dumps(unmade), encoding="utf-8")
    given = [
        argument for argument in sys.argv[1:] if argument not in set(workflow.dag_settings.targets)
    ]
    handed = f"_unmade={record}"
    place = next((i for i, argument in enumerate(given) if argument in ("--config", "-C")), None)
    if place is None:
        given += ["--config", handed]
    else:
        given.insert(place + 1, handed)
    print(
        f"Some results could not be made; {len(targets)} tables and figures are made of the others and name what is "
        "missing. Run again when it is mended.",
        file=sys.stderr,
    )
    subprocess.run([sys.executable, "-m", "snakemake", *targets, *given, "--nolock"], check=False)


onerror:
    if workflow.execution_settings.keep_going and UNMADE is None:
        finish_what_can_be()
