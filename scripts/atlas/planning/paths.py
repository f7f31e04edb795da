"""How rules name a file of the project: the same way however the project is reached and wherever it lies."""

import os
from pathlib import Path


def in_project(path: Path | str, project: Path, here: Path) -> str:
    """A path as an input of a rule: relative to the working directory `here` where project and `here` share a folder.

    A checkout that is moved, or reached through a symlink, is then no changed one. Only the two folders are resolved:
    a symlink below them is named as the user names it. Relative paths are the project's; `~` is the user's home.
    """
    path = Path(path).expanduser()
    real, here = project.resolve(), here.resolve()
    if path.is_absolute() and path.is_relative_to(project):
        path = path.relative_to(project)
    placed = real / path
    shared = real.is_relative_to(here) or here.is_relative_to(real)
    return os.path.relpath(placed, here) if shared and placed.is_relative_to(real) else str(placed)
