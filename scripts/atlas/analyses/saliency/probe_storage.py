"""How a trained probe is stored, and its table.

layer (): hidden-state index of the chosen layer, 0 where no probe could be trained; number (S,): row of the samples
file; fold (S,): the fold that scores it; logit (S,) out of fold; weight (folds, d), bias (folds,).
"""

import numpy as np
import pandas as pd


def arrays(numbers, probes):
    """The stored form of `probes` (truth_probe.Probes, or None) of the samples `numbers` (S,)."""
    numbers = np.asarray(numbers, np.int32)
    if probes is None:
        none = np.zeros(len(numbers))
        return {"layer": np.array(0, np.int32), "number": numbers, "fold": none.astype(np.int32),
                "logit": np.full(len(numbers), np.nan), "weight": np.zeros((0, 0)), "bias": np.zeros(0)}  # fmt: skip
    return {
        "layer": np.array(probes.chosen, np.int32),
        "number": numbers,
        "fold": probes.fold.astype(np.int32),
        "logit": probes.logit,
        "weight": probes.weight,
        "bias": probes.bias,
    }


def of_samples(stored, numbers):
    """(weight (S, d), bias (S,)) fp32 of the fold that scores each of the samples `numbers`."""
    place = {number: row for row, number in enumerate(stored["number"].tolist())}
    fold = stored["fold"][[place[number] for number in numbers]]
    return stored["weight"][fold].astype(np.float32), stored["bias"][fold].astype(np.float32)


def table(probes, correct, options, keys):
    """The probe_auroc frame: one row per hidden-state index.

    options: the block analyses.saliency.probe; keys: model and dataset.
    """
    nested, low, high = probes.nested
    layers = np.arange(len(probes.auroc))
    return pd.DataFrame({**keys, "layer": layers}).assign(
        auroc=probes.auroc,
        auroc_low=probes.low,
        auroc_high=probes.high,
        chosen=layers == probes.chosen,
        nested_auroc=nested,
        nested_low=low,
        nested_high=high,
        correct=int(np.sum(correct)),
        wrong=int(np.sum(~correct)),
        **{name: options[name] for name in ("folds", "regularisation", "weights")},
    )


def untrained_table(correct, options, keys):
    """The probe_auroc frame of a data set with too few answers of a kind: one row, without a layer that is chosen."""
    nothing = dict.fromkeys(("auroc", "auroc_low", "auroc_high", "nested_auroc", "nested_low", "nested_high"), np.nan)
    counts = {"correct": int(np.sum(correct)), "wrong": int(np.sum(~correct))}
    about = {name: options[name] for name in ("folds", "regularisation", "weights")}
    return pd.DataFrame([{**keys, "layer": 0, "chosen": False, **nothing, **counts, **about}])
