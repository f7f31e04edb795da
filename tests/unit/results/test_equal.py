"""What another run has extracted is taken over only where everything is equal and its bytes are the sealed ones."""

from types import SimpleNamespace

import numpy as np
import pytest

from atlas.results.equal import Equal
from atlas.results.files import write_arrays


class Named(dict):
    """As Snakemake hands over: positional too."""

    def __iter__(self):
        return iter(self.values())


def job(run, **params):
    base = f"results/runs/{run}" if run else "results"
    return SimpleNamespace(
        rule="extract_x",
        wildcards=Named(model="m"),
        input=Named(dataset=f"{base}/datasets/d.txt"),
        params=Named(params),
        output=[f"{base}/activations/m/x/1-of-1.safetensors"],
        resources={},
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("results/datasets", "results/runs/b/datasets"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "d.txt").write_text("the same")
    first = Equal(job("", seed=0))
    assert not first.take()
    write_arrays("results/activations/m/x/1-of-1.safetensors", {"a": np.arange(3)}, {"x": 1})
    first.note()
    return tmp_path


MADE = "results/activations/m/x/1-of-1.safetensors"
TAKEN = "results/runs/b/activations/m/x/1-of-1.safetensors"


def test_an_equal_job_of_a_run_with_a_name_takes_it_over(place):
    assert Equal(job("b", seed=0)).take()
    assert (place / TAKEN).read_bytes() == (place / MADE).read_bytes()


@pytest.mark.parametrize("change", ["option", "input", "bytes", "other result", "gone", "note"])
def test_nothing_is_taken_where_something_differs(place, change):
    if change == "input":
        (place / "results/runs/b/datasets/d.txt").write_text("other")
    elif change == "bytes":
        raw = bytearray((place / MADE).read_bytes())
        raw[-1] ^= 1
        (place / MADE).write_bytes(raw)
    elif change == "other result":
        write_arrays(MADE, {"a": np.arange(4)}, {"x": 1})
    elif change == "gone":
        (place / MADE).unlink()
    elif change == "note":
        [note] = (place / "results/equal").iterdir()
        note.write_text("{")
    assert not Equal(job("b", seed=int(change == "option"))).take()
    assert not (place / TAKEN).exists()
