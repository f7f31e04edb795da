"""CONTRIBUTING.md's steps, taken: a sixth analysis, a figure, an option and a column, and how many files each touches.

tests/toy/ holds the new files of the analysis; it is laid over a copy of the project.
"""

import os
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import warm_python
from places import ROOT

ANALYSES = "scripts/atlas/analyses"
TRACKED = ["Snakefile", "config.yaml", "docs", "rules", "schemas", "scripts"]
IGNORED = shutil.ignore_patterns("__pycache__")


class Copy:
    """A project of which git says what was touched since it was made."""

    def __init__(self, project):
        self.project = project
        shutil.copytree(ROOT / "docs", project.folder / "docs", ignore=IGNORED)
        self._git("init")
        self._git("add", *TRACKED)
        self._git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-m", "one")

    def _git(self, *arguments):
        command = ["git", "-c", "core.hooksPath=", "-c", "init.defaultBranch=main", *arguments]
        return subprocess.run(command, cwd=self.project.folder, check=True, capture_output=True, text=True).stdout

    def touched(self):
        """(new, changed) files."""
        lines = self._git("status", "--porcelain", "--untracked-files=all", "--", *TRACKED).splitlines()
        names = [(line[:2], line[3:]) for line in lines if "__pycache__" not in line]
        return {name for mark, name in names if mark == "??"}, {name for mark, name in names if mark != "??"}

    def generate(self):
        """`make config`; the files that it wrote."""
        before = self.touched()[1]
        environment = {**os.environ, "PYTHONPATH": "scripts", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [warm_python.python(), "-m", "atlas.config.generate"]
        process = subprocess.run(command, cwd=self.project.folder, env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return self.touched()[1] - before

    def add_analysis(self):
        shutil.copytree(ROOT / "tests" / "toy", self.project.folder, dirs_exist_ok=True, ignore=IGNORED)
        self.project.edit(f"{ANALYSES}/registry.py", '    "heads",\n', '    "token_norms",\n    "heads",\n')
        heads = 'include: "rules/heads.smk"\n'
        self.project.edit("Snakefile", heads, f'include: "rules/token_norms.smk"\n{heads}')


def independent(folder):
    """{layer: mean norm} of the tiny model by transformers alone."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder / "model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    found = []
    for text in (folder / "passages.txt").read_text().splitlines():
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        found.append([np.linalg.norm(state[0].numpy(), axis=1).mean() for state in states])
    return np.mean(found, axis=0)


def test_an_analysis_is_ten_files_and_gives_the_right_numbers(chart):
    copy, goal = Copy(chart), "figures/token_norms.pdf"
    copy.add_analysis()
    new, changed = copy.touched()
    assert len(new) == 8
    assert changed == {"Snakefile", f"{ANALYSES}/registry.py"}
    assert copy.generate() == {"config.yaml", "schemas/config.schema.yaml"}

    assert chart.planned("figures/sink_rates.pdf") == {}
    process = chart.run(goal)
    assert process.returncode == 0, process.stdout
    table = pd.read_parquet(chart.folder / "results" / "metrics" / "tiny" / "token_norms" / "passages.parquet")
    assert table["layer"].tolist() == list(range(len(table)))
    assert set(table["texts"]) == {20}
    np.testing.assert_allclose(table["norm"], independent(chart.folder / "tiny"), rtol=1e-5)
    assert chart.planned(goal) == {}


def test_an_analysis_plans_no_job_of_the_others(project):
    copy = Copy(project)
    copy.add_analysis()
    copy.generate()
    assert project.planned() == {
        "extract_token_norms": 2, "compute_token_norms": 2, "aggregate_table": 1, "plot_token_norms": 1, "manifest": 1,
    }  # fmt: skip


def test_a_figure_is_three_files(chart):
    copy, folder = Copy(chart), chart.folder / ANALYSES / "sinks"
    plot = (folder / "plot_sink_rates.py").read_text()
    (folder / "plot_sink_map.py").write_text(plot)
    (folder / "plot_sink_map.yaml").write_text(
        "options: {models: , dataset: , title: , width: }\nfigures: {sink_map: {}}\n"
    )
    old = '"sink_rates": Plot(("sinks", "sink_rates"), "Attention sinks")'
    chart.edit(f"{ANALYSES}/sinks/analysis.py", old, f'{old}, "sink_map": Plot(("sinks", "sink_rates"), "Sinks")')
    new, changed = copy.touched()
    assert len(new | changed) == 3
    copy.generate()
    assert chart.planned("figures/sink_map.pdf") == {"plot_sink_map": 1}
    assert chart.planned("figures/sink_rates.pdf") == {}


def test_an_option_is_three_files(chart):
    copy = Copy(chart)
    chart.edit(
        f"{ANALYSES}/sinks/options.yaml",
        "    bos:\n",
        "    position: {why: Which position counts as sink., type: integer, minimum: 0, default: 0}\n    bos:\n",
    )
    chart.edit("rules/sinks.smk", 'options("sinks", "epsilon",', 'options("sinks", "epsilon", "position",')
    chart.edit(f"{ANALYSES}/sinks/metrics.py", "head_sinks(alpha,", 'head_sinks(alpha[..., options["position"] :],')
    new, changed = copy.touched()
    assert not new
    assert len(changed) == 3
    assert copy.generate() == {"config.yaml", "schemas/config.schema.yaml", "docs/attention_sinks.md"}
    assert chart.planned("figures/sink_rates.pdf") == {"compute_sinks": 2, "plot_sink_rates": 1}


def test_a_column_is_three_files(chart):
    copy = Copy(chart)
    chart.edit(
        f"{ANALYSES}/sinks/tables.py",
        '"sink_rate": "float64"',
        '"alpha_sd": "float64",\n        "sink_rate": "float64"',
    )
    value = '"sink_rate": (counts / len(first) + missing).ravel(),'
    chart.edit(f"{ANALYSES}/sinks/metrics.py", value, f'"alpha_sd": first.std(0).ravel(),\n            {value}')
    row = "| `sink_rate` | share |"
    chart.edit("docs/tables.md", row, f"| `alpha_sd` | share | standard deviation of alpha over sequences |\n{row}")
    new, changed = copy.touched()
    assert not new
    assert len(changed) == 3
    assert copy.generate() == set()
    assert chart.planned("figures/sink_rates.pdf") == {"compute_sinks": 2, "plot_sink_rates": 1}


def test_the_counts_are_those_of_contributing():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    counts = dict(re.findall(r"^### Add an? (\w+)[^\n]*\((\d+) files", text, re.M))
    assert counts == {"analysis": "10", "figure": "3", "option": "3", "column": "3"}
