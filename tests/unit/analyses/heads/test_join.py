"""The joined table of heads: every number where its own table has it, nulls where an analysis says nothing."""

import itertools
import zlib

import numpy as np
import pandas as pd
import pytest

from atlas.analyses.heads import join
from atlas.analyses.heads.measures import analysis_of, measures
from atlas.analyses.registry import ANALYSES, HEAD_ANALYSES, MEASURES, TABLES, heads_columns
from atlas.errors import AtlasError

LAYERS, HEADS = 3, 4
CHOICE = {
    "models": ["b", "a"],
    "datasets": {
        "head_categories": "rel", "sinks": "text", "meaningless_tokens": "p1", "saliency": "qa1", "safety_heads": "p2",
    },
    "rank": 3,
    "loss": "probe_bce",
}  # fmt: skip


def table(name, models, keys, numbers, layers=LAYERS):
    """Rows for every head and combination of `keys`, with random `numbers`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    axes = {"model": models, "layer": range(layers), "head": range(HEADS), **keys}
    frame = pd.DataFrame(itertools.product(*axes.values()), columns=list(axes))
    for number in numbers:
        frame[number] = rng.random(len(frame))
    return frame.sample(frac=1, random_state=0)


@pytest.fixture
def tables():
    both = ["tau", "tau_and_null"]
    categories = table("c", ["a", "b"], {"dataset": ["rel"], "significance": both}, ["number"])
    categories["label"] = categories["number"].map("label {:.6f}".format)
    return {
        "head_categories": categories,
        "head_relations": table(
            "r", ["a", "b"], {"dataset": ["rel"], "relation": ["x", "y", "z"], "sign": ["direct", "suppression"]},
            ["score", "q"],
        ),
        "sinks": table("s", ["a", "b"], {"dataset": ["text"], "input": ["natural", "random"]}, ["alpha", "sink_rate"])
        .assign(epsilon=0.3, bos=True),
        "meaningless_effect": table(
            "m", ["a"], {"dataset": ["p1", "p2"]}, ["effect", "effect_low", "effect_high", "span_mass"]
        ),
        "head_saliency": table(
            "h",
            ["a", "b"],
            {"dataset": ["qa1", "qa2"], "flow": ["question_to_answer", "random_to_answer"],
             "loss": ["probe_bce", "probe_logit"]},
            ["signed", "absolute"],
            layers=2,  # none at and above the probe
        ),
        "safety_heads": table(
            "k", ["a", "b"], {"dataset": ["p1", "p2"], "ablation": ["undifferentiated", "scaling", "mean"],
                              "rank": [1, 3]}, ["ships_degrees", "kl_mean", "position"]
        ).assign(position=lambda frame: (1000 * frame["position"]).astype(int)),
    }  # fmt: skip


def join_heads(tables, choice, columns=TABLES["heads"]):
    """The table of these tables by name, each under its analysis."""
    nested = {
        analysis: {name: tables[name] for name in ANALYSES[analysis].head_tables}
        for analysis in HEAD_ANALYSES
        if tables.keys() & set(ANALYSES[analysis].head_tables)
    }
    return join.join_heads(nested, choice, columns)


def cell(frame, column, **where):
    for key, value in where.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1, where
    return frame[column].iloc[0]


def test_every_cell_is_that_of_its_table(tables):
    joined = join_heads(tables, CHOICE)
    assert list(joined) == list(TABLES["heads"])
    assert {name: str(dtype) for name, dtype in joined.dtypes.items()} == TABLES["heads"]
    assert [tuple(key) for key in joined[["model", "layer", "head"]].to_numpy().tolist()] == [
        *itertools.product(["b", "a"], range(LAYERS), range(HEADS))
    ]
    for row in joined.itertuples():
        head = {"model": row.model, "layer": row.layer, "head": row.head}
        assert row.label == cell(tables["head_categories"], "label", **head, significance="tau")
        assert row.label_null == cell(tables["head_categories"], "label", **head, significance="tau_and_null")
        relations = tables["head_relations"]
        best = max(
            (cell(relations, "score", **head, relation=relation, sign=sign), relation, sign)
            for relation in "xyz"
            for sign in ("direct", "suppression")
        )
        assert (row.score, row.relation, row.relation_sign) == best
        for sign in ("direct", "suppression"):
            where = {**head, "relation": row.relation, "sign": sign}
            assert getattr(row, f"score_{sign}") == cell(relations, "score", **where)
            assert getattr(row, f"q_{sign}") == cell(relations, "q", **where)
        for kind in ("natural", "random"):
            alpha = cell(tables["sinks"], "alpha", **head, input=kind)
            assert getattr(row, f"alpha_{kind}") == alpha
            assert getattr(row, f"sink_{kind}") == (alpha > 0.3)
            assert getattr(row, f"sink_rate_{kind}") == cell(tables["sinks"], "sink_rate", **head, input=kind)
        assert pd.isna([row.alpha_repeated, row.sink_repeated, row.sink_rate_repeated]).all()
        if row.model == "a":
            effect = tables["meaningless_effect"]
            names = ("effect", "effect_low", "effect_high", "span_mass")
            expected = [cell(effect, name, **head, dataset="p1") for name in names]
            assert [row.meaningless_effect, row.meaningless_low, row.meaningless_high, row.span_mass] == expected
            assert row.meaningless_dataset == "p1"
        else:
            assert pd.isna([row.meaningless_effect, row.span_mass, row.meaningless_dataset]).all()
        for ablation in ("undifferentiated", "scaling"):
            where = {**head, "dataset": "p2", "ablation": ablation, "rank": 3}
            for column, name in (("ships", "ships_degrees"), ("kl", "kl_mean"), ("position", "position")):
                assert getattr(row, f"{column}_{ablation}") == cell(tables["safety_heads"], name, **where)
        where = {**head, "dataset": "qa1", "flow": "question_to_answer", "loss": "probe_bce"}
        if row.layer < 2:
            assert row.saliency_signed == cell(tables["head_saliency"], "signed", **where)
            assert row.saliency_absolute == cell(tables["head_saliency"], "absolute", **where)
        else:
            assert pd.isna([row.saliency_signed, row.saliency_share, row.saliency_loss]).all()
    shares = joined.groupby("model")["saliency_share"].sum()
    np.testing.assert_allclose(shares, 1)


@pytest.mark.parametrize(
    ("without", "empty"),
    [
        (["head_saliency"], "saliency_"),
        (["safety_heads"], ("ships_", "kl_", "position_", "safety_")),
        (["head_categories", "head_relations"], ("label", "score", "q_", "relation")),
        (["sinks"], ("alpha", "sink", "epsilon")),
    ],
)
def test_analyses_that_are_missing_leave_nulls(tables, without, empty):
    joined = join_heads({name: frame for name, frame in tables.items() if name not in without}, CHOICE)
    gone = [column for column in joined if column.startswith(empty)]
    assert len(gone) > 2
    assert joined[gone].isna().all(axis=None)
    assert {name: str(dtype) for name, dtype in joined.dtypes.items()} == TABLES["heads"]
    assert len(joined) == 2 * LAYERS * HEADS


def test_one_analysis_of_one_model_is_enough(tables):
    joined = join_heads({"meaningless_effect": tables["meaningless_effect"]}, CHOICE)
    assert len(joined) == LAYERS * HEADS
    assert set(joined["model"]) == {"a"}


def test_a_head_without_any_hit_has_no_best_relation(tables):
    relations = tables["head_relations"]
    silent = (relations["model"] == "a") & (relations["layer"] == 1) & (relations["head"] == 2)
    relations.loc[silent, ["score", "q"]] = [0.0, 1.0]
    row = join_heads(tables, CHOICE).query("model == 'a' and layer == 1 and head == 2").iloc[0]
    assert pd.isna([row["relation"], row["relation_sign"]]).all()
    assert row[["score", "score_direct", "score_suppression", "q_direct", "q_suppression"]].tolist() == [0, 0, 0, 1, 1]


def test_equal_scores_prefer_the_smaller_q_then_the_name(tables):
    relations = tables["head_relations"].assign(score=0.5, q=0.2)
    assert set(join_heads({**tables, "head_relations": relations}, CHOICE)["relation"]) == {"x"}
    relations.loc[relations["relation"] == "z", "q"] = 0.1
    joined = join_heads({**tables, "head_relations": relations}, CHOICE)
    assert set(joined["relation"]) == {"z"}
    assert set(joined["relation_sign"]) == {"direct"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": 2}, "safety_heads has no rank 2; choose one of 1, 3"),
        ({"loss": "answer_nll"}, "head_saliency has no loss 'answer_nll'; choose one of probe_bce"),
    ],
)
def test_what_was_not_computed_is_refused(tables, change, words):
    with pytest.raises(AtlasError, match=words):
        join_heads(tables, {**CHOICE, **change})


def test_two_rows_of_one_head_are_refused(tables):
    tables["meaningless_effect"] = pd.concat([tables["meaningless_effect"]] * 2)
    with pytest.raises(AtlasError, match="meaningless_effect has two rows"):
        join_heads(tables, CHOICE)


def test_an_ablation_that_few_run_has_columns_where_it_is_run(tables):
    columns = heads_columns({"safety_heads": {"ablations": ["mean", "scaling"]}})
    assert [name for name in columns if name not in TABLES["heads"]] == ["ships_mean", "kl_mean", "position_mean"]
    assert heads_columns({"safety_heads": {"ablations": ["scaling"]}}) == TABLES["heads"]
    joined = join_heads(tables, CHOICE, columns)
    row = joined.iloc[5]
    where = {name: row[name] for name in ("model", "layer", "head")}
    where |= {"dataset": "p2", "ablation": "mean", "rank": 3}
    assert row["ships_mean"] == cell(tables["safety_heads"], "ships_degrees", **where)
    assert row["position_mean"] == cell(tables["safety_heads"], "position", **where)


def test_every_measure_is_a_number_of_the_table_and_known_to_the_registry():
    columns = heads_columns({"safety_heads": {"ablations": ["mean"]}})
    assert {columns[metric] for metric in MEASURES} == {"float64"}
    assert measures(HEAD_ANALYSES) == MEASURES
    assert set(analysis_of(HEAD_ANALYSES).values()) == set(HEAD_ANALYSES)
