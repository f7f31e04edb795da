"""What holds for the project as a whole: imports, pins, the environment file."""

import ast
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.planning.imports import closure
from places import ROOT

SCRIPTS = ROOT / "scripts"
# What works on numbers that a model has given, or before any model: scripts, modules of analyses, data, configuration.
LIGHT = (
    "compute.py", "aggregate*.py", "plot.py", "gather*.py", "prepare*.py", "write*.py",
    "atlas/analyses/*/analysis.py", "atlas/analyses/*/metrics.py", "atlas/analyses/*/tables.py",
    "atlas/analyses/*/plot_*.py",
    "atlas/analyses/*/claims.py", "atlas/analyses/mink/judges/*.py", "atlas/data/kinds.py", "atlas/data/sources.py",
    "atlas/fetch/*.py", "atlas/config/*.py", "atlas/planning/*.py",
)  # fmt: skip
LAZY = ("openai", "rouge_score.rouge_scorer")  # what the judges import when they are asked
# Prints the first of the modules after which torch or transformers is there.
IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if {"torch", "transformers"} & set(sys.modules):
        sys.exit(f"{name} imports model code")
"""


def module(path):
    return ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


def computing():
    """The modules of jobs of `rule compute`, which needs no model."""
    texts = [path.read_text() for path in (ROOT / "rules").glob("*.smk")]
    jobs = [job for text in texts for job in re.findall(r'^use rule compute as .*?job="([\w.]+)"', text, re.M | re.S)]
    return [SCRIPTS.joinpath("atlas", "analyses", *job.split(".")).with_suffix(".py") for job in jobs]


def import_all(names):
    """What a new process that imports these modules, in this order, says of torch and transformers."""
    command = [sys.executable, "-c", IMPORT_ALL, *names]
    return subprocess.run(command, capture_output=True, text=True, cwd=SCRIPTS, check=False).stderr


@pytest.mark.slow
def test_metrics_tables_figures_data_and_configuration_import_no_model_code():
    """One process imports all that these scripts and modules reach, inside functions too."""
    found = [sorted(SCRIPTS.glob(pattern)) for pattern in LIGHT] + [computing()]
    assert all(found)
    names = {}
    for path in itertools.chain(*found):
        names |= dict.fromkeys(module(Path(imported)) for imported in closure(path, SCRIPTS))
        if path.is_relative_to(SCRIPTS / "atlas"):
            names[module(path)] = None
    reached = {
        "atlas.analyses.head_categories.metrics",
        "atlas.analyses.saliency.jobs.train_probe",
        "atlas.results.tables",
    }
    assert reached <= set(names)
    assert import_all([*names, *LAZY]) == ""
    assert import_all(["atlas.errors", "atlas.attention.masks"]) == "atlas.attention.masks imports model code\n"


def test_closure_follows_imports_of_every_form(tmp_path):
    files = {
        "script.py": "from typing import TYPE_CHECKING\nfrom lib.one import x\nimport lib.two\n",
        "lib/__init__.py": "",
        "lib/one.py": "from . import three\n",
        "lib/two.py": "def f():\n    from lib.sub.four import y\n",
        "lib/three.py": "import os\n",
        "lib/sub/__init__.py": "from ..five import z\n",
        "lib/sub/four.py": "",
        "lib/five.py": "",
        "lib/unused.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    expected = sorted(str(tmp_path / name) for name in files if name not in ("script.py", "lib/unused.py"))
    assert closure(tmp_path / "script.py", tmp_path) == expected


def test_environment_for_conda_has_the_pins_of_the_lock():
    sys.path.insert(0, str(ROOT / "envs"))
    from from_lock import pins, render

    lock = (ROOT / "requirements.lock").read_text()
    assert len(pins(lock)) == sum("==" in line and not line.startswith(" ") for line in lock.splitlines()) > 50
    assert pins(lock)[0].startswith("torch==")
    assert (ROOT / "envs" / "atlas.yaml").read_text() == render(lock)


def test_everything_in_the_lock_but_torch_is_checked_by_hash():
    lock = (ROOT / "requirements.lock").read_text()
    for block in lock.replace("\\\n", "").splitlines():
        assert block.startswith("torch==") or "--hash=sha256:" in block, block


def test_no_script_holds_numerics():
    for path in SCRIPTS.glob("*.py"):
        text = path.read_text()
        assert "import numpy" not in text, path
        assert "import torch" not in text, path
        assert "import pandas" not in text, path


def test_every_job_that_runs_a_model_checks_it_first():
    """A family that would be measured wrongly is refused by the job, whatever the analysis."""
    jobs = [path for path in (ROOT / "scripts").glob("atlas/analyses/*/jobs/*.py") if "task.model" in path.read_text()]
    assert len(jobs) >= 11
    unchecked = [path.name for path in jobs if re.search(r"task\.model(?!, \*NEEDS\))\b", path.read_text())]
    assert unchecked == []


def test_modules_and_functions_stay_short_enough_to_be_read():
    """No module above 300 lines, no function above 60; tables of data are in data files."""
    long = []
    for path in [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        text = path.read_text()
        if text.count("\n") > 300:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
                long.append(f"{path.name}: {node.name} has {node.end_lineno - node.lineno + 1} lines")
    assert long == []
