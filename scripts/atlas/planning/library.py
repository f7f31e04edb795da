"""What of our own code a job's result depends on, as short strings: a file's name and a digest of what it does.

Comments, layout, docstrings, annotations, log lines and the sentences of errors are no part of it, so that a run is
not repeated for the sake of a word.
"""

import ast
import hashlib
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path
from typing import TypeGuard

from atlas.planning.imports import as_paths, closure, for_type_checkers, parsed
from atlas.planning.remembered import remembered

# Files that cannot change a byte of a result, and why; what they import counts all the same.
LEFT_OUT = {
    "job.py": "opens the log, shows progress, ends a failed job with a sentence; passes through what it is given",
    "atlas/errors.py": "the class of the exception that ends a job: a job that raises it leaves no result",
}

# Names of loggers, by themselves or of a task, and what is called on them. Jobs hand on `log.info` itself as `log`.
_LOGGERS = {"log", "_log", "_LOG", "logger", "logging"}
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
# What may stand in a log line without doing anything but be shown.
_SHOWN = (ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp,
          ast.IfExp, ast.JoinedStr, ast.FormattedValue, ast.Tuple, ast.List, ast.Dict, ast.Slice, ast.keyword,
          ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.expr_context)  # fmt: skip
_SHOWN_CALLS = {"len", "round", "str", "repr", "int", "float", "type"}

# Modules that are imported for annotations: a name of theirs that nothing but an annotation uses does nothing.
_FOR_ANNOTATIONS = {"typing", "typing_extensions", "collections.abc", "jaxtyping"}
# Set by position alone, or by the version of Python: `ctx` follows from where an expression stands.
_SKIPPED_FIELDS = {"ctx", "type_comment", "kind", "type_ignores"}
# Named also when empty: a block may be empty because a docstring was all that stood in it.
_BLOCKS = {"body", "orelse", "finalbody"}


def library(entries: Path | Iterable[Path], root: Path, without: Collection[str] = tuple(LEFT_OUT)) -> list[str]:
    """Sorted "path digest" of the files in `entries` and of all below `root` that they import; paths are `root`'s.

    entries: a script, the modules that it imports by name at run time, and files of data that it reads beside them.
    without: paths to leave out. Raises SyntaxError, with the file's name, and OSError.
    """
    entries = as_paths(entries)
    files = {*entries, *map(Path, closure(entries, root))}
    named = {file.relative_to(root).as_posix(): file for file in files}
    return [f"{name} {code_digest(named[name])}" for name in sorted(named) if name not in without]


def code_digest(path: Path) -> str:
    """12 hex digits of what a Python file does; of the bytes of any other. Raises SyntaxError, OSError."""
    return _digest_of_file(str(path))


def tree_digest(tree: ast.Module) -> str:
    """12 hex digits of what a module does: the same for the same code on every Python from 3.11 on."""
    return hashlib.sha256(canonical(tree).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def canonical(tree: ast.AST) -> str:
    """The text that tree_digest hashes: every node and field that counts, each in exactly one way."""
    return _Canonical().text(tree)


@cache
def _digest_of_file(path: str) -> str:
    if path.endswith(".py"):
        return str(remembered("digest", path, lambda: tree_digest(parsed(path))))
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


class _Canonical:
    """Writes a syntax tree. Not ast.dump or ast.unparse: their text changes between versions of Python."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._names: set[str] = set()  # that the code uses, annotations not counted
        self._late: list[tuple[int, ast.Import | ast.ImportFrom]] = []  # where imports for annotations stand
        self._in_class = False
        self._special: dict[type, Callable] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.JoinedStr: self._joined,
            ast.FormattedValue: self._formatted,
            ast.arg: self._argument,
            ast.Call: self._call,
            ast.FunctionDef: self._function,
            ast.AsyncFunctionDef: self._function,
            ast.ClassDef: self._class,
            ast.AnnAssign: self._annotated,
            ast.Assert: self._assert,
        }

    def text(self, tree: ast.AST) -> str:
        self._node(tree)
        for place, node in self._late:
            self._parts[place] = self._import(node)
        return "".join(self._parts)

    # ------------------------------------------------------------------------------------------------ nodes and values
    def _node(self, node: ast.AST) -> None:
        special = self._special.get(node.__class__)
        if special is None:
            self._plain(node)
        else:
            special(node)

    def _plain(self, node: ast.AST, without: Collection[str] = ()) -> None:
        """A node by its name and its fields; what is absent or empty is not named."""
        write = self._parts.append
        write(f"{node.__class__.__name__}(")
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or field in _SKIPPED_FIELDS or field in without or (value == [] and field not in _BLOCKS):
                continue
            write(f"{field}=")
            if isinstance(value, list):
                self._list(value)
            else:
                self._value(value)
        write(")")

    def _list(self, values: list) -> None:
        self._parts.append("[")
        for value in values:
            if isinstance(value, ast.stmt):
                self._statement(value)
            else:
                self._value(value)
        self._parts.append("]")

    def _value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self._node(value)
        else:
            self._parts.append(_scalar(value))

    # ------------------------------------------------------------------------------------------------------ statements
    def _statement(self, node: ast.stmt) -> None:
        """A statement, unless it does nothing that a result could show."""
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Constant):  # a docstring, or `...`
                return
            if _is_log_line(node.value):
                self._log_line(node.value)
                return
        elif isinstance(node, ast.Pass):
            return
        elif for_type_checkers(node):
            for below in node.orelse:
                self._statement(below)
            return
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and _for_annotations(node):
            self._late.append((len(self._parts), node))
            self._parts.append("")
            return
        self._node(node)

    def _log_line(self, call: ast.Call) -> None:
        """Of a log line only what its arguments may do beside being shown, such as draw from an iterator."""
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            for doing in _doings(argument):
                self._parts.append("Logged(")
                self._node(doing)
                self._parts.append(")")

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outside, self._in_class = self._in_class, False
        self._plain(node, without=("returns", "type_params"))
        self._in_class = outside

    def _class(self, node: ast.ClassDef) -> None:
        outside, self._in_class = self._in_class, True
        self._plain(node, without=("type_params",))
        self._in_class = outside

    def _annotated(self, node: ast.AnnAssign) -> None:
        """Fields of a class keep their type, which dataclasses read; elsewhere `x: int = 1` is `x = 1`."""
        if self._in_class:
            self._plain(node)
        elif node.value is None:
            self._plain(node, without=("annotation",))
        else:
            self._node(ast.Assign(targets=[node.target], value=node.value))

    def _assert(self, node: ast.Assert) -> None:
        self._plain(node, without=("msg",))

    def _import(self, node: ast.Import | ast.ImportFrom) -> str:
        """An import for annotations, without the names that only annotations use."""
        used = [alias for alias in node.names if (alias.asname or alias.name.split(".")[0]) in self._names]
        if not used:
            return ""
        kept = ast.Import(used) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, used, node.level)
        return canonical(kept)

    # ----------------------------------------------------------------------------------------------------- expressions
    def _name(self, node: ast.Name) -> None:
        self._names.add(node.id)
        self._parts.append(f"Name({_scalar(node.id)})")

    def _constant(self, node: ast.Constant) -> None:
        self._parts.append(f"Constant({_scalar(node.value)})")

    def _argument(self, node: ast.arg) -> None:
        self._parts.append(f"arg({_scalar(node.arg)})")

    def _call(self, node: ast.Call) -> None:
        """A call; the sentence of an AtlasError is no part of it."""
        if (isinstance(node.func, ast.Name) and node.func.id == "AtlasError") or (
            isinstance(node.func, ast.Attribute) and node.func.attr == "AtlasError"
        ):
            self._plain(node, without=("args", "keywords"))
        else:
            self._plain(node)

    def _joined(self, node: ast.JoinedStr) -> None:
        """An f-string; its literal text in one piece between values: Python cuts it in different places (3.12)."""
        text = ""
        self._parts.append("JoinedStr(")
        for value in node.values:
            if isinstance(value, ast.Constant):
                text += str(value.value)
                continue
            self._parts.append(_scalar(text) if text else "")
            text = ""
            self._node(value)
        self._parts.append(f"{_scalar(text) if text else ''})")

    def _formatted(self, node: ast.FormattedValue) -> None:
        spec = node.format_spec
        empty = isinstance(spec, ast.JoinedStr) and not spec.values
        self._plain(node, without=("format_spec",) if empty else ())


def _scalar(value: object) -> str:
    """A constant or a name, so that no two are written alike and nothing depends on a version's repr."""
    if value is None or value is Ellipsis or isinstance(value, bool):
        return f"{value};"
    if isinstance(value, str):
        return f"s{len(value)}:{value}"
    if isinstance(value, bytes):
        return f"y{value.hex()};"
    if isinstance(value, int):
        return f"i{value:x};"
    if isinstance(value, float):
        return f"f{value.hex()};"
    if isinstance(value, complex):
        return f"c{value.real.hex()},{value.imag.hex()};"
    raise TypeError(f"a syntax tree holds {value!r}")


def _for_annotations(node: ast.Import | ast.ImportFrom) -> bool:
    names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return _FOR_ANNOTATIONS.issuperset(names)


def _is_log_line(node: ast.expr) -> TypeGuard[ast.Call]:
    """log("..."), log.info("...") and the like, as a statement of its own."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id == "log"
    if not (isinstance(called, ast.Attribute) and called.attr in _LEVELS):
        return False
    logger = called.value  # log, or task.log
    name = logger.id if isinstance(logger, ast.Name) else getattr(logger, "attr", None)
    return name in _LOGGERS


def _doings(node: ast.AST) -> list[ast.AST]:
    """The outermost expressions in an argument of a log line that may do more than be shown."""
    shown = isinstance(node, _SHOWN)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        shown = node.func.id in _SHOWN_CALLS
    if not shown:
        return [node]
    return [doing for below in ast.iter_child_nodes(node) for doing in _doings(below)]
