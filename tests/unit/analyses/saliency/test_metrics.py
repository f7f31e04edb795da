"""Saliency without a model: samples, the probe, reductions, two groups or one."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atlas.analyses.saliency import metrics as saliency_metrics
from atlas.analyses.saliency import mixture
from atlas.analyses.saliency import probe as truth_probe
from atlas.analyses.saliency import probe_storage as probe_layout
from atlas.analyses.saliency.answered_samples import answered_samples
from atlas.analyses.saliency.probe_table import table as probe_table
from atlas.analyses.saliency.storage import FLOWS
from atlas.errors import AtlasError

KEYS = {"model": "m", "dataset": "d"}


# -------------------------------------------------------------------------------------------------------------- samples
def sample_frame(**changes):
    rows = [
        {"sample": f"s{n}", "chosen": n != 1, "prefix": 2, "ids": [7, 8, n, 9, 9, 9], "question_tokens": [2],
         "answer_tokens": [4], "random_tokens": [3]}
        for n in range(3)
    ]  # fmt: skip
    rows[2].update(changes)
    return pd.DataFrame(rows)


def test_samples_are_the_chosen_rows_cut_at_the_last_exact_answer_token():
    samples, shared = answered_samples(sample_frame())
    assert shared == (7, 8)
    assert [sample.number for sample in samples] == [0, 2]
    assert samples[1].ids == (7, 8, 2, 9, 9)
    assert (samples[1].question, samples[1].answer, samples[1].random) == ((2,), (4,), (3,))


@pytest.mark.parametrize(("changes", "message"), [
    ({"answer_tokens": [6]}, "'s2': its answer tokens \\(6\\) do not lie in its text"),
    ({"random_tokens": []}, "'s2': its random tokens"),
    ({"answer_tokens": [3]}, "'s2': its exact answer tokens do not follow"),
    ({"ids": [7, 9, 2, 9, 9, 9]}, "'s2': its text does not begin with the 2 tokens"),
])  # fmt: skip
def test_samples_that_do_not_fit_are_named(changes, message):
    with pytest.raises(AtlasError, match=message):
        answered_samples(sample_frame(**changes))


def test_no_chosen_sample():
    with pytest.raises(AtlasError, match="no answered question"):
        answered_samples(sample_frame().assign(chosen=False))


# ---------------------------------------------------------------------------------------------------------------- probe
def noise(samples=60, layers=6, width=12, positives=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, layers + 1, width)).astype(np.float32), np.arange(samples) < positives


@pytest.mark.parametrize("width", [8, 100])
def test_folded_probe_is_sklearns_pipeline(width):
    """Below and above the number of samples, with a feature that never varies."""
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(40, width)) * 3 + 5, rng.uniform(0.5, 3, 40)
    x[:, 3] = 2.0
    correct = (x[:, 0] + rng.normal(size=40)) > 5
    w, b = truth_probe.fit(x, correct, weights, 0.5)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, tol=1e-8, max_iter=10_000))
    pipeline.fit(x, correct, logisticregression__sample_weight=weights)
    new = rng.normal(size=(7, width)) * 3 + 5
    np.testing.assert_allclose(new @ w + b, pipeline.decision_function(new), rtol=2e-4, atol=2e-4)


def test_every_sample_is_scored_by_a_probe_that_did_not_see_it():
    states, correct = noise()
    probes = truth_probe.train(states, correct, np.ones(60), folds=5, regularisation=1.0)
    stored = probe_layout.arrays(np.arange(60) * 2, probes)
    weight, bias = probe_layout.of_samples(stored, [2 * n for n in range(60)])
    logit = (weight * states[:, probes.chosen]).sum(1) + bias
    np.testing.assert_allclose(logit, probes.logit, rtol=1e-4, atol=1e-4)
    fold = probes.fold[0]
    changed = states.copy()
    changed[probes.fold == fold] *= -100
    again = truth_probe.train(changed, correct, np.ones(60), folds=5, regularisation=1.0, layers=[probes.chosen])
    np.testing.assert_array_equal(again.weight[fold], probes.weight[fold])
    assert np.abs(again.weight[fold - 1] - probes.weight[fold - 1]).max() > 0


def test_a_signal_is_found_and_its_layer_chosen():
    states, correct = noise(samples=100, positives=40)
    states[:, 4, 0] += 3 * correct
    probes = truth_probe.train(states, correct, np.ones(100), folds=5, regularisation=1.0)
    assert probes.chosen == 4
    assert probes.auroc[4] > 0.9
    assert probes.low[4] < probes.auroc[4] < probes.high[4]
    assert probes.nested[0] == pytest.approx(probes.auroc[4])
    assert truth_probe.train(states, correct, np.ones(100), folds=5, regularisation=1.0, layers=[2, 3]).chosen in (2, 3)


def test_the_choice_of_a_layer_flatters_and_nesting_does_not():
    """On noise the best layer looks better than chance; chosen without the fold that is scored, it does not."""
    best, nested = [], []
    for seed in range(8):
        states, correct = noise(layers=8, width=4, seed=seed)
        probes = truth_probe.train(states, correct, np.ones(60), folds=5, regularisation=1.0, seed=seed)
        best.append(probes.auroc[probes.chosen])
        nested.append(probes.nested[0])
    assert np.mean(best) > 0.6
    assert abs(np.mean(nested) - 0.5) < 0.08


def test_auroc_is_the_mean_over_folds_and_the_interval_is_delongs():
    rng = np.random.default_rng(2)
    correct, fold = np.arange(40) % 3 == 0, np.arange(40) % 2
    scores = np.round(rng.normal(size=40) + correct, 1)  # with ties
    value, low, high = truth_probe.auroc_interval(scores, correct, fold, 0.95)
    assert value == pytest.approx(np.mean([roc_auc_score(correct[fold == k], scores[fold == k]) for k in (0, 1)]))
    replicates = []
    for _ in range(300):
        draw = np.concatenate([
            rng.choice(np.flatnonzero((fold == k) & (correct == z)), ((fold == k) & (correct == z)).sum())
            for k in (0, 1) for z in (False, True)
        ])  # fmt: skip
        replicates.append(np.mean([roc_auc_score(correct[draw][fold[draw] == k], scores[draw][fold[draw] == k])
                                   for k in (0, 1)]))  # fmt: skip
    assert high - low == pytest.approx(2 * 1.96 * np.std(replicates), rel=0.25)


def test_too_few_answers_of_a_kind_are_counted():
    options = {"probe": {"folds": 5, "regularisation": 1.0, "layers": "all", "weights": "sampling",
                         "too_few": "error"}, "confidence": 0.95, "seed": 0}  # fmt: skip
    states, correct = noise(samples=30, positives=9)
    hidden = {"number": np.arange(30), "states": states}
    frame = pd.DataFrame({"correct": correct, "weight": 1.0})
    with pytest.raises(AtlasError, match="m on d: 9 correct and 21 wrong answers are too few for a probe in 5 folds"):
        truth_probe.probe_of(hidden, frame, options, KEYS)
    options["probe"]["too_few"] = "answer_nll"
    probes, note = truth_probe.probe_of(hidden, frame, options, KEYS)
    assert probes is None
    assert "answer_nll instead" in note
    stored = probe_layout.arrays(np.arange(30), None)
    table = probe_table(stored, correct, options["probe"], KEYS)
    assert not table["chosen"].any()
    assert (table["correct"].item(), table["wrong"].item()) == (9, 21)
    assert saliency_metrics.computed({}, ["probe_bce"], stored) == ["answer_nll"]
    with pytest.raises(AtlasError, match="hidden states 1 to 6, and no 9; leave it out"):
        truth_probe.train(*noise(), np.ones(60), folds=5, regularisation=1.0, layers=[9])


def test_sampling_weights_move_the_probe():
    states, correct = noise(samples=60, positives=30)
    hidden = {"number": np.arange(60), "states": states}
    frame = pd.DataFrame({"correct": correct, "weight": np.where(correct, 1.0, 20.0)})
    found = {}
    for weights in ("sampling", "equal"):
        block = {"folds": 5, "regularisation": 1.0, "layers": [1], "weights": weights, "too_few": "error"}
        options = {"probe": block, "confidence": 0.95, "seed": 0}
        found[weights] = truth_probe.probe_of(hidden, frame, options, KEYS)[0].logit.mean()
    assert found["sampling"] < found["equal"] - 0.5


# -------------------------------------------------------------------------------------------------------------- metrics
def sums(samples=4, layers=3, heads=2, reach=2):
    rng = np.random.default_rng(3)
    arrays = {"number": np.arange(samples), "logit": rng.normal(size=samples), "nll": np.full(samples, np.nan)}
    signed = rng.normal(size=(samples, layers, len(FLOWS), heads))
    signed[:, reach:] = np.nan
    arrays["probe_logit.signed"] = signed
    arrays["probe_logit.absolute"] = np.abs(signed) * 2
    arrays["probe_logit.sum_then_abs"] = np.abs(signed.sum(-1)) * 1.5
    arrays["probe_logit.pairs"] = np.tile([2, 6, 2, 6], (samples, 1))
    return arrays


OPTIONS = {"reduction": "sum", "heads": "sum_then_abs", "layers": "mean"}


def frame_of(samples=4):
    about = {"random_overlap": 1, "question_strategy": "spans", "answer_strategy": "alias"}
    names = [f"s{n}" for n in range(samples)]
    weight = 1.0 + np.arange(samples)
    return pd.DataFrame({"sample": names, "correct": np.arange(samples) % 2 == 0, "weight": weight, **about})


def measured(**options):
    losses = ["probe_bce", "probe_logit"]
    return saliency_metrics.tables(sums(), frame_of(), losses, {**OPTIONS, **options}, KEYS, 2)


def values(found, loss, table="saliency"):
    """(samples, flows)"""
    part = found[table][found[table]["loss"] == loss]
    return part.pivot_table(index="sample", columns="flow", values="saliency", sort=True)[list(FLOWS)].to_numpy()


def test_layers_that_the_loss_does_not_reach_are_absent():
    found, arrays = measured(), sums()
    assert sorted(found["saliency_layers"]["layer"].unique()) == [0, 1]
    assert (found["saliency"]["layers_reached"] == 2).all()
    np.testing.assert_allclose(values(found, "probe_logit"), arrays["probe_logit.sum_then_abs"][:, :2].mean(1))
    np.testing.assert_allclose(
        values(measured(layers="sum"), "probe_logit"), arrays["probe_logit.sum_then_abs"][:, :2].sum(1)
    )


def test_bce_is_the_logit_times_the_probes_error():
    found, arrays = measured(), sums()
    z = frame_of()["correct"].to_numpy(float)
    error = 1 / (1 + np.exp(-arrays["logit"])) - z
    np.testing.assert_allclose(values(found, "probe_bce"), values(found, "probe_logit") * np.abs(error)[:, None])
    given = found["saliency"].drop_duplicates("sample").sort_values("sample")
    np.testing.assert_allclose(given["probe_error"], error)
    heads = found["head_saliency"].set_index(["loss", "flow", "layer", "head"]).sort_index()
    share = frame_of()["weight"].to_numpy() / frame_of()["weight"].sum()
    expected = (share * error) @ arrays["probe_logit.signed"][:, 1, 2, 1]
    assert heads.loc[("probe_bce", "random_to_answer", 1, 1), "signed"] == pytest.approx(expected)


def test_reductions():
    arrays = sums()
    by_head = arrays["probe_logit.absolute"][:, :2].sum(-1).mean(1)
    np.testing.assert_allclose(values(measured(heads="abs_then_sum"), "probe_logit"), by_head)
    mean = arrays["probe_logit.sum_then_abs"][:, :2].mean(1) / [2, 6, 2, 6]
    np.testing.assert_allclose(values(measured(reduction="mean"), "probe_logit"), mean)


def test_a_probe_that_sees_other_states_is_refused():
    arrays = sums()
    stored = {"layer": 2, "number": np.arange(4), "logit": arrays["logit"] + 1e-3}
    saliency_metrics.check_probe(arrays, stored)
    with pytest.raises(AtlasError, match="differ by 3"):
        saliency_metrics.check_probe(arrays, {**stored, "logit": arrays["logit"] + 3})


# -------------------------------------------------------------------------------------------------------------- mixture
def test_two_groups_and_one():
    rng = np.random.default_rng(4)
    one = 10 ** rng.normal(-2, 0.3, 120)
    two = np.concatenate([10 ** rng.normal(-4, 0.3, 70), 10 ** rng.normal(-1, 0.3, 50), np.zeros(3)])
    apart = mixture.summary(two, confidence=0.95, draws=60, seed=0)
    assert apart["separation"] == pytest.approx(10, rel=0.2)
    assert apart["separation_low"] < apart["separation"] < apart["separation_high"]
    assert (apart["low_mean"], apart["high_mean"]) == (pytest.approx(-4, abs=0.15), pytest.approx(-1, abs=0.15))
    assert apart["share"] == pytest.approx(50 / 120, abs=0.02)
    assert (apart["zeros"], apart["samples"]) == (3, 123)
    assert (apart["fit"], apart["draws"], apart["draws_used"]) == ("converged", 60, 60)
    assert apart["dip_p"] < 0.01
    assert apart["bic_gain"] > 20
    single = mixture.summary(one, confidence=0.95, draws=60, seed=0)
    assert single["bic_gain"] < 0
    assert single["dip_p"] > 0.1
    assert single["separation_low"] < 2


def test_a_mixture_that_does_not_converge_gives_no_numbers():
    values = 10 ** np.random.default_rng(0).normal(size=60)
    found = mixture.summary(values, confidence=0.95, draws=5, seed=0, iterations=1)
    counts = [found.pop(name) for name in ("samples", "zeros", "draws", "draws_used", "fit")]
    assert counts == [60, 0, 5, 0, "not_converged"]
    assert np.isnan(list(found.values())).all()
    converged = mixture.summary(values, confidence=0.95, draws=5, seed=0)
    assert (converged.pop("fit"), converged["draws_used"]) == ("converged", 5)
    assert np.isfinite(list(converged.values())).all()


def test_bootstrap_draws_without_a_fit_are_counted():
    """With so few steps the fit of the data settles, from its own solution a draw's does or does not."""
    values = 10 ** np.random.default_rng(5).normal(size=60)
    needed = next(n for n in range(2, 200) if mixture.summary(values, confidence=0.95, draws=1, seed=0,
                                                              iterations=n)["fit"] == "converged")  # fmt: skip
    found = mixture.summary(values, confidence=0.95, draws=200, seed=0, iterations=needed)
    assert 0 < found["draws_used"] < found["draws"] == 200
    assert found["separation_low"] < found["separation_high"]


def test_too_few_values_for_a_mixture():
    found = mixture.summary(np.array([0, 1.0, 2.0]), confidence=0.95, draws=60, seed=0)
    assert np.isnan(found["separation"])
    assert (found["samples"], found["zeros"], found["fit"], found["draws_used"]) == (3, 1, "too_few_values", 0)


def test_groups_are_right_and_wrong_answers():
    found = measured()["saliency"]
    table = mixture.mixture_table(found, confidence=0.95, draws=60, seed=0)
    assert len(table) == 2 * 2 * 2
    assert set(table["group"]) == {"correct", "wrong"}
    assert (table["samples"] == 2).all()
