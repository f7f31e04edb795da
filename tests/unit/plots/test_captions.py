"""Every number of a caption and of the texts in a figure is recomputed from the tables, and none is left unchecked.

The tables are made up so that every branch speaks: models that refuse, several draws, models that differ in all counts,
heads without a drop, one question in a group, a probe that could not be trained, an analysis that leaves out a model.
"""

import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from made_figures import configuration, drawn, figures
from made_tables import tables_of

LABELS = ["Alpha", "Beta", "Gamma"]
MODELS = {f"m{number}": label for number, label in enumerate(LABELS)}
OVER = "analyses: {heads: {top: 5}, head_categories: {permutations: 100}}"


@pytest.fixture(scope="module")
def made():
    config = configuration(LABELS, OVER)
    return config, *tables_of(config)


@pytest.fixture(autouse=True)
def closed():
    """matplotlib keeps every figure until it is closed."""
    yield
    plt.close("all")


def check(text, expected, constant=()):
    """Every expected phrase is there, and nothing else in `text` holds a digit."""
    for phrase in [*expected, *constant]:
        assert phrase in text, f"{phrase!r} is not in {text!r}"
        text = text.replace(phrase, "~")
    assert not re.search(r"\d", text), text


def draw(made, figure, change=None, **options):
    config, tables, documents = made
    plot, own = figures(config)[figure]
    return drawn(plot, {**own, **options}, tables | (change or {}), documents)


def texts(figure):
    """What is written in a figure, ticks apart, each on one line."""
    found = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    found += [text for legend in legends for text in (*legend.get_texts(), legend.get_title())]
    return [" ".join(text.get_text().split()) for text in found]


def of(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def test_safety_effect(made):
    effect = made[1]["ablation_effect"]
    groups = made[1]["head_groups"]
    figure, caption = draw(made, "safety_effect")
    expected, notes = [], []
    for model, label in MODELS.items():
        # Before anything is ablated every draw gives the same answers, so the share of all answers is that of prompts.
        before = of(effect, model=model, heads_ablated=0)
        prompts = before["prompts"].iloc[0]
        refused = round((before["refused"].sum() / (before["prompts"] * before["draws"]).sum()) * prompts)
        expected.append(f"{prompts} prompts ({label})")
        if refused:
            expected.append(f"{label} refuses {refused} of {prompts} prompts with all heads in place.")
        else:
            notes.append(f"this model refuses none of the {prompts} prompts with all heads in place: nothing to lose")
            assert f"{label} refuses none of the prompts" in caption
        for ablation, rows in of(groups, model=model).groupby("ablation"):
            rows = rows.sort_values("step")
            heads = " + ".join(f"({layer}, {head})" for layer, head in zip(rows["layer"], rows["head"], strict=True))
            expected.append(
                f"Greedy group among the {rows['candidates'].max()} strongest heads of {label}, {ablation}: {heads}, "
                f"{rows['ships_degrees'].iloc[-1]:.2f} degrees."
            )
    assert len(notes) == 1
    draws = of(effect, selection="random")["draws"].unique()
    check(
        caption,
        [*expected, f"{draws.item()} draws", "3 phrases"],
        ["rank 1", "24 tokens", "95% Wilson"],
    )  # fmt: skip
    check(" / ".join(texts(figure)), notes[:1])


def test_safety_effect_where_one_of_sixteen_answers_less_is_a_refusal(made):
    """13 of 16 prompts with two draws: 26 of 32 answers."""
    effect = made[1]["ablation_effect"].query("model == 'm1'").assign(model="m0", prompts=16)
    zero = effect["heads_ablated"] == 0
    effect.loc[zero, "refused"] = 13 * effect.loc[zero, "draws"]
    for frame in (effect, effect.iloc[::-1], effect.sort_values("selection")):
        _, caption = draw(made, "safety_effect", {"ablation_effect": frame}, models=["m0"])
        assert "Alpha refuses 13 of 16 prompts with all heads in place." in caption
        assert "26" not in caption


def test_heads_that_rounding_could_swap_are_ringed_and_counted(made):
    """One by one: the heads shown that are no more than two errors above the strongest that is not shown."""
    table = of(made[1]["safety_heads"], rank=1, model="m1")
    figure, caption = draw(made, "safety_heads", models=["m1"], top=5)
    for axes, ablation in zip(figure.axes, ("undifferentiated", "scaling"), strict=False):
        own = of(table, ablation=ablation).sort_values("ships_degrees", ascending=False)
        shown, first_left_out = own.iloc[:5], own["ships_degrees"].iloc[5]
        ringed = {
            (row.layer, row.head)
            for row in shown.itertuples()
            if row.ships_degrees - first_left_out <= 2 * row.error_degrees
        }
        assert 0 < len(ringed) < 5
        rings = {tuple(place) for place in axes.collections[-1].get_offsets()}
        assert rings == ringed
        assert (
            f"and {len(ringed)} of those shown (ringed)"
            in caption.partition(f"no order; {ablation}: ")[2].partition(" be one")[0]
        )
    _, caption = draw(made, "safety_heads", models=["m0"], top=5)
    assert "ringed" not in caption


def test_safety_heads(made):
    table = of(made[1]["safety_heads"], rank=1)
    figure, caption = draw(made, "safety_heads", top=30)
    expected = []
    for model, label in MODELS.items():
        own = of(table, model=model)
        strongest = []
        for ablation in ("undifferentiated", "scaling"):
            row = of(own, ablation=ablation).nlargest(1, "ships_degrees").iloc[0]
            strongest.append(
                f"{ablation} ({row.layer}, {row['head']}) {row.ships_degrees:.2f} "
                f"[{row.ships_low:.2f}, {row.ships_high:.2f}]"
            )
        prompts, dropped = own["queries"].unique().item(), own["queries_dropped"].unique().item()
        heads = len(own[["layer", "head"]].drop_duplicates())
        expected.append(
            f"{label}: {prompts} prompts ({dropped} dropped); strongest (layer, head) {'; '.join(strongest)}. "
            f"It has only {heads} heads."
        )
    for ablation in ("undifferentiated", "scaling"):  # the second model's are in bfloat16, with an error
        own = of(table, model="m1", ablation=ablation)
        error = own["error_degrees"].iloc[0]
        tied = sum(abs(own["ships_degrees"].max() - own["ships_degrees"]) <= 2 * error) - 1
        expected += [f"{error:.2g} ({ablation})", f"{ablation}: {tied} more could"]
    check(
        caption,
        expected,
        ["Computed in float32.", "Computed in bfloat16: against float32", "0 of those shown",
         "Computed in float16; its error was not measured, as the model does not fit in float32.",
         "The 30 heads of each", "leading 1-dimensional", "times 1e-05",
         "95% bootstrap intervals over prompts (1000 draws)", "count from 0", "begins at 0"],
    )  # fmt: skip
    check(" / ".join(texts(figure)), ["Top 30"])
    limits = {
        image.get_clim()[0] for axes in figure.axes for image in axes.collections if image.get_array() is not None
    }
    assert 0 in limits


def test_sink_rates(made):
    rates = made[1]["sink_rates"]
    figure, caption = draw(made, "sink_rates")
    check(caption, ["epsilon = 0.3", "95% bootstrap", "64 sequences of 64 tokens", "count from 0"])
    found = " / ".join(texts(figure))
    whole = [
        f"{kind} {100 * of(rates, model=model, input=kind).dropna(subset='layer')['rate'].mean():.1f} %"
        for model in MODELS
        for kind in ("natural", "random", "repeated")
    ]
    check(found, dict.fromkeys(whole), [r"Sink$_0^{\epsilon=0.3}$", r"$\alpha_0$"])


def test_sink_rates_name_the_kinds_of_input_that_there_are(made):
    only = {name: of(made[1][name], input="random") for name in ("sinks", "sink_rates")}
    _, caption = draw(made, "sink_rates", only)
    assert "Input: random token ids." in caption
    assert "atural text" not in caption


def test_attention_sinks(made):
    effect, weights = made[1]["meaningless_effect"], made[1]["attention_weights"]
    figure, caption = draw(made, "attention_sinks", heads={"auto": 5, "layer": 0})
    expected, hidden = [], []
    for model, label in MODELS.items():
        own = of(effect, model=model, layer=0).sort_values("effect").head(5)
        heads = ", ".join(f"({layer}, {head})" for layer, head in zip(own["layer"], own["head"], strict=True))
        counts = own["prompts"].unique().item(), own["prompts_dropped"].unique().item()
        expected.append(f"{label}: {counts[0]} prompts ({counts[1]} dropped), heads (layer, head; 0-based) {heads}.")
        expected.append(f"{label} has only {len(own)} there.")
        fall = (own["effect"] < 0).sum()
        if fall < len(own):
            expected.append(f"In {label} attention falls in {fall or 'none'} of these {len(own)}.")
        first = of(weights, model=model, layer=0, position=0)
        hidden += [label] if (first["weight"] > 0.3).any() else []
    assert 0 < len(hidden) < 3
    assert sum("attention falls in none" in phrase for phrase in expected) == 1
    check(
        caption,
        [*expected, f"(rule: mean weight above 0.3 in a head shown): {', '.join(hidden)}."],
        ["55 x '/'", "the 5 of layer 0 (0-based)", "95% Student-t", "cut at 0", "fewer than 10 prompts"],
    )  # fmt: skip
    titles = [f"{label} Layer 1 Head {head + 1}" for label in LABELS for head in range(4)]
    check(" / ".join(texts(figure)), titles)
    for axes in figure.axes:
        for band in axes.collections:
            assert band.get_paths()[0].vertices[:, 1].min() >= 0  # no weight is below 0


@pytest.mark.parametrize(
    ("figure", "significance"), [("head_categories", "tau"), ("head_categories_null", "tau_and_null")]
)
def test_head_categories(made, figure, significance):
    table = of(made[1]["head_categories"], significance=significance)
    _, caption = draw(made, figure)
    constant = ["tau = 0.15", "k = 10", "above layer 0"]
    if significance != "tau":
        constant += ["q < 0.05", "100 permutations", *_too_few(made)]
    check(caption, _categories(made, table), constant)


def test_category_share(made):
    _, caption = draw(made, "category_share")
    expected = _categories(made, of(made[1]["head_categories"], significance="tau"))
    check(
        caption, [*expected, *_too_few(made)], ["tau = 0.15", "k = 10", "above layer 0", "q < 0.05", "100 permutations"]
    )


def _categories(made, table):
    pairs = made[1]["relation_pairs"]
    some = [
        f"{relation} ({', '.join(MODELS[model] for model in rows.loc[rows['kept'] >= 30, 'model'])})"
        for relation, rows in pairs.groupby("relation", sort=False)
        if 0 < sum(rows["kept"] >= 30) < 3
    ]
    assert some
    found = [f"only some on: {', '.join(some)}."]
    for model, label in MODELS.items():
        report, own = of(made[1]["relation_pairs"], model=model), of(table, model=model)
        used = report[report["kept"] >= 30]
        dropped = ", ".join(report.loc[report["kept"] < 30, "relation"])
        labelled = sum(own["label"] != "Unclassified") / len(own)
        found.append(
            f"{label}: {len(used)} of {len(report)} relations (dropped: {dropped or 'none'}), "
            f"{used['scored'].sum()} of {report['given'].sum()} pairs, {len(own)} heads, {labelled:.0%} labelled."
        )
    return found


def _too_few(made):
    """24 heads and 100 permutations: a head alone has q = 24 / 101 at best."""
    assert made[1]["head_categories"]["warning"].nunique() == 2
    return [f"Too few permutations for {label}: one head among 24 has q = {24 / 101:.2g} at best." for label in LABELS]


@pytest.mark.parametrize("average", ["question", "graph"])
@pytest.mark.parametrize("measure", ["mink", "minkpp"])
def test_mink_depth(made, average, measure):
    tables = made[1]
    figure, caption = draw(made, "mink_depth", average=average, measure=measure)
    frame = tables["mink" if average == "question" else "mink_graphs"]
    suffix = "_pp" if measure == "minkpp" else ""
    expected, legend = [], []
    for model, label in MODELS.items():
        own, trend = of(frame, model=model, k_percent=20.0), of(tables["mink_trend"], model=model, k_percent=20.0)
        counts = ", ".join(f"{sum(own['depth'] == depth)} at depth {depth}" for depth in (1, 2, 3))
        tau, p = trend[f"trend_tau{suffix}"].unique().item(), trend[f"trend_p{suffix}"].iloc[0]
        told = "n/a" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
        short = 2 + int(model[1])
        assert trend["dropped"].unique().item() == short + 1
        expected.append(
            f"{label}: {counts} ({short} texts dropped as too short, 1 longer than max_tokens); trend over depths "
            f"tau = {tau:.2f}, p = {told} ("
        )
        gaps = of(tables["score_gap"], model=model)
        lost = "3 no score" + (f", {model[1]} no Min-K%" if model[1] != "0" else "")
        expected.append(f"{label}: {len(gaps)} D3 questions ({lost}).")
        legend += [f"{group} (n = {sum(gaps['group'] == group)})" for group in ("25%", "75%")]
    check(
        caption,
        expected,
        ["1 conceptual, 2 procedural, 3 strategic", "K = 20", "to 1.5 times", "float32 (Alpha, Gamma), bfloat16 (Beta)",
         "D3 question minus the mean of its D2 predecessors, divided by 4", "25 % quantile", "75 % quantile of D3",
         "1 + 4 x ROUGE-L F1", "to 24 D3 questions drawn with seed 0", "48/96/160 tokens at depth 1/2/3"],
    )  # fmt: skip
    check(" / ".join(texts(figure)), dict.fromkeys(legend), ["D3 - D2"])


def test_groups_without_a_density_have_no_axis_of_densities(made):
    figure, _ = draw(made, "mink_depth")
    lower = [axes for axes in figure.axes if axes.get_xlabel().startswith("Score Gap")]
    assert [axes.get_ylabel() for axes in lower] == ["Density", "Density", ""]
    assert len(lower[2].get_yticks()) == 0
    for axes in lower:
        assert all(tick >= 0 for tick in axes.get_yticks() if tick >= axes.get_ylim()[0])


def test_saliency_density(made):
    tables = made[1]
    _, caption = draw(made, "saliency_density", xlim={"m1": [0, 9]})
    expected = _answers(made, tables["saliency"])
    ends = []
    for model, label in MODELS.items():
        own = of(tables["saliency"], model=model, loss="probe_bce")
        own = own[own["flow"].isin(["question_to_answer", "question_to_all"])]
        weight = own["weight"] / own.groupby(["dataset", "flow"])["weight"].transform("sum")
        order = own["saliency"].sort_values()
        end = order[weight[order.index].cumsum() >= 0.995 * weight.sum() - 1e-12].iloc[0]
        ends += [] if model == "m1" else [f"{end:.2g} ({label})"]
        for dataset, name in (("triviaqa", "TriviaQA"), ("nq", "Natural Questions")):
            one = of(tables["probe_auroc"], model=model, dataset=dataset).dropna(subset="auroc").nlargest(1, "auroc")
            for row in one.itertuples():
                expected.append(
                    f"Probe of {label} on {name}: hidden state {row.layer}, AUROC {row.auroc:.2f}, nested "
                    f"{row.nested_auroc:.2f} ({row.nested_low:.2f} to {row.nested_high:.2f})."
                )
            for row in (
                of(tables["saliency_mixture"], model=model, dataset=dataset).dropna(subset="separation").itertuples()
            ):
                lost = row.draws - row.draws_used
                told = f", {lost} of {row.draws} bootstrap draws left out: no fit" if lost else ""
                expected.append(
                    f"{row.separation:.1f} [{row.separation_low:.1f}, {row.separation_high:.1f}], dip p = "
                    f"{row.dip_p:.2f} ({label}, {name}, {row.group}{told})"
                )
    check(
        caption,
        [*expected, f"99.5 % quantile: {', '.join(ends)}."],
        ["Luo et al. 2026", "cut at 0", "above 2 they stand"],
    )  # fmt: skip
    assert "Gamma, Natural Questions: not shown, no probe could be trained." in caption


def test_a_curve_of_one_value_is_said(made):
    table = made[1]["saliency"].copy()
    table.loc[(table["model"] == "m0") & (table["dataset"] == "nq"), "saliency"] = 1.0
    _, caption = draw(made, "saliency_density", {"saliency": table})
    assert (
        "no two different values: Alpha, Natural Questions, question_to_all; Alpha, Natural Questions, question_to_an"
        in caption
    )
    assert "No curve" not in draw(made, "saliency_density")[1]


def _answers(made, table):
    found = []
    for model, label in MODELS.items():
        for dataset, name in (("triviaqa", "TriviaQA"), ("nq", "Natural Questions")):
            own = of(table, model=model, dataset=dataset, loss="probe_bce").drop_duplicates("sample")
            if own.empty:
                continue
            right, wrong = own[own["correct"]], own[~own["correct"]]
            ways = own["answer_strategy"].value_counts()
            found.append(
                f"{label}, {name}: n = {len(right)} right and {len(wrong)} wrong answers, which stand for "
                f"{right['weight'].sum():.0f} and {wrong['weight'].sum():.0f} (sampling weights are used); exact "
                f"tokens: question content_words {len(own)}, answer "
                f"{'/'.join(f'{way} {count}' for way, count in sorted(ways.items(), key=lambda pair: -pair[1]))}."
            )
    return found


def test_saliency_by_layer(made):
    _, caption = draw(made, "saliency_by_layer")
    check(caption, _answers(made, made[1]["saliency_layers"]), ["Luo et al. 2026", "95% intervals", "count from 0"])


def test_probe_auroc(made):
    table = made[1]["probe_auroc"]
    figure, caption = draw(made, "probe_auroc")
    expected, legend = [], []
    for dataset, name in (("triviaqa", "TriviaQA"), ("nq", "Natural Questions")):
        own = [(label, of(table, model=model, dataset=dataset).iloc[0]) for model, label in MODELS.items()]
        each = ", ".join(f"{row['correct']} right and {row['wrong']} wrong answers ({label})" for label, row in own)
        expected.append(f"{name}: n = {each}.")
        legend += [f"{label} (nested {row['nested_auroc']:.2f})" for label, row in own if row["nested_auroc"] > 0]
    check(caption, expected, ["C = 1", "the 5 stratified", "95% interval"])
    check(" / ".join(texts(figure)), dict.fromkeys(legend), ["(0: embedding)"])


def test_head_overlap(made):
    table, heads = made[1]["head_overlap"], made[1]["heads"]
    figure, caption = draw(made, "head_overlap")
    expected = []
    for model, label in MODELS.items():
        own = of(table, model=model)
        there = own.dropna(subset="rho")
        expected.append(
            f"{label}: {len(of(heads, model=model))} heads, {sum(there['q'] < 0.05)} of {len(there)} pairs significant "
            f"over all heads, {sum(there['within_q'] < 0.05)} of {len(there)} within layers."
        )
    assert (
        len({re.search(r"of (\d+) pairs", phrase)[1] for phrase in expected}) == 2
    )  # a model without Ships has fewer pairs
    check(caption, expected, ["95% bootstrap", "(2000 draws)", "the top 5 of", "central 95%", "q < 0.05"])
    check(" / ".join(texts(figure)), ["both top 5"], ["q ≥ 0.05", "95% of chance"])


def test_costs(made):
    _, caption = draw(made, "costs", models=["m0", "m2"])
    table = made[1]["costs"]
    check(caption, [f"n = {table.loc[table['model'] != 'm1', 'jobs'].sum()} jobs"], ["manifest.sha256"])


def test_explorer(made):
    _, caption = draw(made, "explorer", curves=7)
    check(
        caption,
        ["Beta: Ships, undiff., Ships, scaling."],
        ["its 5 strongest", "7 heads per model", "at least 10 prompts", "float32"],
    )
    weights = made[1]["attention_weights"].assign(prompts=4)
    _, caption = draw(made, "explorer", {"attention_weights": weights})
    assert "positions that at least 4 prompts reach" in caption


def test_options_that_differ_between_models_are_told_by_model(made):
    config, tables, documents = made
    changed = {name: {file: dict(document) for file, document in files.items()} for name, files in documents.items()}
    for name, group, option, value in (
        ("sink_rates", "metric_options", "confidence", 0.8),
        ("ablation_effect", "options", "new_tokens", 7),
        ("head_categories", "metric_options", "tau", 0.25),
        ("attention_weights", "options", "template", "chat"),
        ("mink_trend", "options", "template", "raw"),
    ):
        for file, document in changed[name].items():
            if "/m1/" in file:
                document[group] = {**document[group], option: value}
    for figure, phrase in (
        ("sink_rates", "95% (Alpha, Gamma), 80% (Beta) bootstrap"),
        ("safety_effect", "answers of 24 (Alpha, Gamma), 7 (Beta) tokens"),
        ("head_categories", "tau = 0.15 in either sign (Alpha, Gamma), score above tau = 0.25 in either sign (Beta)"),
        ("attention_sinks", "raw prompt (Alpha, Gamma), 55 x '/', inserted as ids, chat prompt (Beta)"),
        ("mink_depth", "chat (Alpha, Gamma), raw (Beta) format"),
    ):
        plot, own = figures(config)[figure]
        assert phrase in drawn(plot, own, tables, changed)[1], figure
