"""Real runs: everything, one figure, nothing to do, a change of each kind, a killed run."""

import base64
import hashlib
import html
import json
import os
import re
import signal

import pandas as pd

from atlas.analyses.claims.verdicts import VERDICTS
from atlas.analyses.published import read_table
from atlas.analyses.registry import TABLES
from projects import digests, paused

FIGURES = [
    "attention_sinks", "sink_rates", "sink_profile", "sink_norms", "head_types", "head_categories",
    "head_categories_null", "category_share", "relation_map", "relation_effect", "relation_dynamic", "mink_depth",
    "depth_prompts", "membership_roc", "safety_heads", "prompt_heads", "safety_effect", "head_overlap", "costs",
    "saliency_density", "saliency_by_layer", "probe_auroc", "span_saliency", "claims",
]  # fmt: skip
# What a change of the sinks' metrics runs again.
AFTER_SINKS = {
    "compute_sinks": 2, "aggregate_table": 4, "plot_sink_rates": 1, "plot_sink_profile": 1, "plot_sink_norms": 1,
    "join_heads": 2,
    "compare_heads": 2, "aggregate_heads": 1, "aggregate_head_overlap": 1, "plot_head_overlap": 1, "plot_explorer": 1,
    "manifest": 1,
    "compute_claims": 2, "aggregate_claims": 1, "aggregate_published": 1, "plot_claims": 1,
}  # fmt: skip
TRAINED_ONLY = ("head_groups", "ablation_effect")


def test_full_run_makes_every_figure_and_table(finished):
    made = {path.name for path in (finished.folder / "figures").iterdir()}
    assert made == {f"{figure}.{ext}" for figure in FIGURES for ext in ("pdf", "svg", "png")} | {
        "explorer.html", "manifest.sha256",
    }  # fmt: skip
    for line in (finished.folder / "figures" / "manifest.sha256").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((finished.folder / name).read_bytes()).hexdigest() == digest
        made.remove(name.removeprefix("figures/"))
    assert made == {"manifest.sha256", "costs.pdf", "costs.svg", "costs.png"}
    for table in TABLES:
        frame = read_table(finished.folder / "results" / "tables" / f"{table}.parquet", table)
        models = {"tiny"} if table in TRAINED_ONLY else {"tiny", "tiny-shuffled"}
        assert set(frame["model"]) - {""} == (models if table != "published" else set())  # of nothing that is known
        written = pd.read_csv(finished.folder / "results" / "tables" / f"{table}.csv")
        texts = [column for column in frame if frame[column].dtype == "str"]
        frame[texts], written[texts] = frame[texts].fillna(""), written[texts].fillna("")
        pd.testing.assert_frame_equal(frame, written.astype(frame.dtypes), check_exact=False, rtol=1e-12)


def test_captions_state_model_data_n_and_options(finished):
    text = (finished.folder / "results" / "captions" / "attention_sinks.txt").read_text()
    for fact in ("Tiny Llama", "tiny questions", "24 prompts", "drop_columns", "inserted as ids", "7 x 'w9'"):
        assert fact in text
    text = (finished.folder / "results" / "captions" / "sink_rates.txt").read_text()
    for fact in ("Tiny Llama shuffled", "tiny passages", "n = 12 sequences of 16 tokens", "0.3"):
        assert fact in text


def test_second_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


def test_one_figure_asks_for_its_branch_only(fresh):
    jobs = fresh.planned("figures/sink_rates.pdf")
    assert jobs == {
        "download_model": 2, "download_dataset": 1, "prepare_dataset": 1, "extract_sinks": 2, "gather_shards": 2,
        "compute_sinks": 2, "plot_sink_rates": 1,
    }  # fmt: skip


def test_downloads_bring_in_what_the_analyses_use_and_nothing_else(fresh):
    """Then a run needs no network: what is left to do makes no download."""

    def change(config):
        config["models"]["unused"] = {"source": {"path": "tiny/model"}, "parameters": 9}
        config["analyses"]["sinks"]["models"] = ["tiny-shuffled"]
        config["only"] = ["sinks"]

    fresh.configure(change)
    assert fresh.planned("downloads") == {"download_model": 1, "download_dataset": 1, "downloads": 1}
    process = fresh.run("downloads")
    assert process.returncode == 0, process.stdout
    assert (fresh.folder / "results/models/tiny/model.safetensors").exists()  # the base of the control
    assert (fresh.folder / "results/downloads/datasets/passages").is_dir()
    left = fresh.planned("figures/all")
    assert left["download_model"] == 1  # the control itself, which is made of its base
    assert "download_dataset" not in left


def test_alias_asks_for_all_formats(project):
    for extension in ("pdf", "svg"):
        (project.folder / "figures" / f"sink_rates.{extension}").unlink()
    jobs = project.planned("figures/sink_rates")
    jobs.pop("figures/sink_rates")
    assert jobs == {"plot_sink_rates": 1}


def test_deleted_figures_are_rebuilt_alone_with_the_same_bytes(project):
    before = digests(project.folder / "figures", "*")
    deleted = ("attention_sinks", "sink_rates", "explorer")
    for figure in deleted:
        next((project.folder / "figures").glob(f"{figure}.*")).unlink()
    assert project.planned() == {**{f"plot_{figure}": 1 for figure in deleted}, "manifest": 1}
    process = project.run("figures/all")
    assert process.returncode == 0, process.stdout
    assert digests(project.folder / "figures", "*") == before


def test_plot_label_redraws_one_figure(project):
    project.configure(lambda config: config["figures"].update(sink_rates={"title": "Model {label}"}))
    assert project.planned() == {"plot_sink_rates": 1, "manifest": 1}


def test_metric_option_runs_no_model(project):
    project.configure(lambda config: config["analyses"]["sinks"].update(epsilon=0.2))
    assert project.planned() == AFTER_SINKS
    assert project.run("results/tables/sinks.parquet").returncode == 0
    frame = read_table(project.folder / "results" / "tables" / "sinks.parquet", "sinks")
    assert set(frame["epsilon"]) == {0.2}


def test_extraction_option_reads_the_model_again(project):
    project.configure(lambda config: config["analyses"]["sinks"].update(length=12))
    jobs = project.planned()
    assert jobs["extract_sinks"] == 2
    assert "extract_attention" not in jobs
    assert "download_model" not in jobs


def test_model_entry_runs_its_own_branch(project):
    project.configure(lambda config: config["models"]["tiny-shuffled"]["source"]["control"].update(seed=1))
    jobs = project.planned()
    assert jobs["download_model"] == 1
    assert jobs["extract_attention"] == 2  # two shards of one model
    assert jobs["extract_sinks"] == jobs["compute_sinks"] == jobs["compute_attention"] == 1
    assert "prepare_dataset" not in jobs


def test_data_set_entry_runs_its_own_branch(project):
    project.configure(lambda config: config["datasets"]["questions"].update(limit=20))
    jobs = project.planned()
    assert jobs["prepare_dataset"] == 1
    assert jobs["extract_attention"] == 4
    assert "extract_sinks" not in jobs
    assert "download_dataset" not in jobs


def test_library_edit_runs_what_imports_it(project):
    project.append("scripts/atlas/analyses/sinks/metrics.py", "_MORE = 1\n")
    assert project.planned() == AFTER_SINKS


def test_library_module_imported_through_others_counts(project):
    project.append("scripts/atlas/results/shards.py", "_MORE = 1\n")
    jobs = project.planned()
    assert jobs["extract_attention"] == 4
    assert jobs["extract_sinks"] == 2
    assert "download_model" not in jobs


def test_touching_a_library_module_runs_nothing(project):
    os.utime(project.folder / "scripts" / "atlas" / "errors.py")
    assert project.planned() == {}


def test_deleted_intermediate_comes_back(project):
    table = project.folder / "results" / "tables" / "sinks.parquet"
    before = table.read_bytes()
    (project.folder / "results" / "metrics" / "tiny" / "sinks" / "passages.parquet").unlink()
    table.unlink()
    assert project.planned("results/tables/sinks.parquet") == {"compute_sinks": 1, "aggregate_table": 1}
    assert project.run("results/tables/sinks.parquet").returncode == 0
    assert table.read_bytes() == before
    assert project.planned() == {}  # the same bytes: no figure is drawn again


def test_order_of_keys_does_not_matter(project):
    project.configure(lambda config: config["analyses"].update(reversed(list(config["analyses"].items()))))
    project.configure(
        lambda config: config["analyses"].update(
            {name: dict(reversed(block.items())) for name, block in config["analyses"].items()}
        )
    )
    assert project.planned() == {}


def test_shards_do_not_change_results(project):
    before = digests(project.folder / "results" / "activations" / "tiny" / "attention", "*.safetensors")
    tables = digests(project.folder / "results" / "tables", "*.parquet")
    del tables["costs.parquet"]
    project.configure(lambda config: config["analyses"]["meaningless_tokens"].update(shards=3))
    assert project.planned()["extract_attention"] == 6
    assert project.run(*(f"results/tables/{table}.parquet" for table in TABLES)).returncode == 0
    assert digests(project.folder / "results" / "activations" / "tiny" / "attention", "*.safetensors") == before
    assert digests(project.folder / "results" / "tables", "*.parquet").items() >= tables.items()
    costs = read_table(project.folder / "results" / "tables" / "costs.parquet", "costs")
    counted = costs[costs["rule"] == "extract_attention"]
    assert list(counted["jobs"]) == [3, 3]  # and not five: the two of before do not count
    assert list(counted["rows"]) == [24, 24]


def test_killed_run_resumes_with_what_was_finished(fresh):
    targets = ["figures/sink_rates.pdf", "figures/attention_sinks.pdf"]
    # Its model is finished, in Snakemake's books too, and other jobs run.
    with paused(fresh, r"results/metrics/tiny/sinks/passages\.parquet$", *targets) as (process, _):
        os.killpg(process.pid, signal.SIGKILL)
    assert not list((fresh.folder / "figures").glob("*.pdf"))
    assert "unlock" in fresh.run(*targets).stdout
    assert fresh.run("--unlock").returncode == 0
    jobs = fresh.planned(*targets)
    assert "compute_sinks" in jobs
    assert jobs.get("download_model", 0) <= 1  # the finished one is not made again
    again = fresh.run(*targets)
    assert again.returncode == 0, again.stdout
    assert fresh.planned(*targets) == {}
    assert not list(fresh.folder.glob("results/**/.*.part"))


def test_report_needs_no_network_and_holds_every_figure_and_table(project, tmp_path):
    assert project.planned("overview") == {"overview": 1}
    process = project.run("overview")
    assert process.returncode == 0, process.stdout
    process = project.run("--report", str(tmp_path / "report.html"), "overview")
    assert process.returncode == 0, process.stdout
    assert "mimetype" not in process.stdout
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']?(https?:)?//""", text)
    results, categories = (
        json.JSONDecoder().raw_decode(text, re.search(rf'\b{name} = (?={{")', text).end())[0]
        for name in ("results", "categories")
    )
    figures = {path.relative_to(project.folder).as_posix() for path in (project.folder / "figures").glob("*.*")}
    tables = {f"results/tables/{table}.{extension}" for table in TABLES for extension in ("csv", "parquet")}
    assert set(results) == figures - {"figures/manifest.sha256"} | tables | {"results/overview.html"}
    assert set(categories["Tables"]["Other"]) == tables
    assert "figures/explorer.html" in categories["All analyses, head by head"]["Other"]
    for path, result in results.items():
        kind, stem = ("table" if path in tables else "figure"), path.rpartition("/")[2].rpartition(".")[0]
        if stem != "overview":
            assert result["labels"] == {kind: stem, "format": path.rpartition(".")[2]}
        assert len(result["caption"]) > 100
        held = base64.b64decode(result["data_uri"].split("base64,")[1])
        assert held == (project.folder / path).read_bytes()
    assert "24 prompts" in results["figures/attention_sinks.pdf"]["caption"]
    assert "Table heads," in results["results/tables/heads.csv"]["caption"]
    # The first page: what was run, on what, what came out, every figure with its caption, without a click.
    shown = json.JSONDecoder().raw_decode(text, re.search(r'\bworkflow_desc = (?=")', text).end())[0]
    words = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", shown)))
    for caption in (project.folder / "results" / "captions").glob("*.txt"):
        assert " ".join(caption.read_text().split()) in words
    for model in (project.folder / "results" / "models").iterdir():
        assert json.loads((model / "provenance.json").read_text())["weights_sha256"] in words
    claims = pd.read_parquet(project.folder / "results" / "tables" / "claims.parquet")
    assert set(claims["claim_verdict"][claims["decides"]]) <= set(re.findall("|".join(VERDICTS), words))
    assert shown.count("data:image/png;base64,") == len(list((project.folder / "figures").glob("*.png")))


def test_shards_of_sequences_and_layers_do_not_change_results(project):
    goals = [f"results/activations/tiny/{name}.safetensors" for name in ("sinks/passages", "head_mappings/relations")]
    before = [(project.folder / goal).read_bytes() for goal in goals]
    project.configure(lambda config: config["analyses"]["sinks"].update(shards=3))
    project.configure(lambda config: config["analyses"]["head_categories"].update(shards=4))
    jobs = project.planned(*goals)
    assert (jobs["extract_sinks"], jobs["extract_head_mappings"]) == (3, 4)
    process = project.run(*goals)
    assert process.returncode == 0, process.stdout
    assert [(project.folder / goal).read_bytes() for goal in goals] == before
