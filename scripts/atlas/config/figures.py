"""Checks that all figures share: each draws an analysis of the configuration, with models and data sets of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.analyses.registry import ANALYSES, PLOT_ANALYSES, PLOTS
from atlas.config import checks
from atlas.config.analyses import datasets_of, trained
from atlas.config.figure_labels import figure_label_problems
from atlas.config.problems import nearest
from atlas.plots.labels import title_problem

Config = dict[str, Any]


def figure_problems(key: str, figure: Config, config: Config, fonts: tuple[Path, ...] = ()) -> Iterator[str]:
    """Problems of figures.{key}, once the analyses are resolved; fills in what the figure leaves open."""
    where, found = f"figures.{key}", False
    figure.setdefault("plot", key)
    if figure["plot"] not in PLOTS:
        yield f"{where}: {key!r} is not a plot; give `plot:`, one of {', '.join(PLOTS)} ({nearest(key, PLOTS)})"
        return
    analysis = PLOT_ANALYSES[figure["plot"]]
    if analysis is not None and analysis not in config["analyses"]:
        yield f"{where}: it draws analyses.{analysis}, which is not in the configuration; add that block."
        return
    block = config["analyses"][analysis] if analysis else {"models": list(config["models"])}
    for said in _shown(where, figure, analysis, block, config):
        found = True
        yield said
    if not found:  # what the labels are of is there
        yield from figure_label_problems(where, figure, config, fonts)
    for option in ("title", "titles", "bar_label"):
        given = figure.get(option) or {}
        for name, title in given.items() if isinstance(given, dict) else [(None, given)]:
            if problem := title_problem(title, fonts):
                yield f"{where}.{option}{f'.{name}' if name else ''}: {title[:60]!r} {problem}."
    for option in ("xlim", "ylim"):
        given = figure.get(option)
        for limits in given.values() if isinstance(given, dict) else [given]:
            if limits and limits[0] == limits[1]:
                yield f"{where}.{option}: {limits} is no range; give two numbers that differ."
    for option in ("xlim", "ylim", "xticks", "yticks"):
        if isinstance(figure.get(option), dict):
            known = checks.panels(analysis, option, figure)
            for model in figure[option]:
                if model not in known:
                    yield f"{where}.{option}: {model!r} is not among its models; {nearest(model, known)}"


def _shown(where: str, figure: Config, analysis: str | None, block: Config, config: Config) -> Iterator[str]:
    """Problems of what the figure shows: models, data sets, and what its analysis says of its options."""
    yield from _models(where, figure, analysis, block, config)
    if analysis and ANALYSES[analysis].kind:
        yield from _datasets(where, figure, block)
    if analysis:
        yield from checks.figure_problems(analysis, where, figure, config)


def _models(where: str, figure: Config, analysis: str | None, block: Config, config: Config) -> Iterator[str]:
    if figure["models"] in ("all", "trained"):
        every = figure["models"] == "all"
        figure["models"] = list(block["models"]) if every else trained(block["models"], config)
    for model in figure["models"]:
        if model not in config["models"]:
            yield f"{where}.models: there is no model {model!r}; {nearest(model, config['models'])}"
        elif model not in block["models"]:
            yield f"{where}.models: {model!r} is not among analyses.{analysis}.models; add it there."


def _datasets(where: str, figure: Config, block: Config) -> Iterator[str]:
    """The figure's data set is one of the analysis (null: its first), or its data sets are (all: those)."""
    known = datasets_of(block)
    if "datasets" in figure:
        if figure["datasets"] == "all":
            figure["datasets"] = list(known)
        for dataset in figure["datasets"]:
            if dataset not in known:
                near = nearest(dataset, known)
                yield f"{where}.datasets: {dataset!r} is not among the analysis's data sets; {near}"
    elif figure["dataset"] is None:
        figure["dataset"] = known[0]
    elif figure["dataset"] not in known:
        if "dataset" in block:
            yield f"{where}.dataset: {figure['dataset']!r} is not the analysis's data set {known[0]!r}."
        else:
            near = nearest(figure["dataset"], known)
            yield f"{where}.dataset: {figure['dataset']!r} is not among the analysis's data sets; {near}"
