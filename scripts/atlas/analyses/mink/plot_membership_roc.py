"""ROC curves of scores of membership: members found against non-members taken for some, one panel per model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from atlas.errors import AtlasError
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import by_model, option_of, told
from atlas.plots.fitting import fit
from atlas.statistics.roc import roc_points

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Document, Documents, Drawn, Options, Sources, Tables

_COLUMNS = 3
# measure -> (name, colour, line); what looks at no model is grey
_CURVES = {
    "mink": ("Min-{k:g}%", style.BLUE, "-"),
    "minkpp": ("Min-{k:g}%++", style.ORANGE, "-"),
    "loss": ("loss", style.GREEN, "--"),
    "zlib": ("loss / zlib", style.PURPLE, "--"),
    "lowercase": ("loss / lower case", style.VERMILION, "-."),
    "reference": ("against reference", style.BROWN, "-."),
    "compression": ("compression alone", style.GREY, ":"),
    "length": ("length alone", (0.25, 0.25, 0.25), ":"),
}
_BLIND = ("compression", "length")
_MEANING = {
    "mink": "the mean log-probability of the least likely K % of a text's tokens",
    "minkpp": "the mean of the K % least standardised log-probabilities",
    "loss": "the mean log-probability of all tokens",
    "zlib": "loss over bytes of the compressed text",
    "lowercase": "loss over that of the text in lower case",
    "reference": "loss minus that of the reference model",
    "compression": "compressed over plain bytes",
    "length": "bytes",
}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables membership and membership_scores."""
    style.begin()
    models = options["models"]
    found, scores = (_chosen(tables[name], options) for name in ("membership", "membership_scores"))
    drawn = [measure for measure in options["measures"] or _CURVES if (found["measure"] == measure).any()]
    columns = min(len(models), _COLUMNS)
    lines = -(-len(models) // columns)
    legend = 0.16 * len(drawn) + 0.3
    height = (options["width"] / max(columns, 2) * 0.85 + legend) * lines
    figure, grid = plt.subplots(
        lines, columns, figsize=(options["width"], height), squeeze=False, sharex=True, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axes in grid.flat[len(models) :]:
        axes.set_axis_off()
    for axes, model in zip(grid.flat, models, strict=False):
        own = found[found["model"] == model]
        if own.empty:
            raise AtlasError(
                f"figures.*: the table membership has no rows of {model} for {options['dataset']}; run it again."
            )
        _curves(axes, own, scores[scores["model"] == model], drawn)
        axes.set(xlabel="False positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.tick_params(labelbottom=True)
        axes.set_title(style.title(options["title"], options["model_labels"][model]))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False, handlelength=2.4)
        style.apply_axes(axes, options, model)
    for axes in grid[:, 0]:
        axes.set_ylabel("True positive rate")
    fit(figure)
    return figure, _caption(found, drawn, options, sources["membership"])


def _chosen(frame: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Rows of the figure's data set, and of its K where a measure has one."""
    frame = frame[frame["dataset"] == options["dataset"]]
    return frame[frame["k_percent"].isna() | (frame["k_percent"] == options["k_percent"])]


def _curves(axes: Axes, found: pd.DataFrame, scores: pd.DataFrame, drawn: list[str]) -> None:
    axes.plot([0, 1], [0, 1], color="0.8", lw=0.7, zorder=0)
    axes.axvline(found["max_fpr"].iloc[0], color="0.8", lw=0.7, zorder=0)
    for measure in drawn:
        row, part = found[found["measure"] == measure], scores[scores["measure"] == measure]
        if row.empty:
            continue
        name, colour, line = _CURVES[measure]
        one = row.iloc[0]
        false, true = roc_points(part["score"].to_numpy(), part["label"].to_numpy() == 1)
        label = f"{name.format(k=one['k_percent'])}: {_interval(one, 'auroc')}"
        axes.plot(false, true, color=colour, ls=line, label=label)


def _interval(row: pd.Series, name: str) -> str:
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"


def _caption(found: pd.DataFrame, drawn: list[str], options: Options, documents: Documents) -> str:
    labels, models = options["model_labels"], options["models"]
    first = {model: found[(found["model"] == model) & (found["measure"] == drawn[0])].iloc[0] for model in models}
    limit = found["max_fpr"].iloc[0]
    meanings = "; ".join(f"{_CURVES[name][0].format(k=options['k_percent'])}: {_MEANING[name]}" for name in drawn)
    blind = [_CURVES[name][0] for name in drawn if name in _BLIND]
    parts = [
        "Members of a collection (texts held to have been trained on) that score at least as high as a threshold, "
        "against non-members that do, for every threshold; a score that knows nothing lies on the diagonal. In the "
        f"legends: AUROC with {percent(_option(documents, 'confidence'))} bootstrap intervals over texts. Scores: "
        f"{meanings}; each with the sign that speaks for a member.",
        f"Data: {options['dataset_label']}; texts as they stand, without a chat template, of "
        f"{option_of(documents, options, _lengths)}. Log-probabilities in "
        f"{told({model: row['dtype'] for model, row in first.items()}, labels)}.",
    ]
    if blind:
        parts.append(
            f"What {' and '.join(blind)} can tell apart, which no model is asked for, says that the two kinds of text "
            "differ by themselves."
        )
    parts += [_counts(model, found, drawn, options, documents) for model in models]
    references = {m: found.loc[(found["model"] == m) & (found["reference"] != ""), "reference"] for m in models}
    if "reference" in drawn:
        keys = {model: own.iloc[0] if len(own) else "none" for model, own in references.items()}
        named = {model: labels.get(key, key) for model, key in keys.items()}
        parts.append(f"Reference model: {told(named, labels)}.")
    parts.append(f"Vertical line: a false positive rate of {percent(limit)}.")
    return " ".join(parts)


def _lengths(document: Document) -> str:
    """Which texts are scored, by their tokens."""
    least, most = document["metric_options"]["min_tokens"], document["options"]["max_tokens"]
    return f"at most {most} tokens with {least} or more to score"


def _option(documents: Documents, name: str) -> float:
    """An option of the analysis that no model has otherwise, as the first file's provenance has it."""
    return float(next(iter(documents.values()))["metric_options"][name])


def _counts(model: str, found: pd.DataFrame, drawn: list[str], options: Options, documents: Documents) -> str:
    """How many texts a model has scored, what was left out, and what the first curve finds at the vertical line."""
    row = found[(found["model"] == model) & (found["measure"] == drawn[0])].iloc[0]
    reasons = by_model(documents)[model]["dropped"]["text"]
    left_out = "".join(f", {count} {reason}" for reason, count in _reasons(reasons))
    name = _CURVES[drawn[0]][0].format(k=row["k_percent"])
    return (
        f"{options['model_labels'][model]}: {row['members']} members and {row['nonmembers']} non-members{left_out}; "
        f"{name} finds {row['tpr']:.0%} [{row['tpr_low']:.0%}, {row['tpr_high']:.0%}] of the members where at most "
        f"{percent(row['max_fpr'])} of the non-members are taken for some."
    )


def _reasons(dropped: dict[str, int]) -> Iterator[tuple[str, int]]:
    for reason, count in dropped.items():
        if count:
            yield ("too short" if reason == "under min_tokens" else reason), count
