"""scripts/estimate.py plans what `snakemake -n` plans, prints what it takes, and writes nothing."""

import re
import subprocess

import pytest

import warm_python
from projects import digests


def estimate(project, *arguments):
    return subprocess.run(
        [warm_python.python(), "scripts/estimate.py", "--configfile", "configs/tiny.yaml", *arguments],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


def jobs(text):
    """{part: jobs} of the printed table."""
    return {name.strip(): int(count) for name, count in re.findall(r"^(\S.*?)  +(\d+) ", text, re.M)}


@pytest.mark.parametrize("target", ["figures/all", "figures/sink_rates.pdf"])
def test_jobs_are_those_of_the_plan(fresh_shared, target):
    before = digests(fresh_shared.folder, "results/**/*")
    process = estimate(fresh_shared, "--cores", "3", "--", target)
    assert process.returncode == 0, process.stderr
    found = jobs(process.stdout)
    stats = re.search(r"\ntotal +(\d+)", fresh_shared.run("-n", target).stdout)
    assert found["in all"] == sum(found.values()) - found["in all"] == int(stats[1])
    assert found["sinks"] == 2
    assert ("saliency" in found) is (target == "figures/all")
    assert re.search(r"About \d+ minutes on 3 cores\.", process.stdout)
    assert "Models to bring in or to make: tiny, tiny-shuffled" in process.stdout
    assert digests(fresh_shared.folder, "results/**/*") == before


def test_a_finished_run_takes_nothing(finished):
    process = estimate(finished, "--", "figures/sink_rates.pdf")
    assert (process.returncode, process.stdout) == (0, "Nothing is left to be done.\n")


def test_errors_are_snakemakes_own(fresh_shared):
    process = estimate(fresh_shared, "--", "figures/nonsense.pdf")
    assert process.returncode == 1
    assert "nonsense" in process.stderr
    assert "minutes" not in process.stdout
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("question", ["--unlock", "--list-rules", "--summary"])
def test_what_needs_no_cores_asks_for_none(fresh_shared, question):
    command = [warm_python.python(), "-m", "snakemake", question, "--configfile", "configs/tiny.yaml"]
    process = subprocess.run(
        command,
        cwd=fresh_shared.folder,
        env=fresh_shared.environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
