"""Which of our own files a script depends on, read from its import statements without running it."""

import ast
from functools import cache
from pathlib import Path


@cache
def closure(script, root):
    """Sorted paths of every file below `root` that the file `script` imports, directly or through others.

    Imports inside functions and the __init__ files of packages on the way count. `root` is the folder on sys.path.
    """
    script, root = Path(script), Path(root)
    seen, todo = set(), {script}
    while todo:
        path = todo.pop()
        seen.add(path)
        todo |= _imported(path, root) - seen
    return sorted(str(path) for path in seen - {script})


@cache
def _imported(path, root):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            origin, names = root, [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = path.parents[node.level - 1] if node.level else root
            names = [f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names]
        else:
            continue
        for name in names:
            found |= _files(origin, name.split("."))
    return frozenset(found)


def _files(origin, parts):
    """The modules and packages met on the way from folder `origin` along the dotted name `parts`."""
    found = set()
    for end in range(1, len(parts) + 1):
        path = origin.joinpath(*parts[:end])
        found |= {file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()}
    return found
