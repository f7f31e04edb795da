"""Every number of a caption and of the texts in a figure is recomputed from the tables, and none is left unchecked.

The tables are made up so that every branch speaks: models that refuse, several draws, models that differ in all counts,
heads without a drop, one question in a group, a probe that could not be trained, an analysis that leaves out a model.
"""

import copy
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import caption_numbers as numbers
from atlas.errors import AtlasError
from atlas.percent import percent
from caption_numbers import check, of
from made_figures import configuration, drawn, figures
from made_tables import tables_of

LABELS = ["Alpha", "Beta", "Gamma"]
MODELS = {f"m{number}": label for number, label in enumerate(LABELS)}
DATASETS = {"triviaqa": "TriviaQA", "nq": "Natural Questions"}
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


def test_prompt_heads(made):
    """The bars are the strongest heads of the first prompt that all models were given, or of the one asked for."""
    queries = made[1]["safety_queries"]
    for prompt, shown in ((None, "p1"), ("p2", "p2")):
        figure, caption = draw(made, "prompt_heads", prompt=prompt, top=4)
        for axes, (model, ablation) in zip(
            figure.axes, ((m, a) for m in MODELS for a in ("undifferentiated", "scaling")), strict=True
        ):
            own = of(queries, model=model, ablation=ablation, query=shown, dataset="harmbench").nlargest(4, "kl")
            assert [bar.get_width() for bar in axes.patches] == own["kl"].tolist()
            ticks = [text.get_text() for text in axes.get_yticklabels()]
            assert ticks == [f"({row.layer}, {row.head})" for row in own.itertuples()]
            best = own.iloc[0]
            assert f"{MODELS[model]}, {ablation}: ({best['layer']}, {best['head']}) {best['kl']:.3g}." in caption
        assert f"after the prompt {shown} most" in caption
        assert "undifferentiated: uniform attention (exact limit); scaling: head output times 1e-05. One" in caption
        assert "It has only" not in caption
    assert draw(made, "prompt_heads", top=25)[1].count("It has only 24 heads.") == 2 * len(MODELS)
    assert "not given this prompt" in " ".join(text for text in texts(draw(made, "prompt_heads", prompt="p0")[0]))
    with pytest.raises(AtlasError, match=r"has no prompt 'pp1' that a model was given; did you mean 'p1'"):
        draw(made, "prompt_heads", prompt="pp1")


def test_safety_effect(made):
    figure, caption = draw(made, "safety_effect")
    expected, notes = numbers.safety_effect(made[1], MODELS)
    assert len(notes) == 1
    check(caption, [*expected, "3 phrases"], ["rank 1", "24 tokens", "95% Wilson"])
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
    figure, caption = draw(made, "safety_heads", top=30)
    table = of(made[1]["safety_heads"], rank=1)
    expected = numbers.safety_heads(made[1], MODELS, top=30)
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
    figure, caption = draw(made, "sink_rates")
    check(caption, ["epsilon = 0.3", "95% bootstrap", "64 sequences of 64 tokens", "count from 0"])
    found = " / ".join(texts(figure))
    check(found, numbers.sink_rates(made[1], MODELS), [r"Sink$_0^{\epsilon=0.3}$", r"$\alpha_0$"])


def test_sink_rates_name_the_kinds_of_input_that_there_are(made):
    only = {name: of(made[1][name], input="random") for name in ("sinks", "sink_rates")}
    _, caption = draw(made, "sink_rates", only)
    assert "Input: random token ids." in caption
    assert "atural text" not in caption


def test_attention_sinks(made):
    figure, caption = draw(made, "attention_sinks", heads={"auto": 5, "layer": 0})
    expected, hidden = numbers.attention_sinks(made[1], MODELS, heads=5, layer=0)
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
    check(caption, numbers.categories(made[1], MODELS, table, minimum=30), constant)


def test_category_share(made):
    _, caption = draw(made, "category_share")
    expected = numbers.categories(made[1], MODELS, of(made[1]["head_categories"], significance="tau"), minimum=30)
    check(
        caption, [*expected, *_too_few(made)], ["tau = 0.15", "k = 10", "above layer 0", "q < 0.05", "100 permutations"]
    )


def test_relation_map(made):
    """Every head's phi stands where the table says; the relation is the one asked for, or the highest."""
    scores = made[1]["head_relations"]
    for relation in (None, "linguistic_1"):
        figure, caption = draw(made, "relation_map", relation=relation)
        own = relation or of(scores, model="m0").sort_values("score")["relation"].iloc[-1]
        shown = of(scores, relation=own)
        panels = [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]
        assert len(panels) == shown.groupby(["model", "sign"]).ngroups
        for (model, sign), panel in zip(
            ((model, sign) for model in MODELS for sign in ("direct", "suppression")), panels, strict=True
        ):
            for row in of(shown, model=model, sign=sign).itertuples():
                assert panel[row.head, row.layer] == row.score
            best = of(shown, model=model)["score"].max()
            assert f"{MODELS[model]}: {row.pairs} pairs, k = 10, highest {best:.2f} in head" in caption
        assert "the relation; embeddings pass the first MLP above layer 0: yes. Data" in caption
    changed = scores.assign(score=scores["score"].where(scores["relation"] != "linguistic_1", 0.0))
    changed.loc[(changed["relation"] == "linguistic_1") & (changed["sign"] == "suppression"), "score"] = 1.0
    for signs, shown in ((["suppression"], True), (["direct"], False)):  # what is not shown does not choose
        _, caption = draw(made, "relation_map", {"head_relations": changed}, relation=None, signs=signs)
        assert ("Share of the pairs of linguistic_1 " in caption) is shown
    with pytest.raises(AtlasError, match="no relation 'linguistik_1'; did you mean 'linguistic_1'"):
        draw(made, "relation_map", relation="linguistik_1")


def test_relation_effect(made):
    """Every relation with heads has a row, with as many bars as selections; one model has none."""
    figure, caption = draw(made, "relation_effect")
    expected, rows = numbers.relation_effect(made[1], MODELS, 0.1)
    examples = "in place of {examples} 3 pairs as {source}-> {target};. Data"
    check(caption, expected, ["tau = 0.15", "95%", "30 prompts", "3 draws", "less than 10%", examples])
    assert f"Prompts: {{examples}} {{source}}->; {examples}" in caption
    ticks = [" ".join(text.get_text().split()) for axes in figure.axes for text in axes.get_yticklabels()]
    assert sorted(text for text in ticks if text) == sorted(rows)
    assert "no head implements any relation" in texts(figure)
    effect = of(made[1]["relation_effect"], heads_set="implementing")
    shown = sorted(
        float(line.get_xdata()[0]) for axes in figure.axes for line in axes.lines if line.get_marker() in "osD"
    )
    assert np.allclose(shown, sorted(effect["drop"]))
    assert draw(made, "relation_effect", heads=10)[1].count("the 10 heads with the highest phi") == 1


def test_relation_dynamic(made):
    """Every head and relation is a mark at its two scores; every correlation stands in its relation's line."""
    figure, caption = draw(made, "relation_dynamic")
    check(
        caption,
        numbers.relation_dynamic(made[1], MODELS),
        [
            "95%",
            "15 pairs of a relation in 4 prompts each (No {source} means no / ",
            "Of Gamma 5 of 6 layers",
            "k = 10",
        ],
    )
    assert "logits, k = 10 unless the relation has its own)" in caption
    documents = copy.deepcopy(made[2])
    for document in documents["relation_correlation"].values():
        document["options"]["templates"] = ["{examples}\n{source}->"]
    told = draw((*made[:2], documents), "relation_dynamic")[1]
    examples = "in place of {examples} 3 pairs as {source}-> {target};"
    assert f"a relation in 1 prompt ({{examples}} {{source}}->; {examples});" in told
    assert "/ When I think about {source} I think about); both scores" in caption
    assert "k largest logits" in caption
    assert "no correlation" in texts(figure)
    scores = of(made[1]["relation_dynamic"], sign="direct")
    lines = of(made[1]["relation_correlation"], sign="direct")
    grid = np.array(figure.axes[: 3 * len(MODELS)]).reshape(-1, 3)
    for row, model in zip(grid, MODELS, strict=True):
        for axes, context in zip(row, ("without", "with"), strict=False):
            own = of(scores, model=model, context=context)[["static", "dynamic"]]
            shown = np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == "o"])
            assert np.allclose(
                sorted(map(tuple, shown[~np.isnan(shown[:, 0])])), sorted(map(tuple, own.dropna().values))
            )
        names = [text.get_text() for text in row[2].get_yticklabels()]
        for context, marker in (("without", "o"), ("with", "s")):
            marks = [line for line in row[2].lines if line.get_marker() == marker]
            found = {names[round(y)]: x for line in marks for x, y in line.get_xydata()}
            known = of(lines, model=model, context=context).query("relation != '(mean)'").dropna(subset="correlation")
            assert found == dict(zip(known["relation"], known["correlation"], strict=True))
    assert "k smallest logits" in draw(made, "relation_dynamic", sign="suppression")[1]


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


def test_depth_prompts(made):
    figure, caption = draw(made, "depth_prompts")
    expected = []
    for model, label in MODELS.items():
        counts = ", ".join(f"{30 - 9 * depth - int(model[1])} at depth {depth}" for depth in (1, 2, 3))
        three = "; ".join(
            f"{name}: {counts}" for name in ("question alone", "behind gold answers", "behind own answers")
        )
        lost = f" ({model[1]} longer than the context (behind gold answers) left out)" if model != "m0" else ""
        expected.append(f"{label}: {three}{lost}.")
    constant = ["Questions of depth 1 build", "from 1 to 5", "reaches 4, over 4; by question", "95% bootstrap"]
    framed = "Greedy answers, template chat, of at most 48, 96 and 160 tokens at depth 1, 2 and 3."
    check(caption, expected, [*constant, framed])
    words = (
        "Answers to the question alone, and behind the questions that it builds on with their gold answers, and behind"
    )
    assert caption.startswith(words)
    alone = {name: of(made[1][name], prompt="zero_shot") for name in ("depth_accuracy", "discrepancy")}
    assert draw(made, "depth_prompts", alone)[1].startswith("Answers to the question alone. Upper row: mean")
    documents = copy.deepcopy(made[2])
    for document in documents["depth_accuracy"].values():
        document["options"]["system"] = "Be brief."
    assert "template chat, system message 'Be brief.', of at" in draw((*made[:2], documents), "depth_prompts")[1]
    for document in documents["depth_accuracy"].values():
        document["options"] = {}  # scores that came with the data set
    assert "Greedy" not in draw((*made[:2], documents), "depth_prompts")[1]
    assert "no question counts" in texts(figure)
    figure, caption = draw(made, "depth_prompts", models=[])
    assert caption.startswith("No model answers the questions of question graphs")


@pytest.mark.parametrize("measures", [None, ["minkpp", "length"]])
def test_membership_roc(made, measures):
    figure, caption = draw(made, "membership_roc", measures=measures)
    table = made[1]["membership"]
    table = table[table["k_percent"].isna() | (table["k_percent"] == 20)]
    name, first = ("Min-20%++", "minkpp") if measures else ("Min-20%", "mink")
    expected, legend = ["Min-20%++: the mean", *(["Min-20%: the mean"] if measures is None else [])], []
    for model, label in MODELS.items():
        row = of(table, model=model, measure=first).iloc[0]
        expected.append(
            f"{label}: {10 + int(model[1])} members and {10 + int(model[1])} non-members, {1 + int(model[1])} too "
            f"short, 2 longer than max_tokens; {name} finds {row.tpr:.0%} [{row.tpr_low:.0%}, {row.tpr_high:.0%}] of"
        )
        own = of(table, model=model)
        legend += [
            f" {row.auroc:.2f} [{row.auroc_low:.2f}, {row.auroc_high:.2f}]"
            for row in own[own["measure"].isin(measures or own["measure"])].itertuples()
        ]
    constant = ["95% bootstrap", "float32 (Alpha, Gamma), bfloat16 (Beta)", "at most 5% of the non", "rate of 5%"]
    constant.append("of at most 2048 tokens with 5 or more to score")
    check(caption, expected, constant)
    # alone: what no model is asked for is named as such
    assert ("compression alone and length alone can" if measures is None else "What length alone can") in caption
    assert ("Reference model: none (Alpha), Alpha (Beta, Gamma)" in caption) == (measures is None)
    check(" / ".join(texts(figure)), dict.fromkeys(legend), ["Min-20%++", *(["Min-20%:"] if measures is None else [])])


@pytest.mark.parametrize(("flows", "scale"), [(None, "log"), (["S_pq"], "linear")])
def test_span_saliency(made, flows, scale):
    figure, caption = draw(made, "span_saliency", flows=flows, scale=scale)
    table, expected = made[1]["span_saliency"], []
    for number, (model, label) in enumerate(MODELS.items()):
        left_out = f", {number} left out (no span named label)" if number else ""
        pairs = []
        for flow in flows or ("S_wp", "S_pq", "S_ww"):
            row, control = (of(table, model=model, flow=flow, source=one).iloc[0] for one in ("marked", "random"))
            fewer = f" (in {row.prompts})" if row.prompts < 20 + number else ""
            if control.prompts != row.prompts:
                fewer = f" (in {row.prompts}, from random tokens in {control.prompts})"
            pairs.append(f"{flow} {row.pairs:.1f}{fewer}")
        expected.append(
            f"{label}: {20 + number} prompts{left_out}; pairs in each, on average: {', '.join(pairs)}; the answers' "
            f"mean loss is {row.nll:.2f}."
        )
    assert ("(in 20)" in caption) == ("(in 21, from random tokens in 20)" in caption) == (flows is None)
    check(
        caption,
        expected,
        ["Wang et al. 2023", "95% intervals", "count from 0", *(["what is 0"] if flows is None else [])],
    )
    assert {axes.get_yscale() for axes in figure.axes if axes.get_visible()} == {scale}
    assert ("S_wp, from all tokens of the prompt to the tokens marked label; S_pq" in caption) == (flows is None)
    legend = [r"$S_{wp}$", r"$S_{pq}$", r"$S_{ww}$"] if flows is None else [r"$S_{pq}$"]
    assert [text for text in texts(figure) if text in legend] == legend
    upper = figure.axes[0]
    assert len([line for line in upper.lines if len(line.get_xdata())]) == 2 * len(legend)
    for line, source in zip(upper.lines, ["marked", "random"] * len(legend), strict=False):
        flow = (flows or ["S_wp", "S_pq", "S_ww"])[upper.lines.index(line) // 2]
        own = of(table, model="m0", flow=flow, source=source).sort_values("layer")
        np.testing.assert_array_equal(line.get_ydata(), own["saliency"])


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
    expected = numbers.answers(tables["saliency"], MODELS, DATASETS)
    expected += numbers.probes(tables, MODELS, DATASETS) + numbers.mixtures(tables, MODELS, DATASETS)
    ends = numbers.ends(tables["saliency"], {model: label for model, label in MODELS.items() if model != "m1"})
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


def test_saliency_by_layer(made):
    _, caption = draw(made, "saliency_by_layer")
    check(
        caption,
        numbers.answers(made[1]["saliency_layers"], MODELS, DATASETS),
        ["Luo et al. 2026", "95% intervals", "count from 0"],
    )


def test_probe_auroc(made):
    figure, caption = draw(made, "probe_auroc")
    expected, legend = numbers.probe_auroc(made[1], MODELS, DATASETS)
    check(caption, expected, ["C = 1", "the 5 stratified", "95% interval"])
    check(" / ".join(texts(figure)), dict.fromkeys(legend), ["(0: embedding)"])


def test_head_overlap(made):
    figure, caption = draw(made, "head_overlap")
    expected = numbers.head_overlap(made[1], MODELS)
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


@pytest.mark.parametrize(("share", "told"), [(0.95, "95%"), (0.995, "99.5%"), (0.001, "0.1%"), (0.29, "29%")])
def test_shares_of_options_are_told_with_all_digits(share, told):
    assert percent(share) == told


def test_small_rates_of_false_positives_are_not_told_as_none(made):
    found = made[1]["membership"].assign(max_fpr=0.001)
    _, caption = draw(made, "membership_roc", {"membership": found})
    assert "Vertical line: a false positive rate of 0.1%." in caption
    assert caption.count("where at most 0.1% of the non-members") == found["model"].nunique()


def test_a_mean_correlation_without_an_interval_says_so(made):
    lines = made[1]["relation_correlation"]
    some = lines["relation"] == "(mean)"
    _, caption = draw(
        made, "relation_dynamic", {"relation_correlation": lines.assign(low=lines["low"].mask(some), high=np.nan)}
    )
    assert "(no interval) without context and" in caption
    assert "nan" not in caption


SOME = ["head_types", "head_overlap", "probe_auroc"]  # told by the provenance, by the analysis, by the figure


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_no_caption_rounds_the_confidence_of_its_intervals(made, every):
    """With 99.5 % in the options of the figure, in the table claims and in the provenance of all tables."""
    config, tables, documents = made
    changed = {
        table: {file: _with_confidence(document, 0.995) for file, document in files.items()}
        for table, files in documents.items()
    }
    claims = tables["claims"].assign(confidence=0.995)
    told = {}
    for figure, (plot, own) in figures(config).items():
        if plot != "explorer" and (every or figure in SOME):
            options = {**own, "confidence": 0.995} if "confidence" in own else own
            _, caption = drawn(plot, options, {**tables, "claims": claims}, changed)
            told[figure] = "99.5%" in caption
            assert not re.search(r"\b(100|99|95)% (\w+ )*interval", caption), figure
            plt.close("all")
    assert all(told[figure] for figure in SOME)
    assert sum(told.values()) > 12 or not every


def _with_confidence(document, confidence):
    metric = document.get("metric_options", {})
    return {**document, "metric_options": {**metric, "confidence": confidence}} if "confidence" in metric else document
