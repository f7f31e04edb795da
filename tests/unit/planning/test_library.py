"""What counts as a change of our code: everything that can change a result, and nothing else."""

import ast
import random
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.planning.imports import closure
from atlas.planning.library import LEFT_OUT, canonical, code_digest, library, tree_digest
from places import ROOT

SCRIPTS = ROOT / "scripts"
FILES = sorted(SCRIPTS.rglob("*.py"))
NAMES = [path.relative_to(SCRIPTS).as_posix() for path in FILES]
LEVELS = ("debug", "info", "warning", "error", "exception")


def digest(text):
    return tree_digest(ast.parse(text))


# ----------------------------------------------------------------------------------- what does not count, in every file
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_comments_layout_docstrings_and_log_lines_do_not_count(path):
    text = path.read_text()
    before = digest(text)
    assert before == code_digest(path)
    assert digest(text + "\n# another comment\n") == before
    assert digest("# coding: utf-8\n\n" + text) == before
    assert digest(ast.unparse(ast.parse(text))) == before  # every line, bracket and quote laid out anew
    assert digest(ast.unparse(_Words().visit(ast.parse(text)))) == before


class _Words(ast.NodeTransformer):
    """Changes each docstring, adds one where there is none, and a log line at the start of each function."""

    def visit_Module(self, node):
        self.generic_visit(node)
        # before `from __future__` only a docstring may stand
        return self._documented(node, first=ast.get_docstring(node) is not None)

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        line = "log.info('rows %d of %s', len(rows), {'a': b.c[0]})" if node.args.args else "log(f'at {x:.2f}')"
        node.body[1 if ast.get_docstring(node) is not None else 0 : 0] = ast.parse(line).body
        return self._documented(node, first=ast.get_docstring(node) is not None)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        self.generic_visit(node)
        return self._documented(node, first=ast.get_docstring(node) is not None)

    def _documented(self, node, first):
        words = ast.Expr(ast.Constant("Other words."))
        node.body[0 : 1 if first else 0] = [words]
        return ast.fix_missing_locations(node)


# ------------------------------------------------------------------------------------------- what counts, in every file
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_other_change_counts(path):
    """Changes single nodes of the file, one at a time, and looks at the statement of the module that they stand in."""
    draw = random.Random(path.name)
    tree = ast.parse(path.read_text())
    tree.body = [statement for statement in tree.body if not _for_annotations(statement)]
    places = [(statement, node) for statement in tree.body for node in _counting(statement)]
    for statement, node in draw.sample(places, min(30, len(places))):
        before = canonical(statement)
        for undo in _changes(node):
            assert canonical(statement) != before, f"unnoticed: {ast.dump(node)}, line {node.lineno}"
            undo()


def _for_annotations(node):
    """Imports that may go unnoticed, as nothing but annotations uses them."""
    return (isinstance(node, ast.ImportFrom) and node.module in ("typing", "collections.abc")) or (
        isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    )


def _counting(node, in_class=False):
    """Every node whose change must be noticed: found by its own rules, not by those of the code under test."""
    if isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Constant):
            return
        called = getattr(node.value, "func", None)
        if isinstance(called, ast.Name) and called.id == "log":
            return
        if isinstance(called, ast.Attribute) and called.attr in LEVELS and getattr(
            called.value, "id", getattr(called.value, "attr", "")
        ) in (
            "log", "_LOG", "logger", "logging",
        ):  # fmt: skip
            return
    if _for_annotations(node):
        return
    yield node
    skipped = set()
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        skipped = {"returns"}
    elif isinstance(node, ast.arg) or (isinstance(node, ast.AnnAssign) and not in_class):
        skipped = {"annotation"}
    elif isinstance(node, ast.Assert):
        skipped = {"msg"}
    elif isinstance(node, ast.Call) and "AtlasError" in (
        getattr(node.func, "id", ""), getattr(node.func, "attr", ""),
    ):  # fmt: skip
        skipped = {"args", "keywords"}
    inside = isinstance(node, ast.ClassDef) or (
        in_class and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    )
    for name, value in ast.iter_fields(node):
        if name not in skipped:
            for below in value if isinstance(value, list) else [value]:
                if isinstance(below, ast.AST):
                    yield from _counting(below, inside)


def _changes(node):
    """Changes the node in place in each way that its kind allows; yields a function that undoes it."""

    def put(name, value):
        before = getattr(node, name)
        setattr(node, name, value)
        return lambda: setattr(node, name, before)

    if isinstance(node, ast.Constant):
        other = {bool: not node.value, str: f"{node.value}x", int: 7919, float: 0.123, bytes: b"x"}
        yield put("value", other.get(type(node.value), "x"))
        if not isinstance(node.value, str):
            yield put("value", str(node.value))
    elif isinstance(node, ast.Name):
        yield put("id", f"{node.id}_")
    elif isinstance(node, ast.Attribute):
        yield put("attr", f"{node.attr}_")
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield put("name", f"{node.name}_")
        yield put("decorator_list", [*node.decorator_list, ast.Name("other")])
        yield put("body", [*node.body, ast.Return(ast.Constant(1))])
        if isinstance(node, ast.ClassDef):
            yield put("bases", [*node.bases, ast.Name("Other")])
    elif isinstance(node, ast.arguments):
        if node.defaults:
            yield put("defaults", node.defaults[1:])
        yield put("args", [*node.args, ast.arg("more")])
        yield put("vararg", None if node.vararg else ast.arg("more"))
    elif isinstance(node, (ast.arg, ast.keyword)):
        yield put("arg", f"{node.arg}_")
    elif isinstance(node, (ast.BinOp, ast.AugAssign)):
        yield put("op", ast.MatMult() if isinstance(node.op, ast.LShift) else ast.LShift())
    elif isinstance(node, ast.BoolOp):
        yield put("op", ast.And() if isinstance(node.op, ast.Or) else ast.Or())
    elif isinstance(node, ast.UnaryOp):
        yield put("op", ast.Not() if isinstance(node.op, ast.Invert) else ast.Invert())
    elif isinstance(node, ast.Compare):
        yield put("ops", [ast.IsNot(), *node.ops[1:]] if not isinstance(node.ops[0], ast.IsNot) else [ast.Is()])
    elif isinstance(node, ast.AnnAssign):
        yield put("target", ast.Name("other"))
        yield put("value", ast.Name("other"))
    elif isinstance(node, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
        yield put("body", [*node.body, ast.Break()])
        if hasattr(node, "orelse"):
            yield put("orelse", [*node.orelse, ast.Break()])
    elif isinstance(node, ast.Call) and node.args and getattr(node.func, "id", "") != "AtlasError":
        yield put("args", node.args[1:])
    elif isinstance(node, ast.FormattedValue):
        yield put("conversion", 115 if node.conversion != 115 else -1)
    elif isinstance(node, ast.alias):
        yield put("name", f"{node.name}_")
    elif isinstance(node, ast.Return):
        yield put("value", None if node.value else ast.Constant(1))
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        yield put("elts", [*node.elts, ast.Name("other")])
    elif isinstance(node, ast.comprehension):
        yield put("ifs", [*node.ifs, ast.Name("other")])


# --------------------------------------------------------------------------------------------------------- single cases
SAME = {
    "annotations of functions": ("def f(a, b=1): pass", "def f(a: int, b: 'x' = 1) -> None: pass"),
    "annotations of variables": ("x = 1\nself.y = 2", "x: int = 1\nself.y: float = 2"),
    "imports for annotations": (
        "x = 1",
        "from collections.abc import Callable\nimport typing\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from x import y\nx: Callable = 1",
    ),
    "else for type checkers": ("x = 1", "if typing.TYPE_CHECKING:\n    x = 2\nelse:\n    x = 1"),
    "sentences of errors": ("raise AtlasError(f'{x} is bad') from e", "raise AtlasError('Bad.', x) from e"),
    "sentences of errors that are returned": ("return_ = AtlasError('a')", "return_ = AtlasError('b')"),
    "messages of assertions": ("assert x", "assert x, 'must be'"),
    "log lines": ("f()", "log.info('%d %s', len(x), a.b)\nf()\n_LOG.warning(f'{x!r:>3}')\nlogging.error(-x[0])"),
    "log lines of an attribute": ("f()", "f()\nself.log.info('%d', x)\ntask.log.warning(f'{x}')"),
    "log lines by a function": ("f()", "f()\nlog(f'downloading {name}=={version}')"),
    "pass": ("def f(): 'Words.'", "def f(): pass"),
    "pieces of a literal": ("x = 'ab'", "x = 'a' 'b'"),
    "quotes and prefixes": ("x = 'a\\n'", 'x = u"""a\n"""'),
    "numbers written otherwise": ("x = 1000, 255, 1e3", "x = 1_000, 0xFF, 1000.0"),
}  # fmt: skip
OTHER = {
    "a field of a class": ("class A:\n    x: int = 1", "class A:\n    x: float = 1"),
    "a field under a condition": ("class A:\n    if y:\n        x: int", "class A:\n    if y:\n        x: str"),
    "an import that is used": ("from typing import NamedTuple as T\nT()", "from typing import Protocol as T\nT()"),
    "whether an error is raised": ("if x: raise AtlasError('a')", "if x: f(AtlasError('a'))"),
    "where an error comes from": ("raise AtlasError('a') from e", "raise AtlasError('a') from None"),
    "another error": ("raise AtlasError('a')", "raise ValueError('a')"),
    "the sentence of another error": ("raise ValueError('a')", "raise ValueError('b')"),
    "what a log line draws": ("f()", "log.info('%s', next(rows))\nf()"),
    "what a log line binds": ("log.info('%s', x)", "log.info('%s', (x := 1))"),
    "what a log line waits for": ("f()", "log.info('%s', [row for row in rows])\nf()"),
    "a log level": ("f()", "logging.disable(3)\nf()"),
    "log as a number": ("x = log(2)", "x = log(3)"),
    "another attribute called info": ("f()", "task.table.info('x')\nf()"),
    "a method called info": ("f()", "table.info('x')\nf()"),
    "an empty branch": ("if x:\n    'a'\nelse:\n    f()", "if x:\n    f()\nelse:\n    'a'"),
    "the end of a block": ("if x:\n    f()\ng()", "if x:\n    f()\n    g()"),
    "1 and True and 1.0": ("x = 1", "x = 1.0"),
    "True": ("x = 1", "x = True"),
    "bytes": ("x = 'a'", "x = b'a'"),
    "-0.0": ("x = 0.0", "x = -0.0"),
    "text and value of an f-string": ("x = f'a{b}'", "x = f'{b}a'"),
    "braces in an f-string": ("x = f'{{b}}'", "x = f'{b}'"),
    "a format": ("x = f'{b:.2f}'", "x = f'{b:.3f}'"),
    "a surrogate": ("x = '\\ud800'", "x = '\\ud801'"),
    "where a string ends": ("x = 'a', 'b'", "x = \"a', 'b\","),
    "unpacking": ("f(*x)", "f(**x)"),
    "a default of a keyword": ("def f(*, a=None, b): pass", "def f(*, a, b=None): pass"),
    "__all__": ("__all__ = ['a']", "__all__ = ['b']"),
    "await": ("async def f(): await x", "async def f(): x"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_does_not_count(name):
    one, other = SAME[name]
    assert digest(one) == digest(other)


@pytest.mark.parametrize("name", OTHER)
def test_counts(name):
    one, other = OTHER[name]
    assert digest(one) != digest(other)


EVERYTHING = r'''
"""Words."""
from typing import NamedTuple
x = f"a{1}b" "c" f"{x=}" f"{x = !r:>{w}}" f"{x:}" rf"\d{x!r}" f"{{}}{y}"
z = f"{x:{'>'}{w}.2f}" "tail" f"" f"plain"
"é" ; q = "é\ud800 \U0001fae8"
class A(NamedTuple, metaclass=M):
    a: int = 3
async def f(a, /, b: int = 3, *c, d=4, **e) -> int:
    async with a as b, c: yield await x
    match x:
        case {"a": [1, *_], **r} if r: pass
        case A(b=None) | 3: y = 1
    try: pass
    except* ValueError: x = 1e300 - 3j + 10**400
    lambda *a, **k: (yield)
    return [*a, {**b}, x[1:2, ::3], -1, b"\xff", ...]
'''


def test_every_python_gives_the_same_digest():
    """Found equal on 3.11, 3.12 and 3.13; whichever runs this test is held to it."""
    assert digest(EVERYTHING) == "73d4449624c7"


# ------------------------------------------------------------------------------------------------------------ libraries
def test_library_names_every_file_with_its_digest(tmp_path):
    for name, text in {"plot.py": "import lib\n", "lib.py": "x = 1\n", "job.py": "", "page.js": "// x\n"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "plot.py").write_text("import job\nimport lib\n")
    entries = [tmp_path / "plot.py", tmp_path / "page.js"]
    found = library(entries, tmp_path)
    assert [line.split()[0] for line in found] == ["lib.py", "page.js", "plot.py"]
    assert found[0] == f"lib.py {digest('x = 1')}"
    assert [line.split()[0] for line in library(entries, tmp_path, without=["lib.py"])] == [
        "job.py",
        "page.js",
        "plot.py",
    ]


def test_data_beside_the_code_counts_by_its_bytes(tmp_path):
    (tmp_path / "a.css").write_bytes(b"a\r\n")
    (tmp_path / "b.css").write_bytes(b"a\n")
    assert code_digest(tmp_path / "a.css") != code_digest(tmp_path / "b.css")


def test_what_cannot_be_read_as_python_names_its_file(tmp_path):
    (tmp_path / "script.py").write_text("x = (\n")
    with pytest.raises(SyntaxError, match=r"script\.py"):
        library(tmp_path / "script.py", tmp_path)


def test_every_script_has_a_library_of_files_that_are_there():
    for script in SCRIPTS.glob("*.py"):
        found = dict(line.split() for line in library(script, SCRIPTS))
        assert set(found) == {
            Path(path).relative_to(SCRIPTS).as_posix() for path in (script, *closure(script, SCRIPTS))
        } - set(LEFT_OUT)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_writes_nothing_that_is_a_result(name):
    """It is there, says why, and neither opens a file for writing nor writes through the modules that write results."""
    assert len(LEFT_OUT[name]) > 20
    tree = ast.parse((SCRIPTS / name).read_text())
    called = {
        getattr(node.func, "attr", getattr(node.func, "id", ""))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert not {name for name in called if name.startswith(("write", "save", "dump_")) or name in ("open", "dump")}
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"atlas.results.tables", "atlas.results.files", "atlas.results.journal"}
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert "provenance" not in defined, "a result's metadata: that is bytes of it"


def test_nothing_reads_at_run_time_what_does_not_count():
    """Docstrings, annotations of functions and positions in the source could change a result if code asked for them."""
    asked = {"__doc__", "__annotations__", "get_type_hints", "getsource", "getdoc", "signature", "singledispatch",
             "co_firstlineno", "__code__", "validate_call", "beartype", "jaxtyped"}  # fmt: skip
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "attr", getattr(node, "id", None))
            assert name not in asked, f"{path}, line {node.lineno}: {name}"


def test_sentences_of_errors_that_are_caught_reach_no_result():
    """Where a sentence is taken up again it goes into another error, a log line or the check of the configuration."""
    known = {
        *("job.py", "atlas/fetch/mirrors.py", "atlas/models/sources.py", "atlas/analyses/saliency/probe.py"),
        *("atlas/config/chat.py", "atlas/config/sources.py", "atlas/models/loading.py", "atlas/models/task.py"),
        *("atlas/results/ahead.py", "atlas/models/unlisted.py", "atlas/models/weights.py"),
        "atlas/results/equal.py",  # logged
        # printed, or taken up in another sentence
        *("check_model.py", "atlas/analyses/suitability.py", "atlas/attention/check.py", "atlas/plots/sentences.py"),
    }
    caught = {
        name
        for name, path in zip(NAMES, FILES, strict=True)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.name and "AtlasError" in ast.dump(node.type)
    }
    assert caught <= known, "see that the sentence does not end in a result, then add the file here"


def test_planning_brings_no_heavy_module():
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "import atlas.planning.content, atlas.planning.library, atlas.planning.stamps, atlas.planning.paths\n"
        "print([name for name in ('torch', 'numpy', 'pandas', 'yaml') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_no_job_imports_planning():
    for script in SCRIPTS.glob("*.py"):
        if script.name == "estimate.py":  # it plans, and no job runs it
            continue
        assert not [path for path in closure(script, SCRIPTS) if "/atlas/planning/" in path]
