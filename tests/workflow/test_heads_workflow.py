"""Real runs of the joined table: it equals its parts, and a change re-runs only what reads it."""

import json

import pandas as pd

from atlas.analyses.published import read_table

KEYS = ["model", "layer", "head"]
# What is made from the table heads whenever it changes.
JOINED = {
    "join_heads": 2, "compare_heads": 2, "aggregate_heads": 1, "aggregate_head_overlap": 1, "plot_head_overlap": 1,
    "plot_explorer": 1, "manifest": 1,
}  # fmt: skip


def table(project, name):
    return pd.read_csv(project.folder / "results" / "tables" / f"{name}.csv")


def test_joined_table_is_the_join_of_its_parts(finished):
    heads = table(finished, "heads")
    assert len(heads) == 2 * 4 * 6
    assert not heads.duplicated(KEYS).any()
    sinks = table(finished, "sinks")
    for kind in ("natural", "random", "repeated"):
        part = sinks[sinks["input"] == kind]
        both = heads.merge(part, on=KEYS, validate="one_to_one")
        assert len(both) == len(heads)
        assert (both[f"alpha_{kind}"] == both["alpha"]).all()
        assert (both[f"sink_rate_{kind}"] == both["sink_rate"]).all()
        assert (both[f"sink_{kind}"] == (both["alpha"] > 0.3)).all()
    both = heads.merge(table(finished, "meaningless_effect"), on=KEYS, validate="one_to_one")
    for column, name in (("effect", "meaningless_effect"), ("effect_low", "meaningless_low")):
        assert (both[name] == both[column]).all()
    safety = table(finished, "safety_heads")
    for ablation in ("undifferentiated", "scaling"):
        part = safety[(safety["ablation"] == ablation) & (safety["rank"] == 1)]
        both = heads.merge(part, on=KEYS, validate="one_to_one")
        assert (both[f"ships_{ablation}"] == both["ships_degrees"]).all()
        assert (both[f"kl_{ablation}"] == both["kl_mean"]).all()
        assert (both[f"position_{ablation}"] == both["position"]).all()
    categories = table(finished, "head_categories")
    for column, significance in (("label", "tau"), ("label_null", "tau_and_null")):
        part = categories[categories["significance"] == significance]
        both = heads[[*KEYS, column]].merge(part[[*KEYS, "label"]], on=KEYS, suffixes=("", "_of_part"))
        assert (both[column] == both.iloc[:, -1]).all()
    relations = table(finished, "head_relations")
    highest = relations.groupby(KEYS)["score"].max().rename("highest").reset_index()
    assert (heads.merge(highest, on=KEYS)["score"] == heads.merge(highest, on=KEYS)["highest"]).all()
    found = heads[heads["score"] > 0].merge(relations, on=[*KEYS, "relation"], suffixes=("", "_of_part"))
    assert len(found) == 2 * (heads["score"] > 0).sum() > 0
    for sign in ("direct", "suppression"):
        part = found[found["sign"] == sign]
        assert (part[f"score_{sign}"] == part["score_of_part"]).all()
        assert (part[f"q_{sign}"] == part["q"]).all()


def test_captions_name_data_and_measures(finished):
    text = (finished.folder / "results" / "captions" / "head_overlap.txt").read_text()
    for fact in ("Tiny Llama: 24 heads", "sinks: tiny passages", "top 4", "200 draws"):
        assert fact in text


def test_explorer_holds_every_model_and_stays_small(finished):
    page = (finished.folder / "figures" / "explorer.html").read_text()
    text = page.split('<script id="atlas-data" type="application/json">')[1].split("</script>")[0]
    data = json.loads(text)
    assert [model["label"] for model in data["models"]] == ["Tiny Llama", "Tiny Llama shuffled"]
    assert all(model["curves"] and model["top"] for model in data["models"])
    assert len(page) < 5_000_000


def test_option_of_one_analysis_joins_again_without_the_others(project):
    project.configure(lambda config: config["analyses"]["sinks"].update(epsilon=0.2))
    jobs = project.planned("figures/head_overlap")
    jobs.pop("figures/head_overlap")
    assert jobs == {
        "compute_sinks": 2, "join_heads": 2, "compare_heads": 2, "plot_head_overlap": 1,
    }  # fmt: skip


def test_option_of_the_comparison_leaves_the_table_alone(project):
    project.configure(lambda config: config["analyses"]["heads"].update(top=3))
    jobs = project.planned()
    assert jobs == {"compare_heads": 2, "aggregate_head_overlap": 1, "plot_head_overlap": 1, "manifest": 1}


def test_changed_table_draws_both_figures(project):
    project.configure(lambda config: config["analyses"]["heads"].update(rank=3))
    assert project.planned() == JOINED


def test_chosen_rank_and_missing_analysis(project):
    def change(config):
        config["analyses"]["heads"]["rank"] = 3
        config["analyses"]["meaningless_tokens"] = None
        config["figures"]["attention_sinks"] = None

    project.configure(change)
    process = project.run("results/tables/heads.parquet", "results/tables/head_overlap.parquet")
    assert process.returncode == 0, process.stdout
    heads = read_table(project.folder / "results" / "tables" / "heads.parquet", "heads")
    assert heads[["meaningless_dataset", "meaningless_effect", "span_mass"]].isna().all(axis=None)
    assert set(heads["ships_rank"]) == {3}
    safety = table(project, "safety_heads").query("ablation == 'scaling' and rank == 3")
    assert heads.merge(safety, on=KEYS).eval("ships_scaling == ships_degrees").all()
    overlap = read_table(project.folder / "results" / "tables" / "head_overlap.parquet", "head_overlap")
    assert "meaningless_effect" not in {*overlap["metric_a"], *overlap["metric_b"]}
