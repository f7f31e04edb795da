"""The closure of a script: what it imports, and no more."""

from atlas.planning.imports import closure, parsed


def written(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_modules_named_at_run_time_bring_their_packages_and_imports(tmp_path):
    root = written(
        tmp_path / "scripts",
        {
            "extract.py": "import lib.shared\n",
            "lib/__init__.py": "",
            "lib/shared.py": "",
            "lib/analyses/__init__.py": "from lib import base\n",
            "lib/analyses/sinks/__init__.py": "",
            "lib/analyses/sinks/extract.py": "from lib.analyses.sinks import storage\nimport extract\n",
            "lib/analyses/sinks/storage.py": "",
            "lib/analyses/mink/__init__.py": "",
            "lib/base.py": "",
        },
    )
    entries = [root / "extract.py", root / "lib/analyses/sinks/extract.py"]
    expected = [
        "lib/__init__.py", "lib/analyses/__init__.py", "lib/analyses/sinks/__init__.py",
        "lib/analyses/sinks/storage.py", "lib/base.py", "lib/shared.py",
    ]  # fmt: skip
    assert closure(entries, root) == [str(root / name) for name in expected]
    assert closure(entries[0], root) == [str(root / name) for name in ("lib/__init__.py", "lib/shared.py")]


def test_imports_count_wherever_they_stand_but_not_for_type_checkers(tmp_path):
    places = """
import typing
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import shown
else:
    import m_else
if typing.TYPE_CHECKING:
    import shown
try:
    import m_try
except ImportError:
    import m_except
finally:
    import m_finally
for _ in ():
    import m_for
else:
    import m_for_else
with open("x"):
    import m_with
while False:
    import m_while
match 1:
    case 1:
        import m_match
class A:
    import m_class
    async def f(self):
        import m_method
"""
    wanted = "else try except finally for for_else with while match class method".split()
    files = {f"m_{name}.py": "" for name in wanted}
    root = written(tmp_path, {"script.py": places, "shown.py": "", **files})
    assert closure(root / "script.py", root) == sorted(str(root / name) for name in files)


def test_files_that_are_no_python_are_entries_without_imports(tmp_path):
    root = written(tmp_path, {"plot.py": "", "page/explorer.js": "import x from 'y'\n"})
    assert closure([root / "plot.py", root / "page/explorer.js"], root) == []


def test_a_file_is_read_once(tmp_path):
    root = written(
        tmp_path, {"one.py": "import lib\n", "two.py": "import lib\ny = 2\n", "lib.py": f"x = '{tmp_path}'\n"}
    )
    before = parsed.cache_info().misses
    for script in ("one.py", "two.py", "one.py"):
        closure(root / script, root)
    assert parsed.cache_info().misses == before + 3
