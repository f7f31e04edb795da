"""How a figure names its models and data sets: by the labels of their entries, or by its own (`figures.KEY.labels`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.analyses.registry import CLAIM_FOLDERS, PLOT_ANALYSES, PLOTS
from atlas.config.analyses import datasets_of
from atlas.config.problems import nearest
from atlas.plots.labels import label_problem

Config = dict[str, Any]


def form_problems(config: Config) -> Iterator[str]:
    """What `labels` of attention_sinks once was; `config` is not checked yet."""
    figures = config.get("figures")
    for key, figure in figures.items() if isinstance(figures, dict) else ():
        own = figure.get("labels") if isinstance(figure, dict) else None
        if own in ("one_based", "zero_based"):
            yield f"figures.{key}.labels: how titles count is `numbering` now; write numbering: {own}."


def label_of(section: str, key: str, figure: Config, config: Config) -> str:
    """The label of a model or data set (section: models or datasets) in a figure."""
    return figure["labels"].get(key) or config[section][key]["label"]


def labels_in(figure: Config, models: list[str], config: Config) -> Config:
    """What a plot is given of labels: model_labels of `models`, dataset_label, dataset_labels, and the label of each
    other data set that one of its tables is of.

    figure: as the checked configuration has it.
    """
    found: Config = {"model_labels": {key: label_of("models", key, figure, config) for key in models}}
    if "dataset" in figure:
        found["dataset_label"] = label_of("datasets", figure["dataset"], figure, config)
    for option in PLOTS[figure["plot"]].datasets_of.values():
        found[f"{option}_label"] = label_of("datasets", figure[option], figure, config)
    several = figure.get("datasets", [])
    if PLOT_ANALYSES[figure["plot"]] == "heads":  # of the joined table
        several = config["analyses"]["heads"]["datasets"].values()
    if PLOT_ANALYSES[figure["plot"]] == "claims":
        blocks = [config["analyses"][name] for name in CLAIM_FOLDERS if name in config["analyses"]]
        several = dict.fromkeys(key for block in blocks for key in datasets_of(block))
    return {**found, "dataset_labels": {key: label_of("datasets", key, figure, config) for key in several}}


def figure_label_problems(where: str, figure: Config, config: Config, fonts: tuple[Path, ...] = ()) -> Iterator[str]:
    """Problems of a figure's own labels: of what it does not show, twice the same, with signs that cannot be drawn."""
    own = figure["labels"]
    if not own:
        return
    models = list(dict.fromkeys([*figure["models"], *figure.get("kde_models", [])]))
    found = labels_in(figure, models, config)
    datasets = list(found["dataset_labels"])
    datasets += [figure[key] for key in ("dataset", *PLOTS[figure["plot"]].datasets_of.values()) if key in figure]
    for key, label in own.items():
        if key not in (*models, *datasets):
            yield f"{where}.labels: {key!r} is none of its models and data sets; {nearest(key, [*models, *datasets])}"
        elif problem := label_problem(label, fonts):
            yield f"{where}.labels.{key}: {label[:60]!r} {problem}."
    for section, keys in (("models", models), ("datasets", datasets)):
        seen: dict[str, str] = {}
        for key in dict.fromkeys(keys):
            label = label_of(section, key, figure, config)
            if seen.setdefault(label, key) != key:
                yield f"{where}.labels: {seen[label]} and {key} are both called {label!r} in it; labels must differ."
