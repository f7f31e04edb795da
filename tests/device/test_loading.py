"""No GPU is left out in silence: one that torch cannot use, and one that a model does not fit on."""

import os

import pytest

from atlas.errors import AtlasError
from atlas.models.devices import choose_device, driver_lines
from atlas.models.loading import load_model
from pretend_gpu import pretend_gpus
from tiny_models import save_folder

LISTED = "GPU 0: Some Card (UUID: GPU-1)\nGPU 1: Some Card (UUID: GPU-2)"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A function that puts a driver's program on the path, which says `text`."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver_lines.cache_clear()

    def install(text, status=0):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}'\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    yield install
    driver_lines.cache_clear()


def test_a_gpu_that_torch_cannot_use_is_named_with_the_way_out(driver):
    driver(LISTED)
    with pytest.raises(AtlasError, match=r"2 GPU\(s\) \(GPU 0: Some Card.*without CUDA\. Set device: cpu"):
        choose_device("auto")
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize(("text", "status"), [("No devices were found", 0), ("", 0), (LISTED, 9)])
def test_a_machine_without_gpus_runs_on_its_cpu(driver, text, status):
    driver(text, status)
    assert choose_device("auto") == "cpu"


def test_a_driver_that_fails_is_named_in_the_log(driver, caplog):
    driver("NVIDIA-SMI has failed", 9)
    assert choose_device("auto") == "cpu"
    assert "nvidia-smi is there and lists no GPU" in caplog.text


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_were_hidden_are_not_asked_for(driver, monkeypatch, hidden):
    driver(LISTED)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert choose_device("auto") == "cpu"


@pytest.mark.parametrize("count", [1, 2])
def test_a_model_that_does_not_fit_its_gpus_is_refused(tmp_path, count):
    folder = save_folder(tmp_path / "model", "llama", hidden_size=96)
    said = pytest.raises(AtlasError, match=rf"does not fit on the {count} GPU\(s\).*gpu_memory_gb")
    with pretend_gpus(count, memory=80 << 30, taken=(80 << 30) - 200_000), said:
        load_model(folder, dtype="float32", device="auto", device_map="auto")


def test_a_model_that_fits_is_spread_and_not_refused(tmp_path):
    folder = save_folder(tmp_path / "model", "llama")
    with pretend_gpus(2, memory=80 << 30, taken=79 << 30):
        model = load_model(folder, dtype="float32", device="auto", device_map="auto")
        assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
