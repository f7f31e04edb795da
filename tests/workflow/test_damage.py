"""Files that were cut off, changed or poisoned are named and refused; once deleted they are made anew, the same."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from atlas.results.provenance import file_record, read_provenance, write_provenance
from chart import CHAIN, TARGETS, forget, results


def flip(path):
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


# what is damaged -> (how, file, what is asked for then, words of the message)
DAMAGES = {
    "cut activations": (cut, CHAIN["gather"], "metrics", ["passages.safetensors", "delete it and run again"]),
    "changed activations": (flip, CHAIN["gather"], "metrics", ["passages.safetensors is damaged", "sha256"]),
    "changed metrics": (flip, CHAIN["metrics"], "aggregate", ["passages.parquet is damaged", "sha256"]),
    "cut metrics": (cut, CHAIN["metrics"], "plot", ["passages.parquet", "delete it and run again"]),
    "changed rows": (flip, "results/datasets/passages.parquet", "extract", ["passages.parquet is damaged", "sha256"]),
    "cut weights": (cut, "results/models/tiny/model.safetensors", "extract", ["model.safetensors", "was cut off"]),
    "changed weights": (
        flip,
        "results/models/tiny/model.safetensors",
        "extract",
        ["model.safetensors was changed since it was brought in", "delete results/models/tiny and run again"],
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_named_and_what_is_deleted_comes_back(charted, chart, case):
    damage, name, stage, words = DAMAGES[case]
    forget(chart, stage)  # what follows too: Snakemake does not make again what nothing needs
    damage(chart.folder / name)
    process = chart.run(*TARGETS)
    assert process.returncode != 0
    for word in words:
        assert word in process.stdout, process.stdout
    assert not (chart.folder / CHAIN[stage]).exists()
    assert "Traceback" not in process.stdout
    chart.remove("results/models/tiny" if "models" in name else name)
    process = chart.run(*TARGETS)
    assert process.returncode == 0, process.stdout
    assert results(chart) == results(charted)


def test_changed_download_is_refused_before_its_rows_are_used(charted, chart):
    path = chart.folder / "results" / "downloads" / "datasets" / "passages" / "passages.txt"
    path.write_text(path.read_text().replace("w1", "w2", 1))
    goal = "results/datasets/passages.parquet"
    chart.remove(goal)
    process = chart.run(goal)
    assert process.returncode != 0
    assert "passages.txt was changed since it was brought in (its sha256 differs)" in process.stdout
    chart.remove("results/downloads/datasets/passages")
    assert chart.run(goal).returncode == 0
    assert results(chart) == results(charted)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_poisoned_weights_stop_the_job_that_reads_them(chart, value):
    """Even where the record agrees: a checkpoint may be published like that."""
    folder = chart.folder / "results" / "models" / "tiny"
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.2.mlp.down_proj.weight"][3, 5] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_provenance(folder, {**read_provenance(folder), "files": file_record(folder)})
    chart.remove(CHAIN["extract"])
    process = chart.run(CHAIN["extract"])
    assert process.returncode != 0
    assert "model.layers.2.mlp.down_proj.weight holds 1 NaN or infinite values (layer 2)" in process.stdout
    assert not (chart.folder / CHAIN["extract"]).exists()
