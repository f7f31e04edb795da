"""What plans say of each job's resources, under each profile; threads inside jobs; a submit command that runs."""

import re
import stat
from importlib.util import find_spec

import pytest

from atlas.analyses import registry

PLUGINS = {
    "slurm": "snakemake_executor_plugin_slurm",
    "generic": "snakemake_executor_plugin_cluster_generic",
    "kubernetes": "snakemake_executor_plugin_kubernetes",
}
needs_plugins = pytest.mark.skipif(
    not all(map(find_spec, PLUGINS.values())), reason="needs Snakemake's cluster plugins: make environment-cluster"
)


def asked(output, rule):
    """{resource: text} of the first job of `rule` in the output of `snakemake -n`."""
    block = re.search(rf"^rule {rule}:\n(.*?)\n\n|^rule {rule}:\n(.*?)^\[", output + "\n\n", re.S | re.M)
    line = re.search(r"^ +resources: (.*)$", block[0], re.M)[1]
    return dict(part.split("=", 1) for part in line.split(", "))


def plan(project, *arguments):
    process = project.run("-n", *arguments)
    assert process.returncode == 0, process.stdout
    return process.stdout


@needs_plugins
@pytest.mark.parametrize("profile", PLUGINS)
def test_profile_plans_every_job_with_memory_and_time(fresh_shared, profile):
    more = ["--default-storage-prefix", str(fresh_shared.folder)] if profile == "kubernetes" else []
    output = plan(fresh_shared, "figures/all", "--workflow-profile", f"profiles/{profile}", *more)
    lines = re.findall(r"^ +resources: (.*)$", output, re.M)
    asking = [dict(part.split("=", 1) for part in line.split(", ")) for line in lines if "runtime=" in line]
    assert len(asking) == len(lines) - 1 > 50  # all but figures/all, which runs nothing
    assert all(int(found["mem_mb"]) > 1000 and int(found["runtime"]) > 0 for found in asking)


def test_large_models_ask_for_gpus_and_memory_by_their_hint(fresh):
    def enlarge(config):
        config["models"]["tiny"] |= {"parameters": 70_000_000_000, "device": "cuda", "device_map": "auto"}
        config["models"]["tiny"] |= {"gpu_memory_gb": 40, "threads": 4}

    target = "results/activations/tiny/sinks/passages.safetensors"
    before = asked(plan(fresh, target), "extract_sinks")
    fresh.configure(enlarge)
    after = asked(plan(fresh, target, "--resources", "gpu=8"), "extract_sinks")
    assert before["gpu"] == "0"
    assert int(after["gpu"]) == 4  # 140 GB in 36 GB each
    assert int(before["mem_mb"]) < 2000 < 14_000 < int(after["mem_mb"])
    assert int(after["runtime"]) > int(before["runtime"])


def test_without_a_hint_the_size_is_read_from_the_model(fresh, project):
    def forget(config):
        for model in ("tiny", "tiny-shuffled"):
            config["models"][model].pop("parameters")

    target = "results/activations/tiny/sinks/passages.safetensors"
    fresh.configure(forget)
    assert asked(plan(fresh, target), "extract_sinks")["mem_mb"] == "<TBD>"
    project.configure(forget)
    found = asked(plan(project, target, "--forcerun", "extract_sinks"), "extract_sinks")
    assert 1200 < int(found["mem_mb"]) < 1300


def test_every_job_has_resources_and_every_job_before_the_figures_is_measured(fresh_shared):
    text = fresh_shared.run("-n", "figures/all").stdout
    blocks = dict(re.findall(r"^(?:local)?rule (\S+):\n((?:    .*\n)+)", text, re.M))
    assert len(blocks) > 40
    blocks.pop("figures/all")
    for name, block in blocks.items():
        assert re.search(r"resources: .*runtime=\S+.* mem_mb=\S+", block), name
        wanted = not name.startswith("plot_") and name not in ("manifest", "aggregate_costs")
        assert (f"benchmark: results/benchmarks/jobs/{name}/" in block) == wanted, name


def test_tables_and_figures_are_one_group_on_slurm(fresh_shared):
    """One rule left out between two of the group, and the group would wait for itself."""
    text = (fresh_shared.folder / "profiles" / "slurm" / "config.yaml").read_text()
    rules = {"join_heads", "compare_heads", "compute_claims", "aggregate_table", "aggregate_costs", "manifest"}
    rules |= {f"aggregate_{table}" for table in registry.JOINED_TABLES} | {f"plot_{plot}" for plot in registry.PLOTS}
    assert set(re.findall(r"- (\w+)=figures\n", text)) == rules


def test_jobs_get_the_threads_of_their_model(fresh):
    fresh.configure(lambda config: config["models"]["tiny"].update(threads=2))
    process = fresh.run("results/activations/tiny/sinks/passages.safetensors")  # in an environment of one thread
    assert process.returncode == 0, process.stdout
    logs = fresh.folder / "results" / "logs"
    assert "threads 2 (OMP_NUM_THREADS 2)" in (logs / "extract_sinks/tiny/passages/1-of-1.log").read_text()
    assert "threads 1 (OMP_NUM_THREADS 1)" in (logs / "prepare_dataset/passages.log").read_text()


@needs_plugins
def test_submit_command_of_the_generic_profile_runs_jobs(fresh):
    submit = fresh.write("submit", '#!/bin/sh\necho "$@" >> submitted\nsh "$4" >/dev/null 2>&1 &\necho $!\n')
    submit.chmod(submit.stat().st_mode | stat.S_IXUSR)
    process = fresh.run(
        "results/datasets/questions.parquet", "--workflow-profile", "profiles/generic", "--latency-wait", "5",
        "--cluster-generic-submit-cmd", "./submit {threads} {resources.mem_mb} {resources.runtime}",
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    assert [line.split()[:3] for line in (fresh.folder / "submitted").read_text().splitlines()] == [
        ["1", "1502", "120"],
        ["1", "1502", "20"],
    ]
