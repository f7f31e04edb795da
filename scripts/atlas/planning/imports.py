"""Which of our own files a script depends on, read from its import statements without running it."""

import ast
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

from atlas.planning.remembered import remembered


def closure(entries: Path | Iterable[Path], root: Path) -> list[str]:
    """Sorted paths of every file below `root` that `entries` import, directly or through others; not `entries`.

    entries: a script, or a script and the modules that it imports by name at run time; the packages they lie in count.
    Imports inside functions and the __init__ files of packages on the way count, those for type checkers do not.
    root: the folder on sys.path. Raises SyntaxError, with the file's name.
    """
    first = {str(entry) for entry in as_paths(entries)}
    seen: set[str] = set()
    todo = {found for entry in first for found in _packages_of(entry, str(root))} | first
    while todo:
        path = todo.pop()
        seen.add(path)
        if path.endswith(".py"):
            todo |= _imported(path, str(root)) - seen
    return sorted(seen - first)


def as_paths(entries: Path | str | Iterable[Path]) -> list[Path]:
    """One path or several, as a list."""
    return [Path(entries)] if isinstance(entries, (str, Path)) else [Path(entry) for entry in entries]


@cache
def parsed(path: str) -> ast.Module:
    """The syntax tree of a file: read once by a process, whoever asks. Raises SyntaxError, with the file's name."""
    return ast.parse(Path(path).read_bytes(), filename=path)


def for_type_checkers(node: ast.AST) -> TypeGuard[ast.If]:
    """Whether this is `if TYPE_CHECKING:`, whose body never runs."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


@cache
def _imported(path: str, root: str) -> frozenset[str]:
    """The files that one file names in its own import statements."""
    found: set[str] = set()
    for level, names in remembered("imports", path, lambda: [_named(node) for node in _imports(parsed(path))]):
        origin = str(Path(path).parents[level - 1]) if level else root
        for name in names:
            found |= _files(origin, name, root)
    return frozenset(found)


def _named(node: ast.Import | ast.ImportFrom) -> list[int | list[str]]:
    """The leading dots of an import statement, and the dotted names that it brings in."""
    if isinstance(node, ast.Import):
        return [0, [alias.name for alias in node.names]]
    return [node.level, [f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names]]


def _imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import statement, wherever it stands; statements alone are looked into, which is all that can hold one."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
            continue
        bodies = ("orelse",) if for_type_checkers(node) else ("body", "orelse", "finalbody", "handlers", "cases")
        for field in bodies:
            if isinstance(below := getattr(node, field, None), list):
                todo += below


def _packages_of(entry: str, root: str) -> set[str]:
    """The __init__ files of the packages that a module below `root` lies in."""
    folders = [folder for folder in Path(entry).parents if folder.is_relative_to(root) and folder != Path(root)]
    return {str(folder / "__init__.py") for folder in folders} & _sources(root)


def _files(origin: str, name: str, root: str) -> set[str]:
    """The modules and packages met on the way from folder `origin` along a dotted name."""
    sources, found, place = _sources(root), set(), origin
    for part in name.split("."):
        place = os.path.join(place, part)
        found |= {f"{place}.py", os.path.join(place, "__init__.py")} & sources
    return found


@cache
def _sources(root: str) -> frozenset[str]:
    """All Python files below `root`: one walk is cheaper than a question to the disk for every import."""
    return frozenset(
        os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names if name.endswith(".py")
    )
