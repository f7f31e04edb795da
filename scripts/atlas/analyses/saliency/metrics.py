"""Saliency of flows per sample, layer and head, from stored sums.

Source: Luo et al., arXiv 2601.07422, Fig. 1. Since S_bce = (p - z) S_logit with p the probe's probability and z the
label, probe_bce is probe_logit times |p - z| and needs no pass of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from atlas.analyses.saliency.storage import BACKWARD, FLOWS
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from atlas.analyses.types import Arrays, Keys


class MetricOptions(TypedDict):
    """Options of analyses.saliency that say how saliency is reduced: over pairs of tokens, heads, layers."""

    reduction: str
    heads: str
    layers: str


def probe_error(arrays: Arrays, correct: Bool[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """p - z (S,) of each sample, NaN where there is no probe."""
    return 1 / (1 + np.exp(-arrays["logit"].astype(float))) - correct


def computed(arrays: Arrays, losses: Sequence[str], stored: Arrays) -> list[str]:
    """The losses to report: those asked for, or answer_nll where no probe could be trained (probe.too_few)."""
    return ["answer_nll"] if stored["layer"] == 0 else [loss for loss in losses if f"{BACKWARD[loss]}.pairs" in arrays]


def check_probe(arrays: Arrays, stored: Arrays) -> None:
    """Raise AtlasError where the probe sees another state in the saliency run than the one it was scored on."""
    if np.isnan(arrays["logit"]).all():
        return
    place = {number: row for row, number in enumerate(stored["number"].tolist())}
    expected = stored["logit"][[place[number] for number in arrays["number"].tolist()]]
    worst = np.abs(arrays["logit"] - expected).max(initial=0)
    if worst > 0.1 * max(1.0, float(np.abs(expected).max(initial=0))):
        raise AtlasError(
            f"The probe's logits differ by {worst:.2g} between the stored hidden states and the saliency run; "
            "delete this model's hidden states and saliency, and run again."
        )


def layer_values(
    arrays: Arrays, loss: str, error: Float[np.ndarray, " samples"], *, reduction: str, heads: str
) -> Float[np.ndarray, "samples layers flows"]:
    """(S, layers, flows) saliency by layer, NaN where the loss does not reach.

    reduction: sum or mean over token pairs; heads: sum_then_abs or abs_then_sum; error (S,): p - z, for probe_bce.
    """
    run = BACKWARD[loss]
    if heads == "sum_then_abs":
        values = arrays[f"{run}.sum_then_abs"].astype(float)
    else:
        values = arrays[f"{run}.absolute"].sum(-1, dtype=float)
    return values / _divisor(arrays, run, reduction)[:, None] * _factor(loss, error)[:, None, None]


def head_values(
    arrays: Arrays, loss: str, error: Float[np.ndarray, " samples"], *, reduction: str
) -> tuple[Float[np.ndarray, "samples layers flows heads"], Float[np.ndarray, "samples layers flows heads"]]:
    """(signed, absolute), each (S, layers, flows, heads)."""
    run = BACKWARD[loss]
    divisor = _divisor(arrays, run, reduction)[:, None, :, None]
    factor = (error if loss == "probe_bce" else np.ones(len(error)))[:, None, None, None]
    return arrays[f"{run}.signed"] / divisor * factor, arrays[f"{run}.absolute"] / divisor * np.abs(factor)


def _divisor(arrays: Arrays, run: str, reduction: str) -> Float[np.ndarray, "samples flows"]:
    return np.maximum(arrays[f"{run}.pairs"], 1) if reduction == "mean" else np.ones(arrays[f"{run}.pairs"].shape)


def _factor(loss: str, error: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    return np.abs(error) if loss == "probe_bce" else np.ones(len(error))


def over_layers(values: Float[np.ndarray, "samples layers flows"], how: str) -> Float[np.ndarray, "samples flows"]:
    """(S, flows) from (S, layers, flows): mean or sum over the layers that the loss reaches."""
    return (np.nanmean if how == "mean" else np.nansum)(values, axis=1)


def tables(
    arrays: Arrays, frame: pd.DataFrame, losses: Sequence[str], options: MetricOptions, keys: Keys, probe_layer: int
) -> dict[str, pd.DataFrame]:
    """{table: frame} of saliency, saliency_layers and head_saliency.

    frame: the samples file; losses: those to report; options: reduction, heads, layers; keys: model and dataset;
    probe_layer: the state that the probe reads, so that its losses reach the layers below this number. Of those that a
    loss reaches, layers without attention have nulls by layer and head, and do not count over layers.
    """
    rows = frame.iloc[arrays["number"]].reset_index(drop=True)
    correct = rows["correct"].to_numpy(bool)
    error = probe_error(arrays, correct)
    about = pd.DataFrame(
        {
            "sample": rows["sample"],
            "correct": correct,
            "probe_error": error,
            "weight": rows["weight"],
            "question_strategy": rows["question_strategy"],
            "answer_strategy": rows["answer_strategy"],
            "random_overlap": rows["random_overlap"],
            "reduction": options["reduction"],
            "heads": options["heads"],
        }
    )
    found: dict[str, list[pd.DataFrame]] = {"saliency": [], "saliency_layers": [], "head_saliency": []}
    for loss in losses:
        values = layer_values(arrays, loss, error, reduction=options["reduction"], heads=options["heads"])
        whole = over_layers(values, options["layers"])
        below = values.shape[1] if BACKWARD[loss] == "answer_nll" else probe_layer
        reached = np.flatnonzero(~np.isnan(values).all((0, 2)))
        signed, absolute = head_values(arrays, loss, error, reduction=options["reduction"])
        share = about["weight"].to_numpy(float) / about["weight"].sum()
        for number, flow in enumerate(FLOWS):
            one = about.assign(flow=flow, loss=loss, pairs=arrays[f"{BACKWARD[loss]}.pairs"][:, number])
            found["saliency"].append(
                one.assign(saliency=whole[:, number], layers=options["layers"], layers_reached=len(reached))
            )
            for layer in range(below):
                found["saliency_layers"].append(one.assign(layer=layer, saliency=values[:, layer, number]))
                found["head_saliency"].append(
                    pd.DataFrame(
                        {
                            "layer": layer,
                            "head": np.arange(signed.shape[-1]),
                            "flow": flow,
                            "loss": loss,
                            "signed": share @ signed[:, layer, number],
                            "absolute": share @ absolute[:, layer, number],
                            "reduction": options["reduction"],
                            "samples": len(rows),
                        }
                    )
                )
    return {name: pd.concat(parts, ignore_index=True).assign(**keys) for name, parts in found.items()}
