"""Hybrids: layers without attention have nulls in every table and figure, and change no number of the others.

The same arrays without those layers are the reference: each number must be that of a model that never had them.
"""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from atlas.analyses.claims.measured import NotApplicable
from atlas.analyses.head_categories import claims as category_claims
from atlas.analyses.head_categories import head_columns as category_columns
from atlas.analyses.head_categories import plot_category_share, plot_head_categories, plot_relation_map
from atlas.analyses.head_categories.metrics import blank_rows, categories_table, relation_scores
from atlas.analyses.head_types.metrics import types_table
from atlas.analyses.head_types.scores import TYPES
from atlas.analyses.heads.join import join_heads
from atlas.analyses.heads.overlap import overlap_table
from atlas.analyses.meaningless_tokens import claims as meaningless_claims
from atlas.analyses.meaningless_tokens.head_columns import MEASURES as MEANINGLESS
from atlas.analyses.meaningless_tokens.metrics import head_effects, weights_by_position
from atlas.analyses.meaningless_tokens.plot_attention_sinks import choose_heads
from atlas.analyses.meaningless_tokens.storage import CONDITIONS, SUMS
from atlas.analyses.registry import TABLES
from atlas.analyses.safety_heads import claims as safety_claims
from atlas.analyses.safety_heads.metrics import head_table, query_table, replicates_of
from atlas.analyses.safety_heads.ships import ranking
from atlas.analyses.saliency import head_columns as saliency_columns
from atlas.analyses.saliency import plot_saliency_by_layer, plot_span_saliency
from atlas.analyses.saliency.marked_prompts import named_flows
from atlas.analyses.saliency.metrics import tables as saliency_tables
from atlas.analyses.saliency.span_metrics import span_table
from atlas.analyses.saliency.storage import FLOWS
from atlas.analyses.sinks.head_columns import MEASURES as SINKS
from atlas.analyses.sinks.metrics import head_sinks, heads_table, rates_table, sink_rates
from atlas.analyses.sinks.plot_sink_rates import draw
from atlas.analyses.sinks.profile import sink_profile
from atlas.errors import AtlasError
from atlas.plots.captions import blank_layers
from atlas.results.tables import conform

DEPTH, HEADS, ATTENDING = 5, 4, [1, 3, 4]
KEYS = {"model": "m", "dataset": "d"}
OPTIONS = {"epsilon": 0.3, "confidence": 0.9, "bootstrap": 50, "seed": 1, "reading": "drop_columns"}
SHIPS = {"rank": [1], "ablations": ["scaling", "undifferentiated"], "confidence": 0.9, "bootstrap": 20, "seed": 0}


def spread(values, axis):
    """NaN for the layers without attention, `values` for the others."""
    found = np.full((*values.shape[:axis], DEPTH, *values.shape[axis + 1 :]), np.nan, np.float32)
    np.moveaxis(found, axis, 0)[ATTENDING] = np.moveaxis(values, axis, 0)
    return found


@pytest.fixture(scope="module")
def alpha():
    return np.random.default_rng(0).random((7, len(ATTENDING), HEADS, 6)).astype(np.float32)


def spans():
    """Stored column sums of three prompts, of the layers with attention alone."""
    rng, prompts = np.random.default_rng(1), 3
    counts = {"prefix": 12, "merged": 0, "span": 4, "question": 14, "suffix": 1}
    arrays = {name: np.full(prompts, count, np.int32) for name, count in counts.items()}
    arrays["prompt"] = np.arange(prompts, dtype=np.int32)
    arrays["span_mass"] = rng.random((prompts, len(ATTENDING), HEADS)).astype(np.float32)
    for condition, tokens in (("without", 27), ("with", 31)):
        arrays[f"{condition}.ids"] = rng.integers(5, 90, prompts * tokens).astype(np.int32)
        for name in SUMS[condition]:
            arrays[f"{condition}.{name}"] = rng.random((prompts * tokens, len(ATTENDING), HEADS)).astype(np.float32)
    return arrays


def spread_spans():
    sums = {"span_mass", *(f"{condition}.{name}" for condition in CONDITIONS for name in SUMS[condition])}
    return {name: spread(array, 1) if name in sums else array for name, array in spans().items()}


def ablations():
    """Stored effects of ablated heads, of the layers with attention as always, of a model of DEPTH layers."""
    rng, queries = np.random.default_rng(2), 8
    states = rng.normal(size=(queries, 20)) + 2
    arrays = {"layer": np.array(ATTENDING, np.int32), "depth": np.array(DEPTH), "clean.gram": states @ states.T}
    for kind in SHIPS["ablations"]:
        turned = states + rng.normal(size=(len(ATTENDING), HEADS, queries, 20))
        arrays[f"{kind}.gram"] = turned @ turned.swapaxes(-1, -2)
        arrays[f"{kind}.kl"] = rng.random((len(ATTENDING), HEADS, queries))
    return arrays


def same_but_blank(found, expected, keys, constant=()):
    """`found` has nulls in layers without attention and `expected`, whose layers count on, in the others."""
    expected = expected.assign(layer=expected["layer"].map(dict(enumerate(ATTENDING)), na_action="ignore"))
    blank = found[found["layer"].notna() & ~found["layer"].isin(ATTENDING)]
    values = [name for name in found if name not in (*keys, *constant)]
    assert len(blank) == len(found[found["layer"].isin(ATTENDING)]) * (DEPTH - len(ATTENDING)) / len(ATTENDING)
    assert blank[values].isna().all(axis=None)
    rest = found[~found.index.isin(blank.index)].set_index(keys)[values].astype(float).sort_index()
    wanted = expected.set_index(keys)[values].astype(float).sort_index()
    pd.testing.assert_frame_equal(rest, wanted, check_index_type=False, rtol=1e-5)


def test_sinks_of_heads(alpha):
    same_but_blank(head_sinks(spread(alpha, 1), 0.3, 0.9), head_sinks(alpha, 0.3, 0.9), ["layer", "head"])


def test_sink_rates_by_layer_and_over_those_with_attention(alpha):
    options = {"confidence": 0.9, "draws": 50, "seed": 1}
    found, expected = sink_rates(spread(alpha, 1), 0.3, **options), sink_rates(alpha, 0.3, **options)
    same_but_blank(found, expected, ["layer"])
    whole = found[found["layer"].isna()]["rate"].item()
    assert whole == pytest.approx((alpha[..., 0] > 0.3).mean())


def test_sink_profile_by_layer_and_over_those_with_attention(alpha):
    options = {"confidence": 0.9, "draws": 50, "seed": 1}
    found, expected = (sink_profile(values, [0, 3], 0.3, **options) for values in (spread(alpha, 1), alpha))
    same_but_blank(found, expected, ["position", "layer"])
    whole = found[found["layer"].isna() & (found["position"] == 3)]["rate"].item()
    assert whole == pytest.approx((alpha[..., 3] > 0.3).mean())


def test_head_types(alpha):
    def table(spread_or_not):
        arrays = {kind: spread_or_not(alpha[..., place]) for place, kind in enumerate(TYPES)}
        return types_table(arrays, KEYS, length=4, start=1, options=OPTIONS)

    constant = ("model", "dataset", "uniform", "sequences")
    same_but_blank(table(lambda a: spread(a, 1)), table(lambda a: a), ["layer", "head"], constant)


def test_effects_of_meaningless_tokens():
    options = {"confidence": 0.9, "draws": 50, "seed": 1}
    for reading in ("drop_columns", "drop_rows_and_columns", "renormalised"):
        found, expected = (head_effects(arrays, reading, **options) for arrays in (spread_spans(), spans()))
        same_but_blank(found, expected, ["layer", "head"])


def test_attention_by_position():
    found, expected = (weights_by_position(arrays, "drop_columns", 0.9) for arrays in (spread_spans(), spans()))
    keys = ["condition", "position", "layer", "head"]
    numbers = ["weight", "weight_low", "weight_high"]
    same_but_blank(found[[*keys, *numbers]], expected[[*keys, *numbers]], keys)
    assert set(found["prompts"]) == {3}


def test_tables_of_safety_heads():
    arrays = ablations()
    packed = {**arrays, "layer": np.arange(len(ATTENDING), dtype=np.int32), "depth": np.array(len(ATTENDING))}
    found, expected = (conform(head_table(each, KEYS, 0, SHIPS), TABLES["safety_heads"]) for each in (arrays, packed))
    constant = ["model", "dataset", "rank", "queries", "queries_dropped", "dtype"]
    same_but_blank(found, expected, ["ablation", "layer", "head"], constant)
    names = [f"p{i}" for i in range(8)]
    found, expected = (query_table(each, KEYS, names, SHIPS) for each in (arrays, packed))
    same_but_blank(found, expected, ["ablation", "layer", "head", "query"], ["model", "dataset"])
    assert set(ranking(arrays, SHIPS)["layer"]) == set(ATTENDING)  # what later runs ablate


def evidence(arrays):
    draws = {kind: drawn.astype(np.float32) for kind, drawn in replicates_of(arrays, SHIPS).items()}
    return SimpleNamespace(
        options=SHIPS, confidence=0.9, frame=lambda name, relative="": head_table(arrays, KEYS, 0, SHIPS),
        arrays=lambda name, relative="": draws,
    )  # fmt: skip


def test_claims_about_ships_leave_them_out_and_count_all_layers_for_what_is_low():
    arrays = ablations()
    frame, drawn = safety_claims.scores(evidence(arrays), "scaling")
    assert len(frame) == drawn.shape[1] == len(ATTENDING) * HEADS
    assert set(frame["depth"]) == {DEPTH}
    share = safety_claims.in_lower_layers(evidence(arrays))["scaling"].value
    strongest = frame.sort_values("ships_degrees", ascending=False).head(10)
    assert share == pytest.approx((strongest["layer"] < DEPTH / 3).mean())


def test_claims_about_spans_leave_them_out():
    own = {"confidence": 0.9, "draws": 30, "seed": 0, "repo": "a/b", "options": {"reading": "drop_columns"}}
    found, expected = (
        SimpleNamespace(**own, arrays=lambda name, arrays=arrays: arrays) for arrays in (spread_spans(), spans())
    )
    for measure in (
        meaningless_claims.little_inside,
        meaningless_claims.recovers,
        meaningless_claims.changes_attention,
    ):
        assert measure(found)["all heads"].value == pytest.approx(measure(expected)["all heads"].value)
        assert isinstance(measure(found)["first layer"], NotApplicable)  # the model's, which has none
        assert "no attention" in str(measure(found)["first layer"])


def joined():
    alpha = np.random.default_rng(0).random((7, len(ATTENDING), HEADS, 6)).astype(np.float32)
    sinks = heads_table({"natural.alpha": spread(alpha, 1)}, KEYS, OPTIONS).assign(bos=False)
    arrays = spread_spans()
    report = {"prompts": 3, "dropped": {}, "merged_tokens": 0}
    from atlas.analyses.meaningless_tokens.metrics import effect_table

    tables = {
        "sinks": {"sinks": conform(sinks, TABLES["sinks"])},
        "meaningless_tokens": {"meaningless_effect": effect_table(arrays, KEYS, report, OPTIONS)},
        "safety_heads": {"safety_heads": conform(head_table(ablations(), KEYS, 0, SHIPS), TABLES["safety_heads"])},
    }
    choice = {"models": ["m"], "datasets": dict.fromkeys(tables, "d"), "rank": 1, "loss": None}
    return join_heads(tables, choice, TABLES["heads"])


def test_the_joined_table_has_a_row_of_nulls_for_every_head_of_them():
    heads = joined()
    assert len(heads) == DEPTH * HEADS
    measured = ["alpha_natural", "sink_natural", "sink_rate_natural", "meaningless_effect", "span_mass",
                "ships_scaling", "kl_scaling", "position_scaling"]  # fmt: skip
    blank = heads[~heads["layer"].isin(ATTENDING)]
    assert len(blank) == (DEPTH - len(ATTENDING)) * HEADS
    assert blank[measured].isna().all(axis=None)
    assert heads[heads["layer"].isin(ATTENDING)][measured].notna().all(axis=None)
    overlap = overlap_table(
        heads, {"alpha_natural": SINKS["alpha_natural"], "span_mass": MEANINGLESS["span_mass"]}, top=3, draws=20,
        confidence=0.9, seed=0,
    )  # fmt: skip
    assert overlap["heads"].item() == len(ATTENDING) * HEADS


def test_the_figure_of_sinks_has_blank_cells_and_says_so(alpha):
    arrays = {"natural.alpha": spread(alpha, 1)}
    tables = {
        "sinks": heads_table(arrays, KEYS, OPTIONS).assign(bos=False),
        "sink_rates": rates_table(arrays, KEYS, {"natural": 0}, OPTIONS).assign(bos=False),
    }
    options = {"models": ["m"], "model_labels": {"m": "Model M"}, "dataset": "d", "dataset_label": "D", "width": 5,
               "title": "{label}", "xlim": None, "ylim": None, "xticks": None, "yticks": None}  # fmt: skip
    document = {"metric_options": {"confidence": 0.9}, "options": {"bos": False}}
    figure, caption = draw(tables, options, {"sink_rates": {"results/metrics/m/sink_rates/d.parquet": document}})
    curves, cells = figure.axes[:2]
    assert "Of Model M 3 of 5 layers have attention; the others are blank." in caption
    (line,) = curves.lines
    np.testing.assert_array_equal(line.get_xdata(), ATTENDING)
    assert line.get_marker() == "."
    shown = np.ma.filled(cells.images[0].get_array().astype(float), np.nan)
    np.testing.assert_array_equal(np.isnan(shown).all(0), [layer not in ATTENDING for layer in range(DEPTH)])
    plt.close("all")


def test_heads_of_a_layer_without_attention_are_not_shown():
    effects = head_effects(spread_spans(), "drop_columns", confidence=0.9, draws=5, seed=0).assign(model="m")
    assert {layer for layer, _ in choose_heads(effects, {"auto": 3, "layer": 0}, "m")} == {1}
    assert {layer for layer, _ in choose_heads(effects, {"auto": 30, "layer": None}, "m")} == set(ATTENDING)
    with pytest.raises(AtlasError, match="layer 2 of m has no attention; layers 1, 3, 4 have"):
        choose_heads(effects, [[2, 1]], "m")
    labels = {"models": ["m"], "model_labels": {"m": "M"}}
    assert blank_layers(effects, "weight_without", labels) == [
        "Of M 3 of 5 layers have attention; the others are blank."
    ]
    assert blank_layers(effects[effects["layer"].isin(ATTENDING)], "weight_without", labels) == []


PANELS = {"models": ["m"], "model_labels": {"m": "Model M"}, "dataset": "d", "dataset_label": "D", "width": 5,
          "title": "{label}", "xlim": None, "ylim": None, "xticks": None, "yticks": None}  # fmt: skip
SENTENCE = "Of Model M 3 of 5 layers have attention; the others are blank."


def ranks():
    """Ranks of 12 pairs of two relations under the heads of the layers with attention."""
    rng, pairs = np.random.default_rng(3), 12
    frame = pd.DataFrame({"relation": ["a"] * 6 + ["b"] * 6, "category": ["Knowledge"] * 6 + ["Linguistic"] * 6,
                          "source_id": range(pairs), "target_id": range(20, 20 + pairs)})  # fmt: skip
    arrays = {"layers": np.array(ATTENDING), "depth": np.array(DEPTH), "heads": np.arange(HEADS), "k_max": np.array(9)}
    hits = []
    for sign, name in ((1, "direct"), (-1, "suppression")):
        every = rng.integers(0, 30, (len(ATTENDING), HEADS, pairs))
        arrays[f"rank_{name}"] = every
        for layer, head, pair in zip(*np.nonzero(every < 9), strict=True):
            hits.append((ATTENDING[layer], head, sign, pair, 20 + pair, every[layer, head, pair]))
    columns = ("layer", "head", "sign", "pair", "target", "rank")
    arrays |= {f"hit_{name}": values for name, values in zip(columns, np.array(hits).T, strict=True)}
    return arrays, frame


@pytest.fixture(scope="module")
def categories():
    """head_relations and head_categories of a hybrid, with and without the rows of its other layers."""
    arrays, pairs = ranks()
    scores = relation_scores(arrays, pairs, {"a": 5, "b": 5}, draws=100)
    labels = categories_table(scores, tau=0.15, alpha=0.05, draws=100)
    named = {**KEYS, "first_state": "first_mlp"}
    short = {"head_relations": scores.assign(**KEYS), "head_categories": labels.assign(**named)}
    wide = blank_rows(scores, labels, DEPTH)
    full = {"head_relations": wide[0].assign(**KEYS), "head_categories": wide[1].assign(**named)}
    return {name: conform(frame, TABLES[name]) for name, frame in full.items()}, short


def test_tables_of_head_categories(categories):
    full, short = categories
    for name, keys in (("head_relations", ["relation", "sign"]), ("head_categories", ["significance"])):
        found, kept = full[name], short[name]
        about = [*keys, "layer", "head"]
        rest = found[found["layer"].isin(ATTENDING)].reset_index(drop=True)
        pd.testing.assert_frame_equal(rest, conform(kept, TABLES[name]))
        blank = found[~found["layer"].isin(ATTENDING)]
        assert len(found) == len(kept) * DEPTH / len(ATTENDING)
        assert not found.duplicated(about).any()
        measured = {
            "head_relations": ["score", "null_mean", "null_sd", "p", "q"],
            "head_categories": ["label", "categories"],
        }
        assert blank[measured[name]].isna().all(axis=None)
        assert blank.drop(columns=measured[name]).notna().all(axis=None)
        # A model with attention everywhere keeps its table, in its order.
        whole = kept.assign(layer=kept["layer"].map({layer: at for at, layer in enumerate(ATTENDING)}))
        packed = {other: frame.assign(layer=frame["layer"].map({x: at for at, x in enumerate(ATTENDING)}))
                  for other, frame in short.items()}  # fmt: skip
        again = blank_rows(packed["head_relations"], packed["head_categories"], len(ATTENDING))
        pd.testing.assert_frame_equal(again[name == "head_categories"], whole.reset_index(drop=True))


def test_head_categories_of_the_joined_table_and_the_claims(categories):
    full, short = categories
    found, expected = (category_columns.columns(tables, "d", {}) for tables in (full, short))
    pd.testing.assert_frame_equal(found.sort_index(), expected.sort_index(), check_dtype=False, check_index_type=False)
    proof = SimpleNamespace(frame=lambda name, relative="": full[name])
    heads = category_claims.heads(proof, "tau")
    assert set(heads["layer"]) == set(ATTENDING)
    assert heads.set_index("layer")["depth"].to_dict() == {layer: layer / DEPTH for layer in ATTENDING}
    with pytest.raises(NotApplicable, match="head 0 of layer 2"):
        category_claims.place(proof, relation="a", layer=2, head=0)


def test_figures_of_head_categories_leave_them_blank_and_say_so(categories):
    full, short = categories
    pairs = pd.DataFrame({**KEYS, "relation": ["a", "b"], "given": 6, "scored": 6, "used": True, "dropped": ""})
    document = {"metric_options": {"tau": 0.15, "alpha": 0.05, "permutations": 100, "k": {"default": 5}},
                "options": {"first_state": "first_mlp"}}  # fmt: skip
    sources = {"results/metrics/m/head_categories/d.parquet": document}
    sources = {"head_categories": sources, "head_relations": sources}
    given = {**full, "relation_pairs": pairs}
    figure, caption = plot_relation_map.draw(
        given, {**PANELS, "relation": "a", "signs": ["direct"], "clim": None}, sources
    )
    shown = np.ma.filled(figure.axes[0].images[0].get_array().astype(float), np.nan)
    np.testing.assert_array_equal(np.isnan(shown).all(0), [layer not in ATTENDING for layer in range(DEPTH)])
    assert SENTENCE in caption
    figure, caption = plot_head_categories.draw(given, {**PANELS, "significance": "tau"}, sources)
    marks = np.concatenate([collection.get_offsets() for collection in figure.axes[0].collections])
    assert set(marks[:, 0]) == set(ATTENDING)
    assert figure.axes[0].get_xlim()[0] < 0
    labels = short["head_categories"].query("significance == 'tau'")["label"]
    assert f"12 heads, {(labels != 'Unclassified').mean():.0%} labelled" in caption
    assert SENTENCE in caption
    figure, caption = plot_category_share.draw(given, PANELS, sources)
    heights = [sum(bar.get_height() for bar in figure.axes[0].patches[at :: DEPTH + 1]) for at in range(DEPTH + 1)]
    for layer in range(DEPTH):
        own = short["head_categories"].query("significance == 'tau' and layer == @layer")["label"]
        assert heights[layer] == pytest.approx(100 * (own != "Unclassified").mean() if layer in ATTENDING else 0)
    assert heights[-1] == pytest.approx(100 * (labels != "Unclassified").mean())
    assert SENTENCE in caption
    plt.close("all")


def saliency():
    """The tables of saliency of a hybrid whose probe reads the state before its last layer."""
    rng, samples = np.random.default_rng(4), 6
    signed = spread(rng.normal(size=(samples, len(ATTENDING), len(FLOWS), HEADS)), 1)
    arrays = {"number": np.arange(samples), "logit": rng.normal(size=samples), "nll": np.ones(samples)}
    for loss in ("probe_logit", "answer_nll"):
        arrays[f"{loss}.signed"] = signed.copy()
        if loss == "probe_logit":
            arrays[f"{loss}.signed"][:, DEPTH - 1 :] = np.nan
        arrays[f"{loss}.absolute"] = np.abs(arrays[f"{loss}.signed"])
        arrays[f"{loss}.sum_then_abs"] = np.abs(arrays[f"{loss}.signed"].sum(-1))
        arrays[f"{loss}.pairs"] = np.full((samples, len(FLOWS)), 3)
    frame = pd.DataFrame({"sample": [f"s{n}" for n in range(samples)], "correct": [True, False] * 3, "weight": 1.0,
                          "random_overlap": 1, "question_strategy": "spans", "answer_strategy": "alias"})  # fmt: skip
    options = {"reduction": "sum", "heads": "sum_then_abs", "layers": "mean"}
    return saliency_tables(arrays, frame, ["probe_logit", "answer_nll"], options, KEYS, DEPTH - 1), arrays


def test_tables_of_saliency_have_nulls_below_the_probe_and_no_rows_above_it():
    found, arrays = saliency()
    for loss, below in (("probe_logit", DEPTH - 1), ("answer_nll", DEPTH)):
        attending = [layer for layer in ATTENDING if layer < below]
        for name, column in (("saliency_layers", "saliency"), ("head_saliency", "absolute")):
            own = found[name][found[name]["loss"] == loss]
            known = own.groupby("layer")[column].agg(["count", "size"])
            assert known.index.tolist() == list(range(below))
            assert known["size"].nunique() == 1
            assert known.index[known["count"] == known["size"]].tolist() == attending
            assert (known["count"].drop(attending) == 0).all()
        whole = found["saliency"][found["saliency"]["loss"] == loss]
        assert (whole["layers_reached"] == len(attending)).all()
        wide = whole.pivot(index="sample", columns="flow", values="saliency")[list(FLOWS)].to_numpy()
        np.testing.assert_allclose(wide, arrays[f"{loss}.sum_then_abs"][:, attending].mean(1), rtol=1e-6)
    columns = saliency_columns.columns(found, "d", {"loss": "answer_nll"})
    assert sorted(set(columns.index.get_level_values("layer"))) == ATTENDING
    assert columns["saliency_share"].sum() == pytest.approx(1)


def test_saliency_by_layer_is_drawn_with_marks_where_layers_are_missing():
    found, _ = saliency()
    options = {**PANELS, "datasets": ["d"], "dataset_labels": {"d": "D"}, "loss": "probe_logit", "confidence": 0.95}
    figure, caption = plot_saliency_by_layer.draw({"saliency_layers": found["saliency_layers"]}, options, {})
    lines = [line for axes in figure.axes for line in axes.lines]
    assert len(lines) == 4
    assert all(line.get_marker() != "" for line in lines)
    for line in lines:
        assert line.get_xdata().tolist() == [1, 3]
        assert np.isfinite(line.get_ydata()).all()
    assert "Of Model M 2 of 4 layers that the loss reaches have attention; the others are blank." in caption
    plt.close("all")


def span_saliency(spread_or_not=lambda a: spread(a, 1)):
    """The table span_saliency of seven prompts, of which one has no pair of the second flow."""
    rng, prompts = np.random.default_rng(5), 7
    flows = named_flows([{"name": "S_pq", "from": "label", "to": "predicting"}, {"name": "S_ww", "rest": True}])
    signed = spread_or_not(rng.normal(size=(prompts, len(ATTENDING), 2 * len(flows), HEADS)))
    arrays = {"number": np.arange(prompts), "nll": np.ones(prompts), "answer_nll.signed": signed,
              "answer_nll.sum_then_abs": np.abs(signed.sum(-1)), "answer_nll.absolute": np.abs(signed),
              "answer_nll.pairs": rng.integers(1, 9, (prompts, 2 * len(flows)))}  # fmt: skip
    arrays["answer_nll.pairs"][2, 1] = 0
    table = span_table(arrays, flows, KEYS, reduction="mean", heads="sum_then_abs", confidence=0.95, dropped=1)
    return conform(table, TABLES["span_saliency"])


def test_saliency_between_spans():
    found, expected = span_saliency(), span_saliency(lambda a: a)
    constant = ("model", "dataset", "from", "to", "prompts", "pairs", "nll", "dropped", "reduction", "heads")
    same_but_blank(found, expected, ["flow", "source", "layer"], constant)
    counted = found.groupby(["source", "flow"])["prompts"].unique().map(list).to_dict()
    assert counted == {
        ("marked", "S_pq"): [7],
        ("marked", "S_ww"): [6],
        ("random", "S_pq"): [7],
        ("random", "S_ww"): [7],
    }


def test_saliency_between_spans_is_drawn_with_marks_where_layers_are_missing():
    samples = {"measured": 7, "given": 8, "dropped": {"no span named label": ["a"]}}
    sources = {
        "results/metrics/m/span_saliency/d.parquet": {"metric_options": {"confidence": 0.95}, "samples": samples}
    }
    figure, caption = plot_span_saliency.draw(
        {"span_saliency": span_saliency()}, {**PANELS, "flows": None, "scale": "log"}, {"span_saliency": sources}
    )
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    assert len(lines) == 4
    for line in lines:
        assert line.get_marker() in ("o", "x")
        assert line.get_xdata().tolist() == ATTENDING
        assert np.isfinite(line.get_ydata()).all()
    assert SENTENCE in caption
    plt.close("all")
