"""Every extraction on one GPU and on two that are not there, equal to the CPU's in float32 (tests/pretend_gpu.py)."""

import numpy as np
import pytest

import any_family
from atlas.attention import checked
from atlas.models import next_token
from atlas.models.loading import load_model, load_tokenizer
from device_stages import STAGES
from pretend_gpu import pretend_gpus
from tiny_models import save_folder, save_tokenizer

FAMILIES = ("llama", "gpt2", "gpt_neox", "phi", "opt", "gemma", "gemma3", "mistral_sliding", "jamba")
HYBRIDS = ("jamba",)  # layers with a recurrent state
DEVICES = {"one": (1, {"device": "auto"}), "two": (2, {"device": "auto", "device_map": "auto"})}
ON_ONE_TOO = ("llama", "gpt2", "jamba")  # what holds on two devices holds on one; others are seen with --long


@pytest.fixture(scope="module", params=FAMILIES)
def reference(request, tmp_path_factory):
    """(folder, {stage: arrays}) on the CPU."""
    folder = tmp_path_factory.mktemp(request.param) / "model"
    if request.param in HYBRIDS:
        any_family.build(request.param).save_pretrained(folder)
        save_tokenizer(folder)
    else:
        save_folder(folder, request.param)
    model, tokenizer = checked(load_model(folder, dtype="float32", device="cpu")), load_tokenizer(folder)
    return folder, {stage: run(folder, model, tokenizer) for stage, run in STAGES.items()}


@pytest.mark.parametrize("devices", DEVICES)
def test_every_stage_is_that_of_the_cpu(request, reference, devices):
    folder, expected = reference
    family = request.node.callspec.params["reference"]
    if devices == "one" and family not in ON_ONE_TOO and not request.config.getoption("--long"):
        pytest.skip("only with --long: make test-long")
    count, options = DEVICES[devices]
    with pretend_gpus(count, roots=("scripts/atlas",)):
        model, tokenizer = checked(load_model(folder, dtype="float32", **options)), load_tokenizer(folder)
        assert {str(parameter.device) for parameter in model.parameters()} == {f"cuda:{i}" for i in range(count)}
        found = {stage: run(folder, model, tokenizer) for stage, run in STAGES.items()}
    for stage, arrays in expected.items():
        assert found[stage].keys() == arrays.keys(), stage
        for name, array in arrays.items():
            there = np.asarray(found[stage][name])
            if array.dtype.kind == "f":
                scale = np.nanmax(np.abs(array), initial=0)
                np.testing.assert_allclose(there, array, rtol=0, atol=2e-5 * scale, err_msg=f"{stage} {name}")
            else:
                assert (there == array).all(), (stage, name)


@pytest.mark.parametrize("mistake", ["targets left on the first device", "numpy of a GPU tensor"])
def test_a_planted_mistake_is_seen(tmp_path, monkeypatch, mistake):
    """What the harness is for: code that runs on a CPU and fails where there are GPUs."""
    folder = save_folder(tmp_path / "model", "llama")
    statistics = next_token.distribution_statistics

    def wrong(logits, targets):
        if "numpy" in mistake:
            targets.numpy()
            return statistics(logits, targets)
        return statistics(logits, targets.to("cuda:0"))

    monkeypatch.setattr(next_token, "distribution_statistics", wrong)
    model = load_model(folder, dtype="float32", device="cpu")
    if "numpy" in mistake:
        STAGES["log-probabilities"](folder, model, None)
    said = "same device" if "left" in mistake else "numpy"
    with (
        pretend_gpus(2, roots=("scripts/atlas",)),
        pytest.raises((RuntimeError, TypeError), match=said),
    ):
        model = load_model(folder, dtype="float32", device="auto", device_map="auto")
        STAGES["log-probabilities"](folder, model, None)
