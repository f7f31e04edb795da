"""Checks that all analyses share: `all` spelled out, references to models and data sets, what starts from what."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from atlas.analyses.registry import ANALYSES
from atlas.config import checks
from atlas.config.problems import nearest, raise_all

Config = dict[str, Any]


def check_analyses(config: Config, problems: list[str]) -> None:
    """Resolve and check every block, one that others start from or join before them.

    Raises AtlasError; problems: what was found before, to be told with those of the first blocks.
    """
    names = list(config["analyses"])
    first = [name for name in names if ANALYSES[name].kind and not ANALYSES[name].starts_from]
    raise_all([*problems, *_checked(config, first)])
    raise_all(_checked(config, [name for name in names if ANALYSES[name].starts_from]))
    raise_all(_checked(config, [name for name in names if not ANALYSES[name].kind]))


def trained(models: list[str], config: Config) -> list[str]:
    """Those of `models` that are no controls."""
    return [key for key in models if "control" not in config["models"][key]["source"]]


def datasets_of(block: Config) -> list[str]:
    """The data sets of an analysis, whether it has one or several."""
    return [block["dataset"]] if "dataset" in block else list(block["datasets"])


def first_of(where: str, options: Config, option: str, listed: str, block: Config) -> Iterator[str]:
    """`option` must be among analyses.{listed}, a list in `block`; null becomes the first of it."""
    known = block[listed.rpartition(".")[2]]
    if options.get(option) is None:
        options[option] = known[0]
    elif options[option] not in known:
        value = repr(options[option]) if isinstance(options[option], str) else options[option]
        yield f"{where}.{option}: {value} is not among analyses.{listed} ({', '.join(map(str, known))}); add it there."


def _checked(config: Config, names: list[str]) -> Iterator[str]:
    for name in names:
        block, record = config["analyses"][name], ANALYSES[name]
        found = list(_starts_from(name, record.starts_from, block, config) if record.starts_from else ())
        if not found and record.kind:
            found = list(_references(name, record.kind, block, config))
        yield from found
        if not found:  # its own checks read what was resolved
            yield from checks.problems(name, f"analyses.{name}", block, config)
            yield from _by_model(name, block, config)


def _by_model(name: str, block: Config, config: Config) -> Iterator[str]:
    """The same checks of the block as each model has it that has something otherwise."""
    told: set[str] = set()
    for key in block["models"]:
        if own := config["models"].get(key, {}).get("options", {}).get(name):
            where = f"models.{key}.options.{name}"
            for problem in checks.problems(name, where, copy.deepcopy({**block, **own}), config):
                if (what := problem.removeprefix(where)) not in told:  # a control's are those of its base
                    told.add(what)
                    yield problem


def _references(name: str, kind: str, block: Config, config: Config) -> Iterator[str]:
    models, datasets = config["models"], config["datasets"]
    fitting = [key for key, entry in datasets.items() if entry["kind"] == kind]
    if block["models"] in ("all", "trained"):
        block["models"] = list(models) if block["models"] == "all" else trained(list(models), config)
    for model in block["models"]:
        if model not in models:
            yield f"analyses.{name}.models: there is no model {model!r}; {nearest(model, models)}"
    where = f"analyses.{name}.{'dataset' if 'dataset' in block else 'datasets'}"
    if block.get("datasets") == "all":
        block["datasets"] = fitting
        if not fitting:
            yield f"{where}: all means none here; add a data set of kind {kind}."
    for dataset in datasets_of(block):
        if dataset not in datasets:
            yield f"{where}: there is no data set {dataset!r}; {nearest(dataset, datasets)}"
        elif dataset not in fitting:
            yield f"{where}: {dataset!r} is of kind {datasets[dataset]['kind']}; {name} needs kind {kind}."


def _starts_from(name: str, base: str, block: Config, config: Config) -> Iterator[str]:
    """Models and data sets are among those of the analysis that it starts from; `all` means all of them."""
    start = config["analyses"].get(base)
    if start is None:
        yield f"analyses.{name}: it starts from analyses.{base}, which is not there; add that block."
        return
    if block["models"] in ("all", "trained"):
        block["models"] = list(start["models"]) if block["models"] == "all" else trained(start["models"], config)
    if block["datasets"] == "all":
        block["datasets"] = datasets_of(start)
    for option, there in (("models", start["models"]), ("datasets", datasets_of(start))):
        for key in block[option]:
            if key not in config[option]:
                kind = {"models": "model", "datasets": "data set"}[option]
                yield f"analyses.{name}.{option}: there is no {kind} {key!r}; {nearest(key, config[option])}"
            elif key not in there:
                listed = option if option in start else option.removesuffix("s")
                yield f"analyses.{name}.{option}: {key!r} is not among analyses.{base}.{listed}; add it there."
