"""Every extraction on the GPU of this machine, equal to its CPU's in float32; only where there is one."""

import contextlib
import warnings

import numpy as np
import pytest
import torch

import any_family
from atlas.attention import checked
from atlas.errors import AtlasError
from atlas.models.generation import Prompt, generate_batch
from atlas.models.loading import load_model, load_tokenizer
from device_stages import STAGES
from families import FAMILIES
from tiny_models import save_folder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
OPTIONS = {"device": "cuda"}, {"device": "cuda", "device_map": "auto"}


HYBRIDS = ("qwen3_next", "falcon_h1", "granitemoehybrid", "jamba")


@pytest.mark.parametrize("family", [*FAMILIES, *HYBRIDS])
def test_every_stage_is_that_of_the_cpu(family, tmp_path):
    if family in HYBRIDS:
        folder = tmp_path / "model"
        any_family.build(family).save_pretrained(folder)
    else:
        folder = save_folder(tmp_path / "model", family)
    tokenizer = load_tokenizer(save_folder(tmp_path / "words"))  # a Llama's: some families' own class has other rules
    model = checked(load_model(folder, dtype="float32", device="cpu"))
    expected = {}
    for stage, run in STAGES.items():
        with contextlib.suppress(AtlasError):  # head mappings of a family that they do not know
            expected[stage] = run(folder, model, tokenizer)
    assert len(expected) >= len(STAGES) - 1
    for options in OPTIONS:
        model = checked(load_model(folder, dtype="float32", **options))
        assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
        for stage in expected:
            for name, there in STAGES[stage](folder, model, tokenizer).items():
                array = expected[stage][name]
                if array.dtype.kind == "f":
                    scale = np.nanmax(np.abs(array), initial=0)
                    # recurrent states add up in another order
                    far = (2e-4 if family in HYBRIDS else 5e-5) * scale
                    np.testing.assert_allclose(there, array, rtol=0, atol=far, err_msg=f"{stage} {name}")
                elif stage != "head mappings":  # the ranks of two targets may change places within the rounding
                    assert (there == array).all(), (stage, name)


@pytest.mark.parametrize("tokens", [4, 20])
def test_a_generated_token_costs_one_wait(tokens, tmp_path):
    """As tests/device/test_waits.py counts them where GPUs are pretended."""
    folder = save_folder(tmp_path / "model", "llama")
    model = load_model(folder, dtype="float32", device="cuda")
    asked = [Prompt(row, tuple(range(5, 9 + row)), tokens) for row in range(4)]
    generate_batch(model, asked, ())
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            generate_batch(model, asked, ())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(one.message) for one in said if "synchronizing" in str(one.message)]
    assert len(waits) <= tokens + 2, waits
