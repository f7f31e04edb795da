"""What holds for the project as a whole: imports, pins, the environment file."""

import subprocess
import sys

import pytest

from atlas.planning.imports import closure
from places import ROOT

SCRIPTS = ROOT / "scripts"
LIGHT = sorted(
    path.stem
    for pattern in ("compute_*.py", "aggregate_*.py", "plot_*.py", "gather_*.py", "prepare_*.py", "write_*.py")
    for path in SCRIPTS.glob(pattern)
)


@pytest.mark.parametrize("script", LIGHT)
def test_metrics_tables_and_figures_import_no_model_code(script):
    modules = [
        ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")
        for path in map(type(SCRIPTS), closure(SCRIPTS / f"{script}.py", SCRIPTS))
    ]
    code = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n" + "".join(f"import {name}\n" for name in modules)
    code += "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


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
