"""The line of docs/paper.md that turns pickled weights into a folder that can be a source."""

import json
import re
import subprocess

import pytest
import torch
import yaml
from safetensors.torch import load_file

import warm_python
from atlas.errors import AtlasError
from atlas.models.sources import materialise_model
from places import ROOT
from tiny_models import save_folder

LINE = re.search(r'^python -c "(.*)"$', (ROOT / "docs" / "paper.md").read_text(), re.M)[1]
HUB = yaml.safe_load((ROOT / "configs" / "paper.yaml").read_text())["models"]["vicuna-7b-v1.5"]["source"]["hub"]
# As Vicuna's own: sampling parameters without sampling.
GENERATION = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "temperature": 0.9, "top_p": 0.6}


@pytest.fixture
def pickled(tmp_path):
    """(A folder with its weights as a pickle alone, the weights)."""
    folder = save_folder(tmp_path / "pickled")
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    return folder, weights


def run(line, folder):
    script = folder / "line.py"
    script.write_text(line)
    command = [warm_python.python(), script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_the_line_gives_a_source_with_the_same_weights(pickled, tmp_path):
    folder, weights = pickled
    staging = tmp_path / "staging"
    with pytest.raises(AtlasError, match=r"pytorch_model\.bin, which can run code"):
        materialise_model({"path": str(folder)}, tmp_path / "a", staging=staging, log=lambda _: None)
    assert HUB["repo"] in LINE
    assert HUB["revision"] in LINE
    done = run(LINE.replace(HUB["repo"], str(folder)), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    made = materialise_model(
        {"path": str(tmp_path / "vicuna-7b-v1.5")}, tmp_path / "b", staging=staging, log=lambda _: None
    )
    found = load_file(made / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


class Harmful:
    """A pickle of it would write a file on being loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_the_line_runs_no_code_of_a_pickle(pickled, tmp_path):
    folder, weights = pickled
    torch.save({**weights, "more": Harmful(str(tmp_path / "written"))}, folder / "pytorch_model.bin")
    assert run(LINE.replace(HUB["repo"], str(folder)), tmp_path).returncode != 0
    assert not (tmp_path / "written").exists()
