"""Options of single models: `models: {KEY: {options: {ANALYSIS: {OPTION: value}}}}`, over those of the analyses."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from atlas.analyses.registry import ANALYSES, TABLE_ANALYSES
from atlas.config import checks
from atlas.config.schema import Schema, laid_over
from atlas.fetch.entries import made_of
from atlas.own_options import own_options, written

Config = dict[str, Any]
# Options that say how much is run at once, and change no result beyond rounding.
_AT_ONCE = ("shards", "batch_tokens", "batch_size", "max_rows", "memory_mb", "block")
_OLD = "_by_model"  # how an option of single models was once called, in the block of its analysis


def form_problems(config: Config) -> Iterator[str]:
    """What is said in another form than this; `config` is not checked yet."""
    blocks, models = config.get("analyses"), config.get("models")
    for name, block in blocks.items() if isinstance(blocks, dict) else ():
        for key, given in block.items() if isinstance(block, dict) else ():
            if isinstance(key, str) and key.endswith(_OLD):
                option = key.removesuffix(_OLD)
                some = given.items() if isinstance(given, dict) else [("KEY", given)]
                lines = "; ".join(own_options(model, name, option, value) for model, value in some)
                advice = f"write {lines}" if lines else "take it out."
                yield f"analyses.{name}.{key}: a model's own options stand in its entry; {advice}"
    for model, entry in models.items() if isinstance(models, dict) else ():
        options = entry.get("options") if isinstance(entry, dict) else None
        for key, value in options.items() if isinstance(options, dict) else ():
            name, _, option = str(key).partition(".")
            if option and name in ANALYSES:
                yield f"models.{model}.options: {key!r} is two keys; write {own_options(model, name, option, value)}"


def complete(config: Config, schema: Schema) -> None:
    """Fill into each model's `options`, in place, what it leaves open: a control or an ablated model has those of its
    base, a mapping with named keys what the analysis says; options of analyses that are not there are dropped.

    Expects a configuration that passed `schema`, with its defaults.
    """
    models, blocks, definitions = config["models"], config["analyses"], schema["$defs"]
    found: dict[str, Config] = {key: {} for key in models}
    for key in models:
        for name, option, value in _base_and_own(key, models):
            if name in blocks:
                rule, own = definitions[name]["properties"][option], found[key].setdefault(name, {})
                own[option] = laid_over(value, own.get(option, blocks[name][option]), rule, schema)
    for key, options in found.items():
        models[key]["given_options"] = models[key]["options"]
        models[key]["options"] = options


def block_of(name: str, model: str, config: Config) -> Config:
    """analyses.{name} as this model has it."""
    return {**config["analyses"][name], **config["models"][model]["options"].get(name, {})}


def told_options(names: Iterable[str], model: str, config: Config) -> list[str]:
    """`analysis.option: value` of what a model has otherwise than the analyses `names`, and may change a result."""
    own = config["models"][model]["options"]
    return [
        f"{name}.{option}: {written(value)}"
        for name in names
        for option, value in own.get(name, {}).items()
        if option not in _AT_ONCE and value != config["analyses"][name][option]
    ]


def table_made(table: str, model: str, dataset: str, config: Config) -> bool:
    """Whether there is this table of a model and data set: one that is not to answer has none of answers, nor has its
    control."""
    name, source = TABLE_ANALYSES[table], config["models"][model]["source"]
    made = checks.makes(name, table, block_of(name, model, config), dataset)
    return made and ("control" not in source or table_made(table, source["control"]["of"], dataset, config))


def notes(config: Config) -> Iterator[str]:
    """Options of a model that bear on nothing; expects analyses whose models are resolved."""
    for key, entry in config["models"].items():
        for name in entry.pop("given_options", {}):
            if name in config["analyses"] and key not in config["analyses"][name]["models"]:
                yield f"models.{key}.options.{name}: {key} is not among analyses.{name}.models."


def _base_and_own(key: str, models: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(analysis, option, value) that a model has, behind those of what it is made of: both are measured alike."""
    line: list[str] = []
    while key in models and key not in line:
        line.append(key)
        key = made_of(models[key]["source"]) or ""
    for one in reversed(line):
        for name, options in models[one]["options"].items():
            for option, value in options.items():
                yield name, option, copy.deepcopy(value)
