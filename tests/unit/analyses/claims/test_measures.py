"""Each measured number of a claim against a computation of its own: loops, scipy, samples written out one by one."""

import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import planted_claims as planted
from atlas.analyses.meaningless_tokens.claims import SOURCE
from atlas.statistics.intervals import bootstrap_weights
from atlas.statistics.resampling import mover, weighted_mode, weighted_quantile

N = 31


@pytest.fixture(scope="module")
def made():
    """Results that are neither true nor false throughout: planted ones with noise over them."""
    found = planted.everything(True, N)
    rng = np.random.default_rng(5)
    for key, frame in found.items():
        for column in {"saliency", "mink", "gap", "ships_degrees"} & set(getattr(frame, "columns", ())):
            frame[column] = np.abs(frame[column] + rng.normal(0, frame[column].std(), len(frame)))
        if key == ("own", "score_gap"):
            frame["gap"] -= 0.3
    return found


@pytest.fixture(scope="module")
def rows(made, tmp_path_factory):
    frame = planted.verdicts(tmp_path_factory.mktemp("measures"), made)
    return frame.set_index(["claim", "part"])


def expanded(values, weights):
    """Every value as often as its weight says."""
    return np.repeat(values, np.asarray(weights, int))


def lower_quantile(values, share):
    """The smallest value that at least `share` of them do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def flow(made, name, model="own"):
    frame = made[model, "saliency"]
    return frame[frame["flow"] == name].sort_values("sample").set_index("sample")


# ----------------------------------------------------------------------------------------------------------- saliency
def test_a1_peak_is_the_mode_of_scipys_density(made, rows):
    modes = []
    for name in ("question_to_answer", "question_to_all"):
        one = flow(made, name)
        density = stats.gaussian_kde(one["saliency"], weights=one["weight"])
        top = lower_quantile(expanded(one["saliency"], one["weight"]), 0.995)
        places = np.linspace(0, top, 500)
        modes.append(places[density(places).argmax()])
    assert rows.loc[("A1", "peak"), "value"] == pytest.approx(modes[0] - modes[1], abs=1e-9)


def test_a1_spread_is_the_interquartile_range_of_the_weighted_sample(made, rows):
    ranges = []
    for name in ("question_to_answer", "question_to_all"):
        values = expanded(*(flow(made, name)[column] for column in ("saliency", "weight")))
        ranges.append(lower_quantile(values, 0.75) - lower_quantile(values, 0.25))
    row = rows.loc["A1", "spread"]
    assert row["value"] == pytest.approx(ranges[0] - ranges[1])
    assert row["effect"] == pytest.approx((ranges[0] - ranges[1]) / ranges[1])
    assert row["by_construction"].startswith("partly")


def test_a1_says_nothing_of_construction_under_mean(tmp_path):
    found = planted.saliency(True, N)
    found["own", "saliency"]["reduction"] = "mean"
    frame = planted.verdicts(tmp_path, found)
    assert (frame.loc[frame["claim"] == "A1", "by_construction"] == "").all()


def test_a1_interval_is_that_of_resampled_answers(made, rows):
    weights = bootstrap_weights(N, planted.OPTIONS["bootstrap"], 0).astype(int)
    a, b = flow(made, "question_to_answer"), flow(made, "question_to_all")
    differences = []
    for draw in weights:
        ranges = []
        for one in (a, b):
            values = expanded(one["saliency"], draw * one["weight"])
            ranges.append(lower_quantile(values, 0.75) - lower_quantile(values, 0.25))
        differences.append(ranges[0] - ranges[1])
    row = rows.loc["A1", "spread"]
    np.testing.assert_allclose([row["low"], row["high"]], np.percentile(differences, [2.5, 97.5]))


def test_a2_is_the_ratio_of_weighted_medians(made, rows):
    for part, name in (("to the answer", "question_to_answer"), ("to everything", "question_to_all")):
        own, other = (
            lower_quantile(expanded(*(flow(made, name, model)[c] for c in ("saliency", "weight"))), 0.5)
            for model in ("own", "smaller")
        )
        assert rows.loc[("A2", part), "value"] == pytest.approx(own / other)
        assert rows.loc[("A2", part), "partner"] == "smaller"


def test_a3_takes_over_ashmans_d_and_its_interval(made, rows):
    row = rows.loc["A3", "right answers"]
    table = made["own", "saliency_mixture"].iloc[0]
    assert list(row[["value", "low", "high"]]) == list(table[["separation", "separation_low", "separation_high"]])


def test_a3_of_real_mixtures(tmp_path):
    """Two lumps hold, one does not: from values by way of the table's own function."""
    from atlas.analyses.saliency.mixture import mixture_table

    rng = np.random.default_rng(0)
    lumps = {
        "holds": np.r_[rng.lognormal(-5, 0.3, 60), rng.lognormal(0, 0.3, 60)],
        "does not hold": rng.lognormal(0, 1, 120),
    }
    for verdict, values in lumps.items():
        frame = pd.DataFrame({"saliency": np.tile(values, 2), "correct": np.repeat([True, False], len(values))})
        about = {"model": "own", "dataset": "d", "flow": "question_to_answer", "loss": "probe_bce"}
        found = mixture_table(frame.assign(**about), confidence=0.95, draws=50, seed=0)
        rows = planted.verdicts(tmp_path, {("own", "saliency_mixture"): found})
        said = rows.loc[rows["claim"] == "A3", "claim_verdict"]
        assert set(said) == {verdict}


def test_a4_is_the_nested_auroc_and_its_distance_from_the_controls(made, rows):
    own, control = (made[model, "probe_auroc"].iloc[0] for model in ("own", "control"))
    assert rows.loc[("A4", "above chance"), "value"] == own["nested_auroc"]
    row = rows.loc["A4", "above the control"]
    assert row["value"] == pytest.approx(own["nested_auroc"] - control["nested_auroc"])
    assert row["low"] == pytest.approx(row["value"] - math.sqrt(2) * 0.05)
    assert row["partner"] == "control"


def test_intervals_of_tables_are_those_of_the_confidence_of_claims(made, rows, tmp_path, monkeypatch):
    """An analysis may have a confidence of its own; its narrower intervals decide nothing more here."""
    for analysis in ("saliency", "sinks", "ablation_effect"):
        monkeypatch.setitem(planted.READ[analysis], "confidence", 0.5)
    wide = planted.verdicts(tmp_path, made).set_index(["claim", "part"])
    scale = stats.norm.ppf(0.975) / stats.norm.ppf(0.75)
    for place in (("A3", "right answers"), ("A4", "above chance"), ("A4", "above the control"), ("D4", "natural"),
                  ("E4", "scaling")):  # fmt: skip
        was, now = rows.loc[place], wide.loc[place]
        assert now["value"] == was["value"]
        assert now["value"] - now["low"] == pytest.approx(scale * (was["value"] - was["low"]))
        assert now["high"] - now["value"] == pytest.approx(scale * (was["high"] - was["value"]))
        assert now["confidence"] == 0.95


def test_a5_counts_wins_by_weight(made, rows):
    exact, random = flow(made, "question_to_answer"), flow(made, "random_to_answer")
    won = sum(
        weight * (1 if a > b else 0.5 if a == b else 0)
        for a, b, weight in zip(exact["saliency"], random["saliency"], exact["weight"], strict=True)
    )
    row = rows.loc["A5", "answers"]
    assert row["value"] == pytest.approx(won / exact["weight"].sum())
    ratio = (exact["saliency"] * exact["weight"]).sum() / (random["saliency"] * random["weight"]).sum()
    assert row["effect"] == pytest.approx(ratio)


# ------------------------------------------------------------------------------------------------------------- Min-K%
def by_depth(made, model="own"):
    frame = made[model, "mink"]
    return {depth: dict(zip(part["question"], part["mink"], strict=True)) for depth, part in frame.groupby("depth")}


def test_b1_is_medians_and_kendalls_tau(made, rows):
    values = {depth: list(found.values()) for depth, found in by_depth(made).items()}
    medians = {depth: statistics.median(found) for depth, found in values.items()}
    assert rows.loc[("B1", "D2 - D1"), "value"] == pytest.approx(medians[2] - medians[1])
    assert rows.loc[("B1", "D3 - D2"), "value"] == pytest.approx(medians[3] - medians[2])
    higher = sum((b > a) - (b < a) for a, b in itertools.product(values[1], values[2])) / N**2
    assert rows.loc[("B1", "D2 - D1"), "effect"] == pytest.approx(higher)
    flat = [(depth, value) for depth, found in values.items() for value in found]
    pairs = list(itertools.combinations(flat, 2))
    score = sum(np.sign(b[0] - a[0]) * np.sign(b[1] - a[1]) for a, b in pairs)
    untied = [sum(a[i] != b[i] for a, b in pairs) for i in (0, 1)]
    assert rows.loc[("B1", "trend"), "value"] == pytest.approx(score / math.sqrt(untied[0] * untied[1]))


def test_b2_is_the_median_of_paired_differences(made, rows):
    own, smaller = by_depth(made), by_depth(made, "smaller")
    for depth in (1, 2, 3):
        differences = [own[depth][name] - smaller[depth][name] for name in own[depth]]
        row = rows.loc["B2", f"D{depth}"]
        assert row["value"] == pytest.approx(statistics.median(differences))
        assert row["effect"] == pytest.approx(np.mean([value < 0 for value in differences]))


def test_b2_leaves_out_questions_that_one_model_lacks(made, tmp_path):
    some = dict(made)
    some["smaller", "mink"] = made["smaller", "mink"].sample(frac=0.8, random_state=0)
    own, smaller = by_depth(some), by_depth(some, "smaller")
    frame = planted.verdicts(tmp_path, some).set_index(["claim", "part"])
    row = frame.loc["B2", "D1"]
    both = own[1].keys() & smaller[1].keys()
    assert row["n"] == len(both) < N
    assert row["value"] == pytest.approx(statistics.median(own[1][name] - smaller[1][name] for name in both))


def test_b3_is_a_difference_of_interquartile_ranges(made, rows):
    own, older = by_depth(made), by_depth(made, "older")
    for depth in (1, 2, 3):
        ranges = []
        for found in (own[depth], older[depth]):
            low, _, high = statistics.quantiles(found.values(), n=4, method="inclusive")
            ranges.append(high - low)
        assert rows.loc[("B3", f"D{depth}"), "value"] == pytest.approx(ranges[0] - ranges[1])


def test_b4_counts_gaps_of_at_most_one_point(made, rows):
    gaps = list(made["own", "score_gap"]["gap"])
    near = sum(-0.25 <= gap <= 0.25 for gap in gaps)
    assert 0 < near < len(gaps)
    assert rows.loc[("B4", "gaps"), "value"] == near / len(gaps)


@pytest.mark.parametrize(("judge", "is_control"), [("api", False), ("reference", False), ("reference", True)])
def test_b4_and_b5_say_who_judged(judge, is_control, tmp_path):
    found = planted.mink(True, N)
    found["own", "score_gap"]["judge"] = judge
    said = planted.verdicts(tmp_path, found, is_control=is_control).set_index(["claim", "part"])["note"]
    for place in (("B4", "gaps"), ("B5", "groups")):
        assert ("stand-in" in said[place]) is (judge == "reference")
        assert ("its base" in said[place]) is is_control


def test_b5_is_a_difference_of_means(made, rows):
    frame = made["own", "score_gap"]
    least, most = (list(frame.loc[frame["group"] == group, "gap"]) for group in ("75%", "25%"))
    row = rows.loc["B5", "groups"]
    assert row["value"] == pytest.approx(statistics.fmean(least) - statistics.fmean(most))
    spread = math.sqrt((statistics.variance(least) + statistics.variance(most)) / 2)
    assert row["effect"] == pytest.approx(row["value"] / spread)


# --------------------------------------------------------------------------------------------------------- categories
def labelled(made, model="own", significance="tau"):
    """[(layer, set of categories)] of every head."""
    frame = made[model, "head_categories"]
    frame = frame[frame["significance"] == significance]
    return [(row.layer, set(filter(None, row.categories.split(";")))) for row in frame.itertuples()]


def share(found, category, where):
    own = [layer for layer, names in found if category in names]
    return sum(map(where, own)) / len(own)


def test_c1_to_c5_count_heads(made, rows):
    heads = labelled(made)
    some = [names for _, names in heads if names]
    assert rows.loc[("C1", "heads"), "value"] == sum(len(names) > 1 for names in some) / len(some)
    upper = share(heads, "Knowledge", lambda layer: layer >= 4)
    assert rows.loc[("C2", "heads"), "value"] == pytest.approx(upper - 8 / 12)
    low = [share(heads, name, lambda layer: layer < 4) for name in ("Algorithmic", "Knowledge")]
    assert rows.loc[("C3", "heads"), "value"] == pytest.approx(low[0] - low[1])
    half = share(heads, "Linguistic", lambda layer: layer >= 6)
    assert rows.loc[("C4", "heads"), "value"] == pytest.approx(half - 6 / 12)
    control = labelled(made, "control")
    assert rows.loc[("C5", "heads"), "value"] == sum(bool(names) for _, names in control) / len(control)


def test_the_null_has_labels_of_its_own(tmp_path):
    found = planted.categories(True, N)
    frame = found["own", "head_categories"]
    frame.loc[frame["significance"] == "tau_and_null", "categories"] = "Knowledge;Linguistic"
    said = planted.verdicts(tmp_path, found).set_index(["claim", "part"])
    assert said.loc[("C1", "after the null"), "value"] == 1
    assert said.loc[("C1", "after the null"), "verdict"] == "does not hold"
    assert said.loc[("C1", "heads"), "claim_verdict"] == "holds"  # the null is told, and does not decide


def test_where_heads_stand_is_not_asked_of_one_layer(tmp_path):
    found = planted.categories(True, N)
    frame = found["own", "head_categories"]
    frame["head"], frame["layer"] = frame["head"] + 1000 * frame["layer"], 0
    said = planted.verdicts(tmp_path, found).set_index(["claim", "part"])
    for claim in ("C2", "C4"):
        assert said.loc[(claim, "heads"), "claim_verdict"] == "not applicable"
        assert said.loc[(claim, "heads"), "reason"] == "the model has one layer, so none is deeper than another"


def test_c5_of_a_control_is_about_itself(tmp_path):
    found = planted.categories(True, N)
    found["own", "head_categories"] = found["control", "head_categories"]
    said = planted.verdicts(tmp_path, found, relatives={}, is_control=True).set_index(["claim", "part"])
    assert said.loc[("C5", "heads"), "claim_verdict"] == "holds"


def test_c7_is_undecided_without_an_interval(tmp_path):
    """As where a relation has a single pair: no interval is none of no width."""
    made = planted.everything(True, N)
    found = made["own", "relation_correlation"]
    made["own", "relation_correlation"] = found.assign(low=np.nan, high=np.nan)
    rows = planted.verdicts(tmp_path, made).set_index(["claim", "part"]).loc["C7"]
    assert set(rows["verdict"]) == {"undecided"}
    assert set(rows["reason"]) == {"a relation has a single pair on prompts, which gives no interval"}


# ---------------------------------------------------------------------------------------------------------- attention
def averages(arrays, condition):
    """[(tokens, layers, heads)] of each prompt, from sums and the number of rows below."""
    tokens = 8 + 14 + (6 if condition == "with" else 0)
    sums = arrays[f"{condition}.below"].reshape(N, tokens, 2, 3)
    with np.errstate(invalid="ignore", divide="ignore"):
        return [one / (tokens - 1 - np.arange(tokens))[:, None, None] for one in sums]


@pytest.mark.parametrize(("part", "layers"), [("all heads", (0, 1)), ("first layer", (0,))])
def test_d1_to_d3_sum_over_heads_and_prompts(made, rows, part, layers):
    arrays = made["own", "attention"]
    question, plain, inside, around, behind = 0.0, 0.0, 0.0, 0.0, 0.0
    for one, other in zip(averages(arrays, "with"), averages(arrays, "without"), strict=True):
        for layer, head in itertools.product(layers, range(3)):
            question += one[14:26, layer, head].mean()
            plain += other[8:20, layer, head].mean()
            inside += one[8:14, layer, head].mean()
            behind += one[14:24, layer, head].mean()
            around += (one[1:8, layer, head].mean() + one[14:24, layer, head].mean()) / 2
    assert rows.loc[("D1", part), "value"] == pytest.approx(question / plain - 1)
    assert rows.loc[("D2", part), "value"] == pytest.approx(inside / around)
    assert rows.loc[("D3", part), "value"] == pytest.approx(behind / inside)


def test_d1_of_the_sources_heads_is_theirs_alone(tmp_path):
    found = planted.attention(True, N, layers=2, heads=26)
    arrays = found["own", "attention"]
    for name in ("with.below", "without.below"):
        arrays[name][:, 0, [i for i in range(26) if i not in (19, 24, 25)]] *= 1000
        arrays[name][:, 1] *= 1000
    arrays["with.below"][:, 0, [19, 24, 25]] *= 2
    ratios = []
    for condition, begin in (("with", 14), ("without", 8)):
        tokens = begin + 14
        sums = arrays[f"{condition}.below"].reshape(N, tokens, 2, 26)[:, begin : begin + 12, 0][..., [19, 24, 25]]
        ratios.append((sums / (tokens - 1 - np.arange(begin, begin + 12))[None, :, None]).sum())
    said = planted.verdicts(tmp_path, found, repo=SOURCE).set_index(["claim", "part"])
    assert said.loc[("D1", "heads of the source"), "value"] == pytest.approx(ratios[0] / ratios[1] - 1)


def test_d4_takes_the_row_over_all_layers(made, rows):
    table = made["own", "sink_rates"]
    for kind in ("natural", "repeated"):
        row = table[(table["input"] == kind) & table["layer"].isna()].iloc[0]
        assert rows.loc[("D4", kind), "value"] == row["rate"]


def test_d4_is_not_put_to_sequences_that_begin_with_another_token(tmp_path):
    found = planted.sinks(True, N)
    found["own", "sink_rates"]["bos"] = True
    said = planted.verdicts(tmp_path, found).set_index(["claim", "part"])
    assert said.loc[("D4", "repeated"), "verdict"] == "not applicable"
    assert said.loc[("D4", "natural"), "verdict"] == "holds"
    assert said.loc[("D4", "natural"), "claim_verdict"] == "undecided"  # half of the claim was not put


# ------------------------------------------------------------------------------------------------------- safety heads
def scores(made, ablation, model="own"):
    """{(layer, head): degrees} under rank 1."""
    frame = made[model, "safety_heads"]
    frame = frame[(frame["ablation"] == ablation) & (frame["rank"] == 1)]
    return {(row.layer, row.head): row.ships_degrees for row in frame.itertuples()}


def top(found, count=10):
    return sorted(found, key=found.get, reverse=True)[:count]


def test_e1_to_e3_and_e5_look_at_the_strongest(made, rows):
    strongest = []
    for ablation in ("undifferentiated", "scaling"):
        found, other = scores(made, ablation), scores(made, ablation, "sibling")
        strongest.append(found[top(found)[-1]])
        assert rows.loc[("E2", ablation), "value"] == sum(layer < 4 for layer, _ in top(found)) / 10
        few = sum(found[head] for head in top(found, 2))  # a hundredth of 144 heads, rounded up
        assert rows.loc[("E3", ablation), "value"] == pytest.approx(few / sum(found.values()))
        assert rows.loc[("E5", ablation), "value"] == len({*top(found)} & {*top(other)}) / 10
    assert rows.loc[("E1", "tenth strongest"), "value"] == pytest.approx(strongest[0] / strongest[1])


def test_e2_resamples_the_heads_together(made, rows):
    drawn = made["own", "safety_resamples"]["scaling"][:, 0]
    layer = np.repeat(np.arange(12), 12)
    shares = [np.mean([layer[head] < 4 for head in np.argsort(-one)[:10]]) for one in drawn]
    row = rows.loc["E2", "scaling"]
    np.testing.assert_allclose([row["low"], row["high"]], np.percentile(shares, [2.5, 97.5]))


@pytest.mark.parametrize(
    ("dtype", "error", "told"),
    [
        ("float32", np.nan, ""),
        ("bfloat16", 0.25, "computed in bfloat16: its rounding moves angles by up to 0.25 degrees"),
        ("float16", np.nan, "computed in float16: its rounding moves angles by an amount that was not measured"),
    ],
)
def test_claims_on_ships_say_what_half_precision_does_to_them(dtype, error, told, tmp_path):
    found = planted.ships(True, N)
    for model in ("own", "sibling"):
        found[model, "safety_heads"] = found[model, "safety_heads"].assign(dtype=dtype, error_degrees=error)
    notes = planted.verdicts(tmp_path, found).set_index(["claim", "part"])["note"]
    for place in (("E1", "tenth strongest"), ("E2", "scaling"), ("E3", "undifferentiated"), ("E5", "scaling")):
        assert notes[place].startswith(told)
        assert bool(notes[place]) is bool(told)


def test_e4_is_a_difference_of_rates_at_the_largest_number(rows, made):
    row = rows.loc["E4", "scaling"]
    assert row["value"] == pytest.approx(0.9 - 0.2)
    assert row["low"] == pytest.approx(0.7 - math.hypot(0.1, 0.1))


def test_e4_is_undecided_for_a_model_that_does_not_refuse(tmp_path):
    found = planted.effects(True, N)
    found["own", "ablation_effect"]["refused"] = 3
    said = planted.verdicts(tmp_path, found).set_index(["claim", "part"])
    row = said.loc["E4", "scaling"]
    assert row["claim_verdict"] == "undecided"
    assert row["reason"] == f"the model refuses 3 of {N} prompts with no head ablated"


# ---------------------------------------------------------------------------------------------------------- intervals
DRAWS = planted.OPTIONS["bootstrap"]


def indices(size, seed=0):
    return np.random.default_rng(seed).integers(0, size, (DRAWS, size))


def held(rows, claim, part, replicates):
    """The interval of a part is that of these replicates."""
    low, high = rows.loc[(claim, part), ["low", "high"]].astype(float)
    np.testing.assert_allclose([low, high], np.percentile(replicates, [2.5, 97.5]), rtol=1e-6)


def test_intervals_of_saliency_are_those_of_resampled_answers(made, rows):
    exact, random = flow(made, "question_to_answer"), flow(made, "random_to_answer")
    wins = (exact["saliency"] > random["saliency"]).to_numpy()
    draws = [bootstrap_weights(N, DRAWS, seed).astype(int) for seed in (0, 1)]
    weighted = [draw * exact["weight"].to_numpy() for draw in draws[0]]
    held(rows, "A5", "answers", [np.average(wins, weights=weight) for weight in weighted])
    ratios = []
    for own, other in zip(*draws, strict=True):  # answers of two models are drawn apart
        medians = [
            lower_quantile(expanded(one["saliency"], draw * one["weight"]), 0.5)
            for one, draw in ((exact, own), (flow(made, "question_to_answer", "smaller"), other))
        ]
        ratios.append(medians[0] / medians[1])
    held(rows, "A2", "to the answer", ratios)


def test_intervals_of_mink_are_those_of_resampled_questions(made, rows):
    def values(depth, model="own"):
        return np.array([value for _, value in sorted(by_depth(made, model)[depth].items())])

    medians = {depth: [np.median(values(depth)[draw]) for draw in indices(N, depth - 1)] for depth in (1, 2, 3)}
    held(rows, "B1", "D2 - D1", np.subtract(medians[2], medians[1]))
    held(rows, "B1", "D3 - D2", np.subtract(medians[3], medians[2]))
    taus = []
    for draw in zip(*(indices(N, seed) for seed in (0, 1, 2)), strict=True):
        drawn = [values(depth)[own] for depth, own in zip((1, 2, 3), draw, strict=True)]
        taus.append(stats.kendalltau(np.repeat([1, 2, 3], N), np.concatenate(drawn)).statistic)
    held(rows, "B1", "trend", taus)
    apart = values(2) - values(2, "smaller")
    held(rows, "B2", "D2", [np.median(apart[draw]) for draw in indices(N)])
    ranges = [stats.iqr(values(3)[draw]) - stats.iqr(values(3, "older")[draw]) for draw in indices(N)]
    held(rows, "B3", "D3", ranges)
    frame = made["own", "score_gap"]
    least, most = (frame.loc[frame["group"] == group, "gap"].to_numpy() for group in ("75%", "25%"))
    means = [least[a].mean() - most[b].mean() for a, b in zip(indices(len(least)), indices(len(most), 1), strict=True)]
    held(rows, "B5", "groups", means)


def test_intervals_of_attention_are_those_of_resampled_prompts(made, rows):
    arrays = made["own", "attention"]
    spanned, plain = averages(arrays, "with"), averages(arrays, "without")
    question = np.array([one[14:26].mean(0).sum() for one in spanned])
    without = np.array([one[8:20].mean(0).sum() for one in plain])
    inside = np.array([one[8:14].mean(0).sum() for one in spanned])
    behind = np.array([one[14:24].mean(0).sum() for one in spanned])
    around = np.array([(one[1:8].mean(0).sum() + one[14:24].mean(0).sum()) / 2 for one in spanned])
    draws = [np.repeat(np.arange(N), draw.astype(int)) for draw in bootstrap_weights(N, DRAWS, 0)]
    held(rows, "D1", "all heads", [question[draw].sum() / without[draw].sum() - 1 for draw in draws])
    held(rows, "D2", "all heads", [inside[draw].sum() / around[draw].sum() for draw in draws])
    held(rows, "D3", "all heads", [behind[draw].sum() / inside[draw].sum() for draw in draws])


def test_intervals_of_ships_are_those_of_resampled_prompts(made, rows):
    first, second = (
        made["own", "safety_resamples"][name][:, 0].astype(float) for name in planted.READ["safety_heads"]["ablations"]
    )
    other = made["sibling", "safety_resamples"]["scaling"][:, 0].astype(float)
    tenth = [sorted(a)[-10] / sorted(b)[-10] for a, b in zip(first, second, strict=True)]
    held(rows, "E1", "tenth strongest", tenth)
    held(rows, "E3", "undifferentiated", [sum(sorted(one)[-2:]) / one.sum() for one in first])
    shared = [
        len({*np.argsort(-a)[:10].tolist()} & {*np.argsort(-b)[:10].tolist()}) / 10
        for a, b in zip(second, other, strict=True)
    ]
    held(rows, "E5", "scaling", shared)


def test_intervals_of_shares_are_wilsons(made, rows):
    gaps = made["own", "score_gap"]["gap"].abs()
    low, high = stats.binomtest(int((gaps <= 0.25).sum()), len(gaps)).proportion_ci(0.95, method="wilson")
    assert (rows.loc[("B4", "gaps"), "low"], rows.loc[("B4", "gaps"), "high"]) == pytest.approx((low, high))
    heads = [layer for layer, names in labelled(made) if "Knowledge" in names]
    found = stats.binomtest(sum(layer >= 4 for layer in heads), len(heads), 8 / 12)
    row = rows.loc["C2", "heads"]
    assert row["low"] == pytest.approx(found.proportion_ci(0.95, method="wilson").low - 8 / 12)
    assert row["p"] == pytest.approx(found.pvalue)


# --------------------------------------------------------------------------------------------------------- statistics
def test_weighted_quantile_of_many_replicates():
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=20), rng.integers(0, 4, (50, 20)).astype(float)
    for share_ in (0.1, 0.25, 0.5, 0.995):
        expected = [lower_quantile(expanded(values, row), share_) for row in weights]
        np.testing.assert_array_equal(weighted_quantile(values, weights, share_), expected)


def test_weighted_mode_is_the_place_of_the_highest_density():
    rng = np.random.default_rng(2)
    values, own = rng.gamma(3, 1, 40), rng.integers(1, 4, 40).astype(float)
    weights = bootstrap_weights(40, 5, 0) * own
    width = math.sqrt(np.cov(values, aweights=own)) * (own.sum() ** 2 / (own**2).sum()) ** -0.2
    places = np.linspace(0, lower_quantile(expanded(values, own), 0.995), 500)
    for row, mode in zip(weights, weighted_mode(values, weights, own), strict=True):
        density = [
            sum(w * stats.norm.pdf(place, v, width) for w, v in zip(row, values, strict=True)) for place in places
        ]
        assert mode == places[int(np.argmax(density))]
    assert weighted_mode(np.ones(4), np.ones((3, 4)), np.ones(4)).tolist() == [1, 1, 1]


def test_mover_of_wilson_intervals_is_newcombes():
    """The example of Newcombe 1998 (method 10): 56 of 70 and 48 of 80."""
    rates = []
    for k, n in ((56, 70), (48, 80)):
        low, high = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
        rates.append((k / n, low, high))
    difference, low, high = mover(*rates)
    assert (round(difference, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)
