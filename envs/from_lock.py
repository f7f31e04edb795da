"""Write envs/atlas.yaml from requirements.lock, so that `--sdm conda` installs what `make` installs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Made from requirements.lock by `make lock`; do not edit. For `snakemake --sdm conda`.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python>=3.11,<3.14
  - pip
  - pip:
"""


# pip, unlike make, installs what these ask for: a browser's driver for a script that only the tests read.
LEFT_OUT = ("axe-playwright-python",)


def pins(lock: str) -> list[str]:
    """The `name==version [; marker]` lines of a lock file, torch first as there."""
    named = [line for line in lock.splitlines() if line[:1].isalpha() and "==" in line]
    return [line.rstrip("\\ ").strip() for line in named]


def render(lock: str) -> str:
    """The text of envs/atlas.yaml."""
    return HEAD + "".join(f'    - "{pin}"\n' for pin in pins(lock) if not pin.startswith(LEFT_OUT))


if __name__ == "__main__":
    (ROOT / "envs" / "atlas.yaml").write_text(render((ROOT / "requirements.lock").read_text()))
