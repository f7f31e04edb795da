"""Every figure of config.yaml with made-up models: their options as jobs get them, and what draws them."""

from importlib import import_module

from atlas.analyses.registry import PLOT_ANALYSES, PLOT_FOLDERS, PLOTS
from atlas.config.figure_labels import labels_in
from configurations import check, overlaid


def configuration(labels, text="{}"):
    """The checked configuration of config.yaml with models m0, m1, ... of these labels, and a YAML text over it."""
    models = {
        "smollm2-135m-instruct": None,
        "smollm2-135m-shuffled": None,
        **{f"m{number}": {"label": label, "source": {"path": "tiny/model"}} for number, label in enumerate(labels)},
    }
    base = overlaid("{}")
    base["models"] = models
    return check(text, base)


def figures(config):
    """{figure: (its plot, its options as a job gets them)} of a checked configuration."""
    found = {}
    for key, figure in config["figures"].items():
        shown = list(dict.fromkeys([*figure["models"], *figure.get("kde_models", [])]))
        options = {**figure, **labels_in(figure, shown, config)}
        if PLOT_ANALYSES[figure["plot"]] == "heads":
            block = config["analyses"]["heads"]
            options |= {name: block[name] for name in ("bootstrap", "confidence", "datasets")}
        found[key] = figure["plot"], options
    return found


def drawn(plot, options, tables, documents):
    """What the plot's draw function gives for the tables of its models."""
    module = import_module(f"atlas.analyses.{PLOT_FOLDERS[plot]}.plot_{plot}")
    record = PLOTS[plot]
    named = [name for name in (*record.tables, *record.beside) if name in tables]
    return module.draw({name: tables[name] for name in named}, options, {name: documents[name] for name in named})
