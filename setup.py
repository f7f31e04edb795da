"""`pip install .` gives the library and, inside it, the workflow that it runs (atlas/_workflow)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PARTS = (
    "Snakefile",
    "config.yaml",
    "rules",
    "scripts",
    "schemas",
    "report",
    "envs",
    "data",
    "profiles",
    "docs/tables.md",
)


class WithWorkflow(build_py):
    """Puts what the Snakefile reads beside the library, as it lies in the project."""

    def run(self) -> None:
        super().run()
        place = Path(self.build_lib) / "atlas" / "_workflow"
        for part in PARTS:
            source, target = ROOT / part, place / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)


setup(cmdclass={"build_py": WithWorkflow})
