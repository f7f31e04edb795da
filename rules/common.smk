"""Helpers of the rules: the checked configuration, narrow parameters, declared library modules, files."""

import mimetypes
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

PROJECT = Path(workflow.basedir)
SCRIPTS = PROJECT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from atlas.config import PAGES, checked, package_key, packages
from atlas.errors import AtlasError
from atlas.planning.imports import closure

# The report takes files of no known type for text and would show their bytes.
mimetypes.add_type("application/vnd.apache.parquet", ".parquet")

# Threads that wait must not spin: beside other jobs a forward pass would take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# oneDNN, which multiplies bfloat16 on a CPU, keeps scratch space of several MB for each of the last 1,024 shapes that it
# met: batches of a hundred lengths took 2.6 GB where 1.7 do. It reads this when torch is imported.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def checked_config():
    try:
        return checked(config, PROJECT)
    except AtlasError as error:
        raise WorkflowError(str(error)) from None


CONFIG = checked_config()
MODELS, DATASETS = CONFIG["models"], CONFIG["datasets"]
ANALYSES, FIGURES = CONFIG["analyses"], CONFIG["figures"]
FORMATS = ["pdf", "svg", "png"]


def any_of(keys):
    """A wildcard constraint that matches exactly these names."""
    import re

    return "|".join(map(re.escape, keys)) or "(?!)"


wildcard_constraints:
    model=any_of(MODELS),
    dataset=any_of(DATASETS),
    figure=any_of(FIGURES),
    package=any_of(packages(CONFIG)),
    shard=r"\d+",
    shards=r"\d+",
    table=r"[a-z_]+",


# ---------------------------------------------------------------------------------------------- what a rule depends on
def in_project(path):
    """A path of the project relative to the working directory where possible: a moved checkout is no changed one."""
    path, here = PROJECT / path, Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def library(script):
    """Every file of ours that scripts/{script}.py imports, directly or through others, as a rule's input."""
    return [in_project(path) for path in closure(SCRIPTS / f"{script}.py", SCRIPTS)]


def options(analysis, *keys):
    """The named options of one analysis: a rule takes only those it reads."""
    return {key: ANALYSES[analysis][key] for key in keys}


def for_model(analysis, key, model):
    """An option that single models may have otherwise: `{key}_by_model` over `key`."""
    return ANALYSES[analysis][f"{key}_by_model"].get(model, ANALYSES[analysis][key])


def source_of(entries, key):
    """A source entry, or a list of mirrors, with relative paths taken from the Snakefile's folder."""

    def placed(source):
        return {"path": in_project(source["path"])} if "path" in source else source

    source = entries[key]["source"]
    return list(map(placed, source)) if isinstance(source, list) else placed(source)


def source_inputs(entries, key):
    """What must be there before a download: a wheel, the model a control is made of, or a local path.

    Nothing for a list of mirrors: none of them must be there, and what serves is checked by hash.
    """
    source = entries[key]["source"]
    if "package" in source:
        return {"wheel": f"results/downloads/packages/{package_key(source['package'])}.whl"}
    if "control" in source:
        return {"base": f"results/models/{source['control']['of']}"}
    if "path" in source:
        return {"local": in_project(Path(source["path"]).expanduser())}
    return {}


# ------------------------------------------------------------------------------------------------------- loading models
def runtime_options(wildcards):
    """What loading this model takes from its entry."""
    return {key: MODELS[wildcards.model][key] for key in ("dtype", "device", "device_map")}


def logprob_dtype(wildcards):
    """What log-probabilities are computed in: analyses.mink.dtype, or the model's own."""
    own = ANALYSES["mink"]["dtype"]
    return MODELS[wildcards.model]["dtype"] if own == "model" else own


def model_threads(wildcards):
    return MODELS[wildcards.model]["threads"]


# ---------------------------------------------------------------------------------------------------------------- files
def shard_files(folder, analysis, suffix="safetensors"):
    """The shards of one extraction, in order."""
    shards = ANALYSES[analysis]["shards"]
    return [f"{folder}/{shard}-of-{shards}.{suffix}" for shard in range(1, shards + 1)]


def metric_files(pattern, analysis):
    """The metrics files of every model and data set of an analysis."""
    block = ANALYSES[analysis]
    datasets = block["datasets"] if "datasets" in block else [block["dataset"]]
    return [
        pattern.format(model=model, dataset=dataset)
        for model in block["models"]
        for dataset in datasets
    ]


def figures_of(plot):
    """Wildcard constraint: the configured figures that use this plot."""
    return any_of([key for key, figure in FIGURES.items() if figure["plot"] == plot])


def formats(figure):
    return ["html"] if FIGURES[figure]["plot"] in PAGES else FORMATS


def figure_files(reproducible=False):
    """All figures, or those whose bytes are the same on every machine."""
    kept = [
        key for key, figure in FIGURES.items() if not (reproducible and figure["plot"] == "costs")
    ]
    return [f"figures/{figure}.{extension}" for figure in kept for extension in formats(figure)]


def figure_params(wildcards):
    """A figure's own options, and the labels of what it shows."""
    figure = FIGURES[wildcards.figure]
    shown = dict.fromkeys([*figure["models"], *figure.get("kde_models", [])])
    return {
        **figure,
        "model_labels": {model: MODELS[model]["label"] for model in shown},
        **({"dataset_label": DATASETS[figure["dataset"]]["label"]} if "dataset" in figure else {}),
        "dataset_labels": {key: DATASETS[key]["label"] for key in figure.get("datasets", [])},
    }


def heads_params(wildcards):
    """The same for figures of the joined table: what its options were, and the labels of its data sets."""
    chosen = ANALYSES["heads"]["datasets"]
    return {
        **figure_params(wildcards),
        **options("heads", "bootstrap", "confidence"),
        "datasets": chosen,
        "dataset_labels": {dataset: DATASETS[dataset]["label"] for dataset in chosen.values()},
    }


def in_report(file, category):
    """A file of a figure that stands in the report, under the figure's caption."""
    return report(
        file,
        caption="../report/figure.rst",
        category=category,
        labels={"figure": "{figure}", "format": file.rpartition(".")[2]},
    )


def figure_output(category):
    """The three files of a figure, each in the report, and the caption."""
    files = {
        extension: in_report(f"figures/{{figure}}.{extension}", category) for extension in FORMATS
    }
    return {**files, "caption": "results/captions/{figure}.txt"}


def table_output(table):
    """The two files of a table, each in the report."""
    return {
        extension: report(
            f"results/tables/{table}.{extension}",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": table, "format": extension},
        )
        for extension in ("parquet", "csv")
    }


def caption_file(wildcards):
    """A Path, so that the report's template can read the text that the plot job wrote (it states the true n)."""
    return Path(f"results/captions/{wildcards.figure}.txt")


def judge_options(wildcards):
    """The judge's kind and the options of that kind alone."""
    judge = ANALYSES["mink"]["judge"]
    return {key: value for key, value in judge.items() if key in ("kind", judge["kind"])}


def answers_from(model):
    """The model whose answers this one is measured on: itself, or for a control what it is a control of."""
    source = MODELS[model]["source"]
    return answers_from(source["control"]["of"]) if "control" in source else model


def qa_samples(wildcards):
    """The answers with their exact tokens that a model is measured on."""
    return f"results/activations/{answers_from(wildcards.model)}/qa_samples/{wildcards.dataset}.parquet"


def answers_input(wanted):
    """Input function: the answers (of the base of a control), where an analysis needs them."""

    def inputs(wildcards):
        model, dataset = answers_from(wildcards.model), wildcards.dataset
        return (
            {"answers": f"results/activations/{model}/answers/{dataset}.parquet"}
            if wanted()
            else {}
        )

    return inputs


def table_files():
    """Every table of the configured analyses, also those that no figure reads."""
    return [
        f"results/tables/{table}.parquet"
        for table, analysis in {**TABLE_ANALYSES, **JOINED_TABLES}.items()
        if analysis in ANALYSES
    ]
