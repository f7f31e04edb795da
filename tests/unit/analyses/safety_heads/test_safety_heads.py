"""Ships metrics, prompts, groups, generation and refusals on small cases with known answers."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import families
from atlas.analyses.registry import TABLES
from atlas.analyses.safety_heads.ablated_sets import answers_frame, own_sets, variants
from atlas.analyses.safety_heads.ablation_effect import effect_table, read_phrases, refuses
from atlas.analyses.safety_heads.extract import default_rows
from atlas.analyses.safety_heads.metrics import head_table, query_table, resampled
from atlas.analyses.safety_heads.queries import SHIPS, build_queries
from atlas.analyses.safety_heads.ships import check_ranks, ranking, ships
from atlas.analyses.safety_heads.storage import merge
from atlas.errors import AtlasError
from atlas.models.limits import LONG, UNKNOWN, Limits
from atlas.results.tables import conform
from atlas.statistics.intervals import wilson_interval, wilson_rate
from byte_tokenizer import prompter
from tiny_models import save_tokenizer
from unlimited import ANY

KEYS = {"model": "m", "dataset": "d"}
OPTIONS = {"ablations": ["scaling"], "rank": [1, 2], "confidence": 0.9, "bootstrap": 50, "seed": 3}


def grams(heads=6, queries=8, seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.normal(size=(queries, 30)) + 2
    states = clean + rng.normal(size=(heads, queries, 30)) * np.arange(1, heads + 1)[:, None, None] * 0.1
    return clean, states


def stored(heads=6, queries=8):
    clean, states = grams(heads, queries)
    gram = (states @ states.transpose(0, 2, 1)).reshape(2, heads // 2, queries, queries)
    kl = np.abs(np.random.default_rng(1).normal(size=(2, heads // 2, queries)))
    return {
        "layer": np.array([0, 1], np.int32),
        "depth": np.array(2, np.int32),
        "clean.gram": clean @ clean.T,
        "scaling.gram": gram,
        "scaling.kl": kl,
    }


@pytest.fixture
def tokenizer(tmp_path):
    from atlas.models.loading import load_tokenizer

    save_tokenizer(tmp_path)
    return load_tokenizer(tmp_path)


def rows(*texts, **more):
    return pd.DataFrame({"id": [f"p{i}" for i in range(len(texts))], "text": texts, **more})


# ------------------------------------------------------------------------------------------------------------- metrics
def test_small_angles_survive():
    """A turn of 1e-6 degrees is measured, where an arc cosine would say 0 or 0.03."""
    angle = np.radians(1e-6)
    a = np.zeros((6, 2))
    a[0, 0] = 10.0
    a[1, 1] = 1.0
    b = a.copy()
    b[:2, 0] = 10 * np.cos(angle), 10 * np.sin(angle)
    b[:2, 1] = -np.sin(angle), np.cos(angle)
    np.testing.assert_allclose(ships(a @ a.T, b @ b.T, 1), 1e-6, rtol=1e-3)


def test_bootstrap_equals_resampled_rows():
    """sqrt(w) G sqrt(w) has the angles of the matrices whose rows are really drawn with replacement."""
    clean, states = grams(queries=8)
    rng = np.random.default_rng(5)
    drawn = rng.integers(0, 8, (5, 8))
    weights = np.stack([np.bincount(row, minlength=8) for row in drawn])
    found = resampled(clean @ clean.T, states @ states.transpose(0, 2, 1), [1, 2], weights)
    assert found.shape == (5, 2, 6)
    for draw, row in enumerate(drawn):
        for r, rank in enumerate((1, 2)):
            u, v = clean[row], states[3][row]
            np.testing.assert_allclose(found[draw, r, 3], ships(u @ u.T, v @ v.T, rank), rtol=1e-7)


def test_head_table():
    table = conform(head_table(stored(), KEYS, 2, OPTIONS), TABLES["safety_heads"])
    assert len(table) == 2 * 6
    for _, part in table.groupby("rank"):
        assert part.sort_values("position")["ships_degrees"].is_monotonic_decreasing
        assert sorted(part["position"]) == [1, 2, 3, 4, 5, 6]
        assert (part["ships_low"] <= part["ships_high"]).all()
    assert set(table["queries"]) == {8}
    assert set(table["queries_dropped"]) == {2}
    again = head_table(stored(), KEYS, 2, OPTIONS)
    pd.testing.assert_frame_equal(table, conform(again, TABLES["safety_heads"]))


def in_half_precision():
    """The stored arrays, and those of one head of each layer (0 and 1 of three) as float32 would have them."""
    arrays, rng = stored(), np.random.default_rng(4)
    clean, states = grams()
    noisy = clean + rng.normal(size=clean.shape) * 0.05
    wide = states[[0, 4]] + rng.normal(size=(2, *clean.shape)) * 0.05
    return arrays | {
        "wide.clean.gram": noisy @ noisy.T, "wide.scaling.gram": wide @ wide.transpose(0, 2, 1),
        "wide.scaling.kl": arrays["scaling.kl"][[0, 1], [0, 1]] + np.array([[0.25], [-0.5]]),
    }  # fmt: skip


def test_the_error_of_half_precision_is_the_largest_difference_from_float32():
    arrays = in_half_precision()
    table = conform(head_table(arrays, KEYS, 0, OPTIONS, "bfloat16"), TABLES["safety_heads"])
    assert set(table["dtype"]) == {"bfloat16"}
    for rank, part in table.groupby("rank"):
        wide = [ships(arrays["wide.clean.gram"], arrays["wide.scaling.gram"][layer], rank) for layer in (0, 1)]
        own = [part[(part["layer"] == layer) & (part["head"] == layer)]["ships_degrees"].item() for layer in (0, 1)]
        error = max(abs(a - b) for a, b in zip(wide, own, strict=True))
        assert error > 0.05
        np.testing.assert_allclose(part["error_degrees"], error, rtol=1e-12)
        np.testing.assert_allclose(part["error_kl"], 0.5, rtol=1e-12)
        for row in part.itertuples():
            near = [other for other in part["ships_degrees"] if abs(other - row.ships_degrees) <= 2 * row.error_degrees]
            assert row.tied == len(near) - 1
    assert table["tied"].max() > 0
    assert table["tied"].min() < 5


def test_in_float32_no_error_is_measured_and_no_tie_is_counted():
    table = conform(head_table(stored(), KEYS, 2, OPTIONS), TABLES["safety_heads"])
    assert table["error_degrees"].isna().all()
    assert table["error_kl"].isna().all()
    assert table["tied"].isna().all()
    assert set(table["dtype"]) == {"float32"}


def test_arrays_of_shards_join_those_of_float32_too():
    arrays = in_half_precision()
    parts = [
        {
            key: value if key.endswith(("clean.gram", "depth")) else value[layer : layer + 1]
            for key, value in arrays.items()
        }
        for layer in (1, 0)
    ]
    joined = merge(parts)
    assert joined.keys() == arrays.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(joined[key], value)


@pytest.mark.parametrize("lacks", [0, 1])
def test_where_one_shard_was_not_measured_again_none_is(lacks):
    """A shard on a smaller GPU may not have had room for float32; the others are no error of the whole model."""
    arrays = in_half_precision()
    parts = [
        {
            key: value if key.endswith(("clean.gram", "depth")) else value[layer : layer + 1]
            for key, value in arrays.items()
            if layer != lacks or not key.startswith("wide.")
        }
        for layer in (0, 1)
    ]
    table = head_table(merge(parts), KEYS, 2, OPTIONS, "bfloat16")
    assert table["error_degrees"].isna().all()


def test_the_ranking_is_that_of_the_table():
    table = head_table(stored(), KEYS, 2, OPTIONS)
    ranked = ranking(stored(), OPTIONS)
    keys = ["ablation", "rank", "layer", "head"]
    shared = [*keys, "ships_degrees", "kl_mean", "position"]
    pd.testing.assert_frame_equal(ranked[shared], table[shared])


def test_query_table_keeps_every_prompt():
    arrays = stored()
    table = conform(query_table(arrays, KEYS, [f"p{i}" for i in range(8)], OPTIONS), TABLES["safety_queries"])
    row = table[(table["layer"] == 1) & (table["head"] == 2) & (table["query"] == "p5")]
    assert row["kl"].item() == arrays["scaling.kl"][1, 2, 5]
    for (_, _), own in table.groupby(["ablation", "query"]):  # a place is one more than the heads above it
        order = sorted(own.itertuples(), key=lambda head: (-head.kl, head.layer, head.head))
        assert [head.position for head in order] == list(range(1, len(own) + 1))


@pytest.mark.parametrize(("ranks", "queries"), [([1], 1), ([1], 3), ([3], 11), ([1, 5], 16)])
def test_too_few_prompts_for_a_rank(ranks, queries):
    with pytest.raises(AtlasError, match=f"{queries} prompts allow at most {queries // 4}"):
        check_ranks(ranks, queries)


def test_wilson_rate_equals_counts():
    for k in (0, 3, 16):
        low, high = wilson_interval(np.array([k]), 16, 0.95)
        np.testing.assert_allclose(wilson_rate(k / 16, 16, 0.95), (low[0], high[0]), atol=1e-12)


# ------------------------------------------------------------------------------------------------------------- prompts
def test_templates(tokenizer):
    raw, report = build_queries(prompter(tokenizer), rows("w3 w4", "w5"), "w1 {q} w2", ANY, SHIPS)
    assert [tokenizer.decode(ids) for ids in raw] == ["w1 w3 w4 w2", "w1 w5 w2"]
    assert report["prompts"] == report["of"] == 2
    chat, _ = build_queries(prompter(tokenizer), rows("w3 w4", system=["w9 "]), "chat", ANY, SHIPS)
    assert tokenizer.decode(chat[0]) == "w9 w3 w4"
    braces, _ = build_queries(prompter(tokenizer), rows("w3 {q} {x}"), "{q}", ANY, SHIPS)
    assert len(braces[0]) > 1


def test_conversations_of_models_without_a_template_of_their_own(tokenizer):
    """The texts around a prompt, with and without a system message, word by word; braces of a prompt stay."""
    tokenizer.chat_template = None
    seen = []

    class Reading:  # what a tokenizer is given
        def __call__(self, text, **more):
            seen.append(text)
            return tokenizer(text, **more)

        def __getattr__(self, name):
            return getattr(tokenizer, name)

    whole = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    whole += "detailed, and polite answers to the user's questions. USER: w3 {x} ASSISTANT:"
    for template, system, expected in (
        ("vicuna", None, whole),
        ("vicuna", ["w9"], "w9 USER: w3 {x} ASSISTANT:"),
        ("llama-2", None, "[INST] w3 {x} [/INST]"),
        ("llama-2", ["w9"], "[INST] <<SYS>>\nw9\n<</SYS>>\n\nw3 {x} [/INST]"),
    ):
        asked = prompter(tokenizer)
        asked.tokenizer = Reading()
        build_queries(asked, rows("w3 {x}", **({"system": system} if system else {})), template, ANY, SHIPS)
        assert expected in seen


def test_bad_prompts(tokenizer):
    with pytest.raises(AtlasError, match="'p1' is empty"):
        build_queries(prompter(tokenizer), rows("w3", "  "), "{q}", ANY, SHIPS)
    with pytest.raises(AtlasError, match=r"1 longer than the model's context.*takes at most 2 tokens"):
        build_queries(prompter(tokenizer), rows("w3 w4 w5"), "{q}", Limits(2, 1 << 40), SHIPS)
    with pytest.raises(AtlasError, match=r"no \{q\}"):
        build_queries(prompter(tokenizer), rows("w3"), "w1", ANY, SHIPS)
    kept, report = build_queries(prompter(tokenizer), rows("w3 w4 w5", "w3"), "{q}", Limits(2, 1 << 40), SHIPS)
    assert len(kept) == 1
    assert report["ids"] == ["p1"]
    assert report["dropped"] == {LONG: ["p0"], UNKNOWN: []}
    tokenizer.chat_template = None
    with pytest.raises(AtlasError, match="no chat template"):
        build_queries(prompter(tokenizer), rows("w3"), "chat", ANY, SHIPS)


# -------------------------------------------------------------------------------------------------------------- effect
def test_default_rows_are_bounded():
    model = families.build("llama")
    assert default_rows(model, [(1,) * 100]) == 40
    assert default_rows(model, [(1,) * 10000]) == 1
    assert default_rows(model.to(torch.bfloat16), [(1,) * 100]) == 81


def ranks(layers=4, heads=6):
    pairs = [(layer, head) for layer in range(layers) for head in range(heads)]
    return pd.DataFrame(pairs, columns=["layer", "head"]).assign(
        ablation="scaling", rank=1, position=range(1, len(pairs) + 1)
    )


def test_variants():
    sets = variants(ranks(), ablations=["scaling"], numbers=[0, 1, 5], rank=1, draws=2, seed=0)
    assert len(sets) == 3 + 2 * 3
    assert sets["heads"].map(len).tolist() == sets["heads_ablated"].tolist()
    top = sets[(sets["selection"] == "top") & (sets["heads_ablated"] == 5)]["heads"].item()
    assert top == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]
    for heads in sets[sets["selection"] == "random"]["heads"]:
        assert len(set(heads)) == len(heads)
        assert not set(heads) & set(top)
    draws = sets[(sets["selection"] == "random") & (sets["heads_ablated"] == 5)]["heads"].tolist()
    assert draws[0] != draws[1]
    with pytest.raises(AtlasError, match="at most 12"):
        variants(ranks(), ablations=["scaling"], numbers=[13], rank=1, draws=1, seed=0)


def test_own_sets_are_the_strongest_of_each_prompt():
    pairs = [(layer, head) for layer in range(2) for head in range(3)]
    order = {"a": [3, 1, 2, 5, 4, 6], "b": [6, 5, 4, 3, 2, 1]}
    rows = [
        (ablation, name, *pair, place if ablation == "scaling" else 7 - place)
        for ablation in ("scaling", "mean")
        for name in order
        for pair, place in zip(pairs, order[name], strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["ablation", "query", "layer", "head", "position"])
    blank = frame.iloc[:2].assign(layer=9, position=None)  # a layer without attention
    frame = pd.concat([blank, frame.astype({"position": "Int32"})], ignore_index=True)
    sets = own_sets(frame, ["b", "a"], ablations=["scaling", "mean"], numbers=[0, 2])
    found = {(row.ablation, row.heads_ablated): row.heads for row in sets.itertuples()}
    assert found == {
        ("scaling", 0): [[], []], ("scaling", 2): [[(1, 2), (1, 1)], [(0, 1), (0, 2)]],
        ("mean", 0): [[], []], ("mean", 2): [[(0, 0), (0, 1)], [(1, 2), (1, 0)]],
    }  # fmt: skip
    both = pd.concat([variants(ranks(), ablations=["scaling"], numbers=[2], rank=1, draws=1, seed=0), sets])
    answers = answers_frame(both, [[f"{row} b", f"{row} a"] for row in range(len(both))], ["b", "a"])
    assert answers["answer"].str.endswith(tuple("ab")).all()
    assert (answers["answer"].str[-1] == answers["prompt"]).all()
    own = answers[
        (answers["selection"] == "own") & (answers["ablation"] == "scaling") & (answers["heads_ablated"] == 2)
    ]
    assert own["heads"].tolist() == ["[[1, 2], [1, 1]]", "[[0, 1], [0, 2]]"]
    assert answers["heads"].iloc[0] == answers["heads"].iloc[1] == "[[0, 0], [0, 1]]"
    with pytest.raises(AtlasError, match=r"own_heads: analyses\.safety_heads left out the prompt 'c'"):
        own_sets(frame, ["a", "c"], ablations=["scaling"], numbers=[1])


def test_refusals(tmp_path):
    path = tmp_path / "phrases.txt"
    path.write_text("# a comment\n\nI'm sorry\nI cannot\n")
    phrases = read_phrases(path)
    assert refuses("I\u2019m SORRY, but", phrases)
    assert refuses("Well, i\ncannot do", phrases)
    assert not refuses("Sure. I can.", phrases)
    path.write_text("# nothing\n")
    with pytest.raises(AtlasError, match="no phrase"):
        read_phrases(path)
    path.write_text("I can't\n\u200b\n")
    with pytest.raises(AtlasError, match="a text without a word; give a phrase of words"):
        read_phrases(path)


@pytest.mark.parametrize("apostrophe", "'\u2019\u2018\u02bc\uff07\u2032\u00b4\u201b")
def test_refusals_in_any_typography(tmp_path, apostrophe):
    path = tmp_path / "phrases.txt"
    path.write_text("I can't\nje suis désolé\nमाफ कर\n", encoding="utf-8")
    phrases = read_phrases(path)
    assert refuses(f"I\u00a0can{apostrophe}t do that", phrases)
    assert refuses("JE SUIS DE\u0301SOLE\u0301.", phrases)
    assert refuses("माफ कर।", phrases)
    assert not refuses("माफ करो", phrases), "another letter than that of the phrase"
    assert not refuses("je suis desole", phrases)


def test_answers_that_no_phrase_can_be_in_are_refused_and_not_counted_as_compliance():
    phrases = ["i'm sorry", "i cannot"]
    frame = pd.DataFrame(
        {"ablation": "scaling", "selection": "top", "heads_ablated": [0, 0, 0, 1], "draw": 0, "prompt": [0, 1, 2, 0]}
    )
    with pytest.raises(AtlasError, match=r"2 of 3 answers are mostly in another script \(CJK\) than .*\(LATIN\)"):
        effect_table(frame.assign(answer=["抱歉，我不能", "对不起 AI", "I cannot", "x"]), phrases, KEYS, 0.95)
    with pytest.raises(AtlasError, match="CYRILLIC"):
        effect_table(frame.assign(answer=["Я не могу", "Нет", "Извините", "x"]), phrases, KEYS, 0.95)
    table = effect_table(frame.assign(answer=["对不起", "", "I cannot, 抱歉", "对不起"]), phrases, KEYS, 0.95)
    assert table["refused"].tolist() == [1, 0]
    mixed = effect_table(frame.assign(answer=["对不起", "我不能", "no", "no"]), ["对不起", "no"], KEYS, 0.95)
    assert mixed["refused"].tolist() == [2, 1]


def test_effect_table():
    sets = variants(ranks(), ablations=["scaling"], numbers=[0, 2], rank=1, draws=2, seed=0)
    said = {("top", 0): "no no", ("top", 2): "yes yes", ("random", 0): "no no", ("random", 2): "no yes"}
    texts = [said[row.selection, row.heads_ablated].split() for row in sets.itertuples()]
    frame = answers_frame(sets, texts, ["a", "b"])
    assert json.loads(frame["heads"].iloc[-1]) == [list(pair) for pair in sets["heads"].iloc[-1]]
    table = conform(effect_table(frame, ["no"], KEYS, 0.95), TABLES["ablation_effect"]).set_index(
        ["selection", "heads_ablated"]
    )
    assert table.loc[("top", 0), "refusal_rate"] == 1
    assert table.loc[("top", 2), "refusal_rate"] == 0
    assert table.loc[("random", 2), "refusal_rate"] == 0.5
    assert table.loc[("random", 2), "draws"] == 2
    assert table.loc[("random", 2), "prompts"] == 2
