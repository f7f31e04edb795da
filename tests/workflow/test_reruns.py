"""What runs again: whatever can change a result, by its content, and nothing else."""

import os
import re
import shutil
import subprocess
import tarfile
import time

import pandas as pd
import pytest

from projects import PARTS, Project, copy_project

# Rules that run a model, or bring one here.
MODEL_RULES = ("download_model", "extract_", "generate_", "search_", "select_pairs", "train_probe")
YEARS_AGO = (1_000_000_000, 1_000_000_000)
LIBRARY = "scripts/atlas"


def of_models(jobs):
    return {rule for rule in jobs if rule.startswith(MODEL_RULES)}


# -------------------------------------------------------------------------------------------------------- plans nothing
def test_touching_every_file_of_scripts_plans_nothing(project):
    for path in (project.folder / "scripts").rglob("*"):
        os.utime(path)
    assert project.planned() == {}


@pytest.mark.parametrize("memory", [True, False], ids=["with .snakemake", "without .snakemake"])
def test_fresh_clone_over_copied_results_plans_nothing(finished, tmp_path, memory):
    clone = copy_project(tmp_path / "clone")  # all files but the results are new
    for part in ("results", "figures", *([".snakemake"] if memory else [])):
        shutil.copytree(finished.folder / part, clone.folder / part, symlinks=True)
    assert clone.planned() == {}


def test_branch_switched_away_and_back_plans_nothing(project):
    def git(*arguments):
        given = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-c", "core.hooksPath="]
        subprocess.run(["git", *given, *arguments], cwd=project.folder, check=True, capture_output=True)

    git("init")
    git("add", *(part for part in PARTS if (project.folder / part).exists()), "tiny")
    git("commit", "-m", "one")
    git("switch", "-c", "other")
    tracked = subprocess.run(["git", "ls-files"], cwd=project.folder, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        path = project.folder / name
        # as on another branch: weights are left, they cannot be read as text
        if path.suffix != ".safetensors":
            path.write_bytes(path.read_bytes() + b"\n")
    git("commit", "-am", "two")
    git("switch", "main")
    assert project.planned() == {}


def test_comment_or_log_message_in_any_module_plans_nothing(project):
    messages = 0
    for path in (project.folder / "scripts").rglob("*.py"):
        text = path.read_text() + "\n# A comment.\n"
        # a word more in each message that is logged, and a line more before it
        changed = re.sub(
            r'^( +)(log|(?:\w+\.)?log\.info|_LOG\.info)\((f?)"',
            r'\1log.info("%d rows", 3)\n\1\2(\3"Now ',
            text,
            flags=re.M,
        )
        messages += changed != text
        path.write_text(changed)
    assert messages > 3
    assert project.planned() == {}


def test_project_reached_through_a_symlink_plans_nothing(project, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(project.folder)
    assert Project(link).planned() == {}  # the shell's folder is physical
    assert project.planned("--snakefile", str(link / "Snakefile"), "figures/all") == {}
    assert Project(link).planned("--snakefile", str(project.folder / "Snakefile"), "figures/all") == {}
    there = project.planned("--snakefile", str(link / "Snakefile"), "--directory", str(link), "figures/all")
    assert there == {}


# ------------------------------------------------------------------------------------------- plans what depends on it
def test_new_column_in_a_table_plans_that_table_and_what_reads_it(project):
    project.edit(
        f"{LIBRARY}/analyses/sinks/tables.py",
        '"epsilon": "float64",',
        '"epsilon": "float64",\n        "more": "int32",',
    )
    jobs = project.planned()
    assert jobs["compute_sinks"] == 2
    assert set(jobs) <= {
        "compute_sinks", "aggregate_table", "plot_sink_rates", "plot_sink_profile", "plot_sink_norms", "join_heads",
        "compare_heads", "aggregate_heads", "aggregate_head_overlap", "plot_head_overlap", "plot_explorer",
        "manifest", "compute_claims",
        "aggregate_claims", "aggregate_published", "plot_claims",
    }  # fmt: skip


def test_edit_in_the_ships_engine_plans_safety_heads_alone(project):
    project.append(f"{LIBRARY}/analyses/safety_heads/extract.py", "\n_MORE = 1\n")
    jobs = project.planned()
    assert jobs["extract_head_ablations"] == 4
    assert of_models(jobs) <= {"extract_head_ablations", "search_head_groups", "generate_ablated"}
    computed = {rule for rule in jobs if rule.startswith("compute_")}
    assert computed == {"compute_safety_heads", "compute_ablation_effect", "compute_claims"}


def test_the_reason_names_the_file(project):
    project.append(f"{LIBRARY}/analyses/sinks/metrics.py", "\n_MORE = 1\n")
    assert "atlas/analyses/sinks/metrics.py " in project.run("-n", "figures/sink_rates.pdf").stdout


# ------------------------------------------------------------------------------------------------ and nothing is missed
def test_a_line_more_in_a_relation_is_noticed(project):
    project.append("tiny/relations/word_to_synonym.csv", "w191,w192\n")
    jobs = project.planned()
    assert jobs["download_dataset"] == jobs["prepare_dataset"] == 1
    assert jobs["extract_head_mappings"] == 4
    assert "download_model" not in jobs
    assert "extract_sinks" not in jobs


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja"])
def test_a_changed_file_of_a_model_is_noticed(project, name):
    project.append(f"tiny/model/{name}", "\n")
    jobs = project.planned()
    assert jobs["download_model"] == 2  # and the control that is made from it
    assert jobs["extract_sinks"] == 2


def test_a_changed_table_of_a_depth_folder_is_noticed(project):
    goal = "results/downloads/datasets/graph"
    tables = {
        "questions": [{"qid": "q1", "depth": 1, "question": "w1", "answer": "w2"}],
        "nodes": [{"nodeid": "n1", "depth": 1, "direct_predecessors": []}],
        "node_to_q": [{"nodeid": "n1", "qid": "q1"}],
    }
    for table, rows in tables.items():
        (project.folder / "tiny" / "depth" / table).mkdir(parents=True)
        pd.DataFrame(rows).to_parquet(project.folder / "tiny" / "depth" / table / "test.parquet")
    project.configure(lambda config: config["datasets"]["graph"].update(source={"path": "tiny/depth"}))
    assert project.run(goal).returncode == 0
    assert project.planned(goal) == {}
    changed = project.folder / "tiny" / "depth" / "questions" / "test.parquet"
    pd.DataFrame([{**tables["questions"][0], "answer": "w3"}]).to_parquet(changed)
    assert project.planned(goal) == {"download_dataset": 1}


def test_an_older_file_in_the_place_of_a_newer_one_is_noticed(project, tmp_path):
    def older(name, edit=lambda text: text + "\n"):
        path = tmp_path / "older" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(edit((project.folder / name).read_text()))
        os.utime(path, YEARS_AGO)
        return path

    older("tiny/questions.jsonl").rename(project.folder / "tiny/questions.jsonl")  # mv
    shutil.copy2(older("tiny/passages.txt"), project.folder / "tiny/passages.txt")  # cp -p
    shutil.copy2(older("tiny/demonstrations.jsonl"), project.folder / "tiny/demonstrations.jsonl")
    with tarfile.open(tmp_path / "older.tar", "w") as archive:
        archive.add(older("tiny/relations/copying.csv", lambda text: text + "w1,w2\n"), "tiny/relations/copying.csv")
    with tarfile.open(tmp_path / "older.tar") as archive:
        archive.extractall(project.folder, filter="tar")
    # a clock that jumped back
    project.append("tiny/trivia.jsonl", "\n")
    os.utime(project.folder / "tiny/trivia.jsonl", YEARS_AGO)
    project.edit("scripts/atlas/analyses/heads/page/explorer.css", "{", "{\n")
    os.utime(project.folder / "scripts/atlas/analyses/heads/page/explorer.css", YEARS_AGO)
    jobs = project.planned()
    assert jobs["download_dataset"] == 4
    assert jobs["generate_qa_answers"] == 2
    assert jobs["plot_explorer"] == 1
    assert "download_model" not in jobs


def test_every_file_that_is_handed_in_counts_by_its_content(project):
    touched = ["tiny", "data", "schemas", "envs", "report", "configs"]
    for part in touched:
        for path in (project.folder / part).rglob("*"):
            os.utime(path)
    assert project.planned() == {}
    project.edit("schemas/kinds/prompts.schema.json", "{", "{ ")
    jobs = project.planned()
    assert jobs["prepare_dataset"] == 1  # what became of it decides on the rest when it has run
    assert "download_dataset" not in jobs


# --------------------------------------------------------------------------------------------------- wrong clocks
def test_a_result_stamped_in_the_future_says_so_and_cures_itself(project):
    goal = "results/datasets/passages.parquet"
    stamp = project.folder / "results" / "downloads" / "datasets" / "passages" / ".snakemake_timestamp"
    ahead = time.time() + 5 * 3600
    os.utime(stamp, (ahead, ahead))
    said = project.run("-n", goal).stdout
    assert "passages/.snakemake_timestamp is stamped in the future" in said
    assert "the run will stamp it with the present time" in said
    assert stamp.stat().st_mtime == pytest.approx(ahead)
    process = project.run(goal)
    assert process.returncode == 0, process.stdout
    assert "it is stamped with the present time" in process.stdout
    assert "stamped in the future" not in project.run("-n", goal).stdout
    assert project.planned() == {}


def test_a_source_stamped_in_the_future_says_so_and_plans_nothing(project):
    ahead = time.time() + 5 * 3600
    for name in ("tiny/passages.txt", "tiny/model/config.json", "tiny/relations", "scripts/job.py"):
        os.utime(project.folder / name, (ahead, ahead))
    said = project.run("-n", "figures/all").stdout
    assert "tiny/passages.txt is stamped in the future" in said
    assert "of your own files the content decides" in said
    assert project.planned() == {}
