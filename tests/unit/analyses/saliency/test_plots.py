"""Figures of saliency: what is drawn, in which colours, how areas and axes follow from the options, captions."""

import numpy as np
import pandas as pd
import pytest

from atlas.analyses.saliency import plot_common as saliency_common
from atlas.analyses.saliency import plot_probe_auroc as probe_auroc
from atlas.analyses.saliency import plot_saliency_by_layer as saliency_by_layer
from atlas.analyses.saliency import plot_saliency_density as saliency_density
from atlas.analyses.saliency.storage import FLOWS
from atlas.config.figures import figure_problems
from atlas.errors import AtlasError

pytestmark = pytest.mark.slow

DOCUMENTS = {"results/metrics/m/saliency/a.parquet": {"metric_options": {"layers": "mean"}}}
OPTIONS = {
    "models": ["m"], "model_labels": {"m": "Model M"}, "datasets": ["a", "b"],
    "dataset_labels": {"a": "Set A", "b": "Set B"}, "loss": "probe_bce", "common_norm": True, "quantile": 0.995,
    "title": "{label}", "width": 7.0, "confidence": 0.95, "colours": None,
    "xlim": None, "ylim": None, "xticks": None, "yticks": None,
}  # fmt: skip


def saliency(seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for dataset, samples in (("a", 60), ("b", 20)):
        for number, flow in enumerate(FLOWS):
            values = rng.gamma(2, 1 + number, samples)
            parts.append(pd.DataFrame({"dataset": dataset, "flow": flow, "saliency": values, "sample": range(samples)}))
    frame = pd.concat(parts, ignore_index=True)
    frame["correct"] = frame["sample"] % 4 == 0
    frame["weight"] = np.where(frame["correct"], 1.0, 3.0)
    return frame.assign(
        model="m", loss="probe_bce", reduction="sum", heads="sum_then_abs", layers="mean",
        question_strategy="content_words", answer_strategy=np.where(frame["correct"], "alias", "whole_answer"),
    )  # fmt: skip


def auroc():
    layers = np.arange(3)
    parts = [
        pd.DataFrame({"layer": layers, "auroc": [0.5, 0.7, 0.6], "dataset": dataset, "chosen": layers == 1})
        for dataset in ("a", "b")
    ]
    return pd.concat(parts).assign(
        model="m", auroc_low=0.4, auroc_high=0.8, nested_auroc=0.65, nested_low=0.5, nested_high=0.8, correct=15,
        wrong=45, folds=5, regularisation=1.0, weights="sampling",
    )  # fmt: skip


def density(frame=None, draws_used=200, **options):
    mixture = pd.DataFrame([
        {"model": "m", "dataset": "a", "flow": "question_to_answer", "loss": "probe_bce", "group": "wrong",
         "separation": 2.5, "separation_low": 2.0, "separation_high": 3.0, "dip_p": 0.4,
         "draws": 200, "draws_used": draws_used}
    ])  # fmt: skip
    tables = {"saliency": saliency() if frame is None else frame, "saliency_mixture": mixture, "probe_auroc": auroc()}
    return saliency_density.draw(tables, {**OPTIONS, **options}, {"saliency": DOCUMENTS})


def test_caption_counts_bootstrap_draws_without_a_fit():
    assert "bootstrap draws" not in density()[1]
    assert "wrong, 7 of 200 bootstrap draws left out: no fit)" in density(draws_used=193)[1]


def areas(axes):
    """Area under each filled curve, by trapezoids over its vertices."""
    found = []
    for collection in axes.collections:
        x, y = collection.get_paths()[0].vertices.T
        found.append(abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2))
    return found


def test_four_curves_share_one_area():
    figure, caption = density()
    axes = figure.axes[0]
    assert axes.get_title() == "Model M"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Saliency Score", "Density")
    found = areas(axes)
    assert len(found) == 4
    assert 0.8 < sum(found) <= 1.0  # below 0 and beyond the quantile nothing is drawn
    assert max(found) < 0.27  # equal parts, although set A has three times the samples
    assert 3.2 < sum(areas(density(common_norm=False)[0].axes[0])) <= 4.0
    for fact in ("share one area in equal parts", "n = 15 right and 45 wrong answers, which stand for 15 and 135",
                 "probe_bce", "cut at 0", "99.5 % quantile", "answer whole_answer 45/alias 15",
                 "hidden state 1, AUROC 0.70", "nested 0.65 (0.50 to 0.80)",
                 "2.5 [2.0, 3.0], dip p = 0.40 (Model M, Set A, wrong)"):  # fmt: skip
        assert fact in caption, fact


def test_colours_and_legend_are_in_the_sources_order():
    figure, _ = density()
    legend = figure.legends[0]
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [
        rf"$S_{{E_Q \rightarrow {end}}}$ ({label})" for label in ("Set A", "Set B") for end in ("E_A", "*")
    ]
    drawn = {tuple(np.round(c.get_facecolor()[0][:3], 3)) for c in figure.axes[0].collections}
    assert drawn == {tuple(np.round(colour, 3)) for colour in saliency_common.COLOURS[:4]}
    assert [tuple(np.round(p.get_facecolor()[:3], 3)) for p in legend.get_patches()] == [
        tuple(np.round(colour, 3)) for colour in saliency_common.COLOURS[:4]
    ]


def test_the_axis_ends_at_the_weighted_quantile_or_where_asked():
    frame = saliency()
    frame.loc[(frame["flow"] == "question_to_all") & (frame["sample"] == 0), "saliency"] = 200
    figure, _ = density(frame, quantile=0.9)
    assert figure.axes[0].get_xlim()[1] < 100
    figure, caption = density(xlim=[0, 3], xticks=[0, 3])
    assert figure.axes[0].get_xlim() == (0, 3)
    assert figure.axes[0].get_xticks().tolist() == [0, 3]
    assert "quantile" not in caption


def test_sampling_weights_shape_the_curves():
    frame = saliency()
    frame["saliency"] = np.where(frame["correct"], 10.0, 1.0) + frame["saliency"] / 100
    peaks = []
    for weight in (1e-6, 1e6):
        curves = density(frame.assign(weight=np.where(frame["correct"], weight, 1.0)), xlim=[0, 12])[0].axes[0]
        x, y = curves.collections[0].get_paths()[0].vertices.T
        peaks.append(x[y.argmax()])
    assert peaks[0] < 2 < 9 < peaks[1]


def test_a_loss_that_could_not_be_computed_is_said():
    frame = saliency()
    frame.loc[frame["dataset"] == "b", "loss"] = "answer_nll"
    figure, caption = density(frame)
    assert len(figure.axes[0].collections) == 2
    assert "Model M, Set B: not shown, no probe could be trained." in caption
    with pytest.raises(AtlasError, match="no rows of m under the loss probe_logit"):
        density(frame, loss="probe_logit")


def test_saliency_by_layer_shows_weighted_means_and_the_random_control():
    frame = pd.concat([saliency().assign(layer=0), saliency(1).assign(layer=1)], ignore_index=True)
    one = frame[(frame["dataset"] == "a") & (frame["flow"] == "question_to_answer")]
    layers, mean, half = saliency_by_layer.weighted_means(one, 0.95)
    for layer in (0, 1):
        part = one[one["layer"] == layer]
        assert mean[layer] == pytest.approx(np.average(part["saliency"], weights=part["weight"]))
    assert (half > 0).all()
    figure, caption = saliency_by_layer.draw({"saliency_layers": frame}, OPTIONS, {"saliency_layers": DOCUMENTS})
    top = figure.axes[0]
    assert [line.get_linestyle() for line in top.lines] == ["-", "--", "-", "--"]
    np.testing.assert_allclose(top.lines[0].get_ydata(), mean)
    np.testing.assert_array_equal(top.lines[0].get_xdata(), layers)
    assert "random question tokens" in caption


def test_probe_auroc_marks_the_chosen_layer():
    figure, caption = probe_auroc.draw({"probe_auroc": auroc()}, OPTIONS, {"probe_auroc": {}})
    axes = figure.axes[0]
    assert axes.get_title() == "Set A"
    assert axes.lines[0].get_ydata().tolist() == [0.5, 0.7, 0.6]
    assert (axes.lines[1].get_xdata().tolist(), axes.lines[1].get_ydata().tolist()) == ([1], [0.7])
    assert "Model M (nested 0.65)" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert "Set B: n = 15 right and 45 wrong answers." in caption
    with pytest.raises(AtlasError, match="no rows of m on c"):
        probe_auroc.draw({"probe_auroc": auroc()}, {**OPTIONS, "datasets": ["c"]}, {"probe_auroc": {}})


def test_figures_ask_for_data_sets_and_losses_of_the_analysis():
    config = {
        "models": {"m": {"source": {}}},
        "analyses": {"saliency": {"models": ["m"], "datasets": ["a", "b"], "loss": ["probe_logit"], "confidence": 0.9}},
    }
    figure = {"plot": "saliency_density", "models": "all", "loss": "probe_bce", "datasets": ["a", "c"], "labels": {}}
    problems = list(figure_problems("saliency_density", figure, config))
    assert len(problems) == 2
    assert "datasets: 'c' is not among the analysis's data sets" in problems[0]
    assert "loss: 'probe_bce' is not among analyses.saliency.loss (probe_logit)" in problems[1]
    figure = {"plot": "probe_auroc", "models": "all", "datasets": "all", "labels": {}}
    assert not list(figure_problems("probe_auroc", figure, config))
    assert figure["datasets"] == ["a", "b"]


def test_labels_in_legends_are_no_mathematics():
    options = {**OPTIONS, "model_labels": {"m": "$M$"}, "dataset_labels": {"a": "$a$", "b": "b_$"}}
    figure, caption = probe_auroc.draw({"probe_auroc": auroc()}, options, {"probe_auroc": {}})
    assert figure.axes[0].get_title() == r"\$a\$"
    assert r"\$M\$ (nested 0.65)" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "$a$: n = 15" in caption, "a caption is plain text"
    figure, _ = density(dataset_labels=options["dataset_labels"])
    assert figure.legends[0].get_texts()[0].get_text().endswith(r"$ (\$a\$)")
