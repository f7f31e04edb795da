"""Makes the library and the shared test helpers importable, and the finished project that many tests look at."""

import gc
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent / "scripts"), str(TESTS)]
sys.path.append(str(TESTS.parent / "benchmarks"))

# Which tests run first: fast ones, so that a mistake shows in the first minute; then the project that many look at is
# made (browser), while another process is busy with projects of its own (three models); of the others the longest
# modules first, so that none of them starts when everything else is done.
ORDER = (
    "unit", "data", "fuzz", "reference", "device", "browser", "workflow/test_three_models.py", "cluster",
    *(f"workflow/test_{name}.py" for name in ("runs", "one_load", "faults", "damage", "toy_analysis", "bad_input")),
    *(f"workflow/test_{name}.py" for name in ("reruns", "gpus", "some_models", "safety_workflow", "profiles")),
    "",
)  # fmt: skip


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also what takes long: make test-long")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="only with --long: make test-long"))

    def place(item):
        path = item.path.relative_to(TESTS).as_posix()
        return next(number for number, start in enumerate(ORDER) if path.startswith(start))

    items.sort(key=place)  # in the order of before where places are equal


def pytest_collection_finish():
    _settle()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Behind the last test of a module, whose fixtures are gone by then."""
    result = yield
    if nextitem is None or nextitem.path != item.path:
        _settle()
    return result


def _settle():
    """What is here by now stays; the garbage collector looked through all of it whenever a batch was halved."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project in which `figures/all` has run once. Do not change it; use `project` for that."""
    from projects import made_once  # found by way of the paths above

    def run(project):
        process = project.run("figures/all")
        assert process.returncode == 0, process.stdout

    return made_once(tmp_path_factory, "finished", run)
