"""A truthfulness probe on hidden states: is the model's answer right? One logistic regression per layer.

Every sample is scored by the fold that did not train on it. The layer with the best out-of-fold AUROC is chosen, and
because choosing flatters, the nested AUROC is given beside it: there the layer is chosen anew within each fold's
training samples. AUROC is the mean over folds of the AUROC within the fold, because logits of probes that were fitted
to other samples cannot be compared; its interval is DeLong's (DeLong et al. 1988), fold by fold.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from atlas.errors import AtlasError

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Probes:
    """Probes of one model and data set, one per layer and fold.

    auroc, low, high (layers + 1,): out of fold, by hidden-state index; chosen: the best index (at least 1); nested
    (auroc, low, high); fold (S,): the fold that scores each sample; weight (folds, d) and bias (folds,) of the chosen
    layer, its scaler folded in: logit = <weight, h> + bias; logit (S,) out of fold.
    """

    auroc: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chosen: int
    nested: tuple[float, float, float]
    fold: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    logit: np.ndarray


def too_few(correct: Bool[np.ndarray, " samples"] | Sequence[bool], folds: int) -> str | None:
    """None, or the sentence that says why so many folds cannot be scored: each needs two samples of both kinds."""
    positives, negatives = int(np.sum(correct)), int(np.sum(~np.asarray(correct)))
    if min(positives, negatives) >= 2 * folds:
        return None
    return (
        f"{positives} correct and {negatives} wrong answers are too few for a probe in {folds} folds, which need "
        f"{2 * folds} of each"
    )


def train(
    states: Float[np.ndarray, "samples states width"],
    correct: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"],
    *,
    folds: int,
    regularisation: float,
    layers: Iterable[int] | Literal["all"] = "all",
    confidence: float = 0.95,
    seed: int = 0,
) -> Probes:
    """Probes of hidden states (S, layers + 1, d) for labels `correct` (S,) bool under sample weights (S,).

    regularisation: scikit-learn's C; layers: the hidden-state indices that may be chosen, or all but the embedding.
    Raises AtlasError where a kind of answer has fewer than two samples per fold, or for layers that are not there.
    """
    correct = np.asarray(correct, bool)
    problem = too_few(correct, folds)
    if problem:
        raise AtlasError(f"{problem}; answer more questions, lower probe.folds, or set probe.too_few: answer_nll.")
    depth = states.shape[1] - 1
    candidates = list(range(1, depth + 1)) if layers == "all" else sorted(layers)
    if candidates[0] < 1 or candidates[-1] > depth:
        wrong = ", ".join(str(layer) for layer in candidates if not 1 <= layer <= depth)
        raise AtlasError(
            f"analyses.saliency.probe.layers: the model has hidden states 1 to {depth}, and no {wrong}; leave it out."
        )
    weights = np.asarray(weights, float) / np.mean(weights)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(correct), int)
    for number, (_, held_out) in enumerate(splitter.split(correct, correct)):
        fold[held_out] = number
    logits, fits = np.empty((depth + 1, len(correct))), {}
    for layer in range(depth + 1):
        x = states[:, layer].astype(float)
        for k in range(folds):
            w, b = fit(x[fold != k], correct[fold != k], weights[fold != k], regularisation)
            logits[layer, fold == k] = x[fold == k] @ w + b
            fits[layer, k] = w, b
    measured = np.array([auroc_interval(scores, correct, fold, confidence) for scores in logits])
    chosen = candidates[int(np.argmax(measured[candidates, 0]))]
    inner = _nested_layers(states, correct, weights, fold, candidates, regularisation)
    nested = np.empty(len(correct))
    for k, layer in enumerate(inner):
        nested[fold == k] = logits[layer, fold == k]
    auroc, low, high = measured.T
    return Probes(
        auroc=auroc,
        low=low,
        high=high,
        chosen=chosen,
        nested=auroc_interval(nested, correct, fold, confidence),
        fold=fold,
        weight=np.stack([fits[chosen, k][0] for k in range(folds)]),
        bias=np.array([fits[chosen, k][1] for k in range(folds)]),
        logit=logits[chosen],
    )


def _nested_layers(
    states: Float[np.ndarray, "samples states width"],
    correct: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"],
    fold: Int[np.ndarray, " samples"],
    candidates: Sequence[int],
    regularisation: float,
) -> list[int]:
    """The best layer by folds within the training samples of each fold, so that the fold itself has no say."""
    folds = fold.max() + 1
    scores = np.zeros((len(candidates), folds))
    for place, layer in enumerate(candidates):
        x = states[:, layer].astype(float)
        for k in range(folds):
            for j in range(k):  # trained on all but folds j and k, it serves both as the inner probe of the other
                kept = (fold != k) & (fold != j)
                w, b = fit(x[kept], correct[kept], weights[kept], regularisation)
                for held_out, outer in ((j, k), (k, j)):
                    at = fold == held_out
                    scores[place, outer] += _placements(x[at] @ w + b, correct[at])[0]
    return [candidates[int(place)] for place in scores.argmax(0)]


def fit(
    x: Float[np.ndarray, "samples width"],
    correct: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"],
    regularisation: float,
) -> tuple[Float[np.ndarray, " width"], float]:
    """(w (d,), b) with logit = <w, h> + b of a logistic regression on standardised x (S, d), the scaler folded in.

    With more features than samples the fit runs in the span of the samples, which the ridge penalty leaves exact.
    """
    scaler = StandardScaler().fit(x)
    z, basis = scaler.transform(x), None
    if z.shape[1] > z.shape[0]:
        basis, r = np.linalg.qr(z.T)
        z = r.T
    model = LogisticRegression(C=regularisation, tol=1e-6, max_iter=10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(z, correct, sample_weight=weights)
        except ConvergenceWarning as warning:
            raise AtlasError(
                f"The probe did not converge; lower analyses.saliency.probe.regularisation ({warning})."
            ) from None
    w = model.coef_[0] if basis is None else basis @ model.coef_[0]
    w = w / scaler.scale_
    return w, float(model.intercept_[0] - w @ scaler.mean_)


def auroc_interval(
    scores: Float[np.ndarray, " samples"],
    correct: Bool[np.ndarray, " samples"],
    fold: Int[np.ndarray, " samples"],
    confidence: float,
) -> tuple[float, float, float]:
    """(auroc, low, high): mean over folds of the AUROC within a fold, with DeLong's interval cut to 0..1."""
    parts = [_placements(scores[fold == k], correct[fold == k]) for k in range(fold.max() + 1)]
    value = float(np.mean([part[0] for part in parts]))
    error = float(np.sqrt(np.sum([part[1] for part in parts]))) / len(parts)
    half = stats.norm.ppf(0.5 + confidence / 2) * error
    return value, max(0.0, value - half), min(1.0, value + half)


def _placements(scores: Float[np.ndarray, " samples"], correct: Bool[np.ndarray, " samples"]) -> tuple[float, float]:
    """(AUROC, its variance by DeLong) of scores (S,); ties count a half."""
    wins = scores[correct][:, None] - scores[~correct][None]
    wins = (wins > 0) + 0.5 * (wins == 0)
    rows, columns = wins.mean(1), wins.mean(0)
    return float(wins.mean()), float(rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns))


def probe_of(
    hidden: Mapping[str, np.ndarray], frame: pd.DataFrame, options: Mapping[str, Any], keys: Mapping[str, str]
) -> tuple[Probes | None, str]:
    """(Probes or None, a sentence on what was trained) of one model and data set.

    hidden: {number, states} of hidden_extraction; frame: the samples file; options: `probe` (that block of
    analyses.saliency), `confidence`, `seed`; keys: model and dataset. Raises AtlasError for too few samples, unless
    probe.too_few names another loss.
    """
    block, rows = options["probe"], frame.iloc[hidden["number"]]
    correct = rows["correct"].to_numpy(bool)
    problem = too_few(correct, block["folds"])
    if problem and block["too_few"] == "answer_nll":
        return None, f"no probe: {problem}; probe.too_few: answer_nll instead"
    weights = rows["weight"].to_numpy(float) if block["weights"] == "sampling" else np.ones(len(rows))
    try:
        probes = train(
            hidden["states"],
            correct,
            weights,
            folds=block["folds"],
            regularisation=block["regularisation"],
            layers=block["layers"],
            confidence=options["confidence"],
            seed=options["seed"],
        )
    except AtlasError as error:
        raise AtlasError(f"{keys['model']} on {keys['dataset']}: {error}") from None
    return probes, f"layer {probes.chosen}, {correct.sum()} correct and {(~correct).sum()} wrong answers"
