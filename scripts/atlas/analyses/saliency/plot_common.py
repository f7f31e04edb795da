"""What the figures of saliency share: symbols, colours, rows of one loss, and sentences of the captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.colors import to_rgb

from atlas.errors import AtlasError
from atlas.plots import style
from atlas.plots.captions import told

if TYPE_CHECKING:
    import pandas as pd

    from atlas.plots.types import Options

FLOWS = {"question_to_answer": r"E_A", "question_to_all": r"*"}
# E_A and * of the first data set, then of the second, as in the source (Okabe-Ito).
COLOURS = [style.CYAN, style.ORANGE, style.GREEN, style.PINK, style.PURPLE, style.YELLOW, style.BLUE, style.VERMILION]
_LOSSES = {
    "probe_bce": "the loss of a truthfulness probe on the hidden state",
    "probe_logit": "the logit of a truthfulness probe on the hidden state",
    "answer_nll": "minus the mean log-probability of the exact answer tokens",
}
HEADS = {"sum_then_abs": "absolute value of the sum over heads", "abs_then_sum": "sum over heads of absolute values"}


def colour(options: Options, dataset: str, flow: str, own: Sequence[str] | None = None) -> Any:
    """The colour of a flow in a data set, as (red, green, blue) from 0 to 1; own: in place of COLOURS."""
    place = 2 * options["datasets"].index(dataset) + list(FLOWS).index(flow)
    colours = [*map(to_rgb, own or COLOURS)]
    return colours[place % len(colours)]


def symbol(flow: str, label: str) -> str:
    return rf"$S_{{E_Q \rightarrow {FLOWS[flow]}}}$ ({style.plain(label)})"


def rows(frame: pd.DataFrame, options: Options, table: str) -> pd.DataFrame:
    """Rows of the figure's models, data sets and loss."""
    part = frame[frame["model"].isin(options["models"]) & frame["dataset"].isin(options["datasets"])]
    part = part[part["loss"] == options["loss"]]
    for model in options["models"]:
        if not (part["model"] == model).any():
            raise AtlasError(
                f"figures.*: the table {table} has no rows of {model} under the loss {options['loss']}, because no "
                "probe could be trained; set the figure's loss to answer_nll."
            )
    return part


def measure(part: pd.DataFrame, options: Options) -> str:
    """What is shown, in sentences; how layers are joined is not among it."""
    first = {model: part[part["model"] == model].iloc[0] for model in options["models"]}
    labels, loss = options["model_labels"], options["loss"]
    per_layer = {m: f"{row['reduction']} over token pairs of the {HEADS[row['heads']]}" for m, row in first.items()}
    return (
        "Saliency A x dLoss/dA of the attention from the exact answer tokens (E_A) or from all later tokens (*) to "
        "the exact question tokens (E_Q), Luo et al. 2026. "
        f"Loss: {_LOSSES[loss]} ({loss}). Per layer: {told(per_layer, labels)}"
    )


def samples(part: pd.DataFrame, options: Options) -> Iterator[str]:
    """For each model and data set: how many answers, and by which rule their tokens were found."""
    for model in options["models"]:
        for dataset in options["datasets"]:
            one = part[(part["model"] == model) & (part["dataset"] == dataset)]
            label = f"{options['model_labels'][model]}, {options['dataset_labels'][dataset]}"
            if one.empty:
                yield f"{label}: not shown, no probe could be trained."
                continue
            one = one.drop_duplicates("sample")
            right = int(one["correct"].sum())
            population = one.groupby("correct")["weight"].sum()
            strategies = ", ".join(
                f"{kind} {'/'.join(f'{name} {n}' for name, n in one[f'{kind}_strategy'].value_counts().items())}"
                for kind in ("question", "answer")
            )
            yield (
                f"{label}: n = {right} right and {len(one) - right} wrong answers, which stand for "
                f"{population.get(True, 0):.0f} and {population.get(False, 0):.0f} (sampling weights are used); exact "
                f"tokens: {strategies}."
            )
