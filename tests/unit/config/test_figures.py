"""A figure is held to the options of its plot: what it says is read, and what it leaves open has a default."""

import re

import pytest

from atlas.analyses.registry import PLOT_FOLDERS, PLOTS
from atlas.config.generate.options import plot_blocks
from atlas.errors import AtlasError
from configurations import check
from places import ROOT

FOLDERS = ROOT / "scripts" / "atlas" / "analyses"
AXES = ("xlim", "ylim", "xticks", "yticks")
PANELS = "../../plots/panels"
# Modules that draw functions hand their options to.
HELPERS = {"saliency": ["plot_common"], "explorer": ["explorer_data"], "sink_norms": [PANELS],
           "sink_profile": [PANELS], "span_saliency": [PANELS]}  # fmt: skip
# What the checks and the rules add to a figure's options.
ADDED = {"model_labels", "dataset_label", "dataset_labels", "datasets", "average", "confidence", "bootstrap",
         "kde_dataset_label"}  # fmt: skip


@pytest.mark.parametrize("plot", PLOTS)
def test_a_second_figure_of_any_plot_works_with_its_defaults(plot):
    config = check(f"figures: {{mine: {{plot: {plot}, models: [tiny]}}}}")
    mine, first = config["figures"]["mine"], config["figures"][plot]
    assert set(mine) == set(first)
    assert mine["models"] == ["tiny"]


def read_by(plot):
    """Names of options that the draw function of a plot reads."""
    folder = FOLDERS / PLOT_FOLDERS[plot]
    helpers = HELPERS.get(plot, HELPERS.get(folder.name, []) if plot != "probe_auroc" else [])
    text = "".join((folder / f"{name}.py").read_text() for name in (f"plot_{plot}", *helpers))
    if plot == "category_share":  # its caption is that of head_categories, with tau named
        text = text.replace("caption(", 'options["dataset"] caption(', 1)
    names = set(re.findall(r'options\["(\w+)"\]', text))
    return names | set(AXES) if "style.apply_axes(" in text or "_apply(" in text else names


@pytest.mark.parametrize("block", plot_blocks(), ids=lambda block: block.name)
def test_every_option_of_a_plot_is_read_and_every_one_read_is_there(block):
    read = read_by(block.name)
    accepted = {option.name for option in block.options} - {"plot", "labels"}  # which the rules read
    assert accepted - read - {"dataset"} == set()  # a label may be all that is shown of the data set
    assert read - accepted - ADDED == set()


@pytest.mark.parametrize(
    ("figure", "sentences"),
    [
        (
            "sink_rates: {common_norm: false, relations: 7}",
            ["figures.sink_rates: unknown key 'common_norm'", "figures.sink_rates: unknown key 'relations'"],
        ),
        ("sink_rates: {tile: x}", ["figures.sink_rates: unknown key 'tile'; did you mean 'title'?"]),
        (
            "mine: {plot: costs, title: x}",
            ["figures.mine: unknown key 'title'; valid keys: labels, models, plot, width."],
        ),
        ("explorer: {width: 3}", ["figures.explorer: unknown key 'width'"]),
        ("safety_heads: {title: x}", ["figures.safety_heads: unknown key 'title'; did you mean 'titles'?"]),
        ("head_overlap: {dataset: questions}", ["figures.head_overlap: unknown key 'dataset'"]),
        ("mine: {plot: sink_rate}", ["figures.mine.plot: 'sink_rate' is not one of", "did you mean 'sink_rates'?"]),
        ("sink_rate: {heads: 3}", ["figures.sink_rate: 'sink_rate' is not a plot"]),
        ("sink_rates: 3", ["figures.sink_rates: 3 is not a mapping."]),
        ("saliency_density: {loss: probe}", ["figures.saliency_density.loss: 'probe' is not one of", "probe_bce"]),
        # what would end a run only where the figure is drawn
        ("sink_rates: {title: '{lable}'}", ["figures.sink_rates.title: nothing fills {lable} in; did you mean"]),
        ("sink_rates: {title: '{label'}", ["figures.sink_rates.title", "unpaired brace"]),
        ("sink_rates: {title: '{label:d5}'}", ["figures.sink_rates.title", "cannot be formatted"]),
        ("sink_rates: {title: '{label:d}'}", ["figures.sink_rates.title", "cannot be formatted"]),
        ("sink_rates: {title: '{label:9999999999}'}", ["figures.sink_rates.title", "cannot be formatted"]),
        ("sink_rates: {title: '{label!r}'}", ["figures.sink_rates.title", "cannot be formatted"]),
        (
            "sink_rates: {title: '{label.__class__}'}",
            ["figures.sink_rates.title", "nothing fills {label.__class__} in"],
        ),
        ("safety_heads: {titles: {mean: '{n}'}}", ["figures.safety_heads.titles.mean: nothing fills {n} in"]),
        # what had no effect
        ("safety_heads: {titles: {undiff: x}}", ["figures.safety_heads.titles: unknown key 'undiff'"]),
        ("probe_auroc: {ylim: {tiny: [0, 1]}}", ["figures.probe_auroc.ylim", "for all panels"]),
        ("safety_heads: {xticks: {tiny: [0]}}", ["figures.safety_heads.xticks", "for all panels"]),
        ("category_share: {ylim: {tiny: [0, 1]}}", ["figures.category_share.ylim", "for all panels"]),
        ("sink_rates: {labels: {tyny: x}}", ["figures.sink_rates.labels: 'tyny' is none of", "did you mean 'tiny'?"]),
        ("sink_rates: {labels: {tiny: ' x'}}", ["figures.sink_rates.labels.tiny: ' x' has white space around it"]),
        (
            "sink_rates: {labels: {tiny: A, tiny-shuffled: A}}",
            ["figures.sink_rates.labels: tiny and tiny-shuffled are both called 'A' in it; labels must differ."],
        ),
        (
            "attention_sinks: {labels: zero_based}",
            ["figures.attention_sinks.labels: how titles count is `numbering` now; write numbering: zero_based."],
        ),
        ("attention_sinks: {top: {ylim: {tyny: [0, 1]}}}", ["figures.attention_sinks.top.ylim: 'tyny' is not among"]),
        ("attention_sinks: {top: {ylim: [[0]]}}", ["figures.attention_sinks.top.ylim"]),
        ("mink_depth: {kde_dataset: grafs}", ["figures.mink_depth.kde_dataset: 'grafs' is not among"]),
        ("safety_heads: {clim: {scale: [0, 1]}}", ["figures.safety_heads.clim: unknown key 'scale'"]),
        ("saliency_density: {colours: [blue]}", ["figures.saliency_density.colours"]),
        ("mink_depth: {kde_models: [tiny], xlim: {tiny-shuffled: [0, 1]}}", ["figures.mink_depth.xlim: 'tiny-"]),
        ("safety_effect: {ablations: [mean]}", ["figures.safety_effect.ablations: 'mean' is not among"]),
        ("explorer: {metrics: [score, nothing]}", ["figures.explorer.metrics.1: 'nothing' is not one of"]),
    ],
)
def test_what_a_plot_does_not_read_is_refused(figure, sentences):
    with pytest.raises(AtlasError) as caught:
        check(f"figures: {{{figure}}}")
    for sentence in sentences:
        assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "figure",
    [
        "sink_rates: {title: '{label:>20} {{x}}'}",
        "saliency_density: {datasets: all, loss: null}",
        "mink_depth: {models: [tiny], kde_models: [tiny-shuffled], xlim: {tiny-shuffled: [0, 1]}, yticks: {tiny: [1]}}",
        "category_share: {ylim: [0, 50], xlim: {tiny: [0, 5]}}",
        "safety_heads: {titles: {scaling: 'Scaling, {top}'}}",
        "sinks_of_mine: {plot: sink_rates, models: [tiny], width: 3.4}",
        "saliency_density: {labels: {tiny: Tiny 1}, colours: ['#a1c9f4']}",
        "attention_sinks: {top: {ylim: [[0, 1], [0, 2], [0, 3]], xticks: {tiny: [[0], [1], [2]]}}}",
        "mink_depth: {columns: 4, kde_ylim: {tiny: [0, 1]}, marks: false}",
        "safety_heads: {legend: each, clim: {scaling: [0, 20]}, bar_label: Ships}",
    ],
)
def test_what_a_plot_reads_is_accepted(figure):
    check(f"figures: {{{figure}}}")


def test_titles_that_are_not_given_stay():
    titles = check("figures: {safety_heads: {titles: {scaling: Mine}}}")["figures"]["safety_heads"]["titles"]
    assert titles["scaling"] == "Mine"
    assert titles["mean"] == "Top {top} Safety Heads on Mean Ablation"
