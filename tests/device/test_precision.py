"""The dtype of `auto` on cards of several kinds, TF32 whatever the environment says, and what provenance tells."""

import importlib.util
import logging
import sys
from pathlib import Path

import pytest
import torch

import families
from atlas.models.loading import describe_runtime, load_model
from atlas.models.precision import chosen_dtype, keep_products_exact
from places import ROOT
from pretend_gpu import pretend_gpus


def module_of(path):
    """A script of the project as a module."""
    sys.path.insert(0, str(ROOT / path.partition("/")[0]))  # what stands beside it
    try:
        spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def folder_of(tmp_path, dtype):
    families.build("llama", dtype=dtype).save_pretrained(tmp_path)
    return tmp_path


def loaded(folder, major, dtype="auto"):
    with pretend_gpus(1, major=major):
        model = load_model(folder, dtype=dtype, device="cuda")
        return {parameter.dtype for parameter in model.parameters()}, describe_runtime(model)


@pytest.mark.parametrize(
    ("stored", "major", "expected"),
    [
        (torch.bfloat16, 9, torch.bfloat16),
        (torch.bfloat16, 8, torch.bfloat16),
        (torch.float32, 8, torch.bfloat16),
        (torch.bfloat16, 7, torch.float32),  # a V100 or T4 emulates bfloat16
        (torch.float32, 7, torch.float32),
        (torch.float16, 8, torch.float16),  # bfloat16 would cut its weights
        (torch.float16, 7, torch.float16),
    ],
)
def test_auto_goes_by_the_card_and_by_what_the_weights_are_stored_in(tmp_path, stored, major, expected):
    found, runtime = loaded(folder_of(tmp_path, stored), major)
    assert found == {expected}
    assert runtime["dtype"] == str(expected).removeprefix("torch.")


def test_weights_stored_in_float16_are_not_squeezed_unsaid(tmp_path, caplog):
    folder = folder_of(tmp_path, torch.float16)
    with caplog.at_level(logging.WARNING, "atlas"):
        found, _ = loaded(folder, 8, "bfloat16")
    assert found == {torch.bfloat16}
    assert "stored in float16 are rounded to bfloat16" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "atlas"):
        loaded(folder, 8, "float32")
    assert not caplog.text


def test_on_a_cpu_auto_is_float32_whatever_is_stored():
    for stored in ("float32", "float16", "bfloat16", ""):
        assert chosen_dtype("auto", "cpu", stored) is torch.float32


@pytest.fixture
def switches(monkeypatch):
    """torch's own switches, as another program could have left them; as before afterwards."""
    places = [(torch.backends.cuda.matmul, name) for name in (
        "allow_tf32", "allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction",
    )] + [(torch.backends.cudnn, "allow_tf32")]  # fmt: skip
    kept = [getattr(place, name) for place, name in places]
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    for place, name in places:
        setattr(place, name, True)
    yield places
    for (place, name), value in zip(places, kept, strict=True):
        setattr(place, name, value)


def test_tf32_is_off_whatever_the_environment_says_and_provenance_tells(tmp_path, switches):
    folder = folder_of(tmp_path, torch.float32)
    with pretend_gpus(1):
        before = describe_runtime(load_model(folder, device="cpu"))
        assert "tf32" not in before  # a CPU's provenance stays as it was
        assert all(getattr(place, name) for place, name in switches)
        model = load_model(folder, dtype="float32", device="cuda")
        assert describe_runtime(model)["tf32"] == "off"
        assert not any(getattr(place, name) for place, name in switches)
        torch.backends.cuda.matmul.allow_tf32 = True
        assert describe_runtime(model)["tf32"] == "on"
    keep_products_exact()


def test_the_benchmark_of_ships_runs_on_a_gpu(tmp_path):
    """Its published way and its simple batches; on a GPU they indexed with numbers on the CPU."""
    benchmark = module_of("benchmarks/ships.py")
    folder = folder_of(tmp_path, torch.float32)
    prompts = [[5, 6, 7], [8, 9, 10], [5, 6, 7, 11]]
    with pretend_gpus(2), torch.no_grad():
        for options in ({"device": "cuda"}, {"device": "cuda", "device_map": "auto"}):
            model = load_model(folder, dtype="float32", **options)
            assert benchmark.published(model, prompts, [(0, 1), (3, 2)]) == 2
            assert benchmark.batched(model, prompts, 1, range(6), rows=4) == 6
