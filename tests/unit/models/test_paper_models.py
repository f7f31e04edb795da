"""configs/paper.yaml against what is known of its models: sizes, numbers of parameters, pins."""

import re

import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from atlas.models.architectures import read_shape
from paper_models import SHAPES, full_config
from places import ROOT

PAPER = yaml.safe_load((ROOT / "configs" / "paper.yaml").read_text())
MODELS = {key: entry for key, entry in PAPER["models"].items() if entry}


def test_every_model_has_its_shape():
    assert set(SHAPES) == set(MODELS)


@pytest.mark.parametrize("model", SHAPES)
def test_shape_and_number_of_parameters(model):
    """The number of parameters, published apart from the sizes, is what these sizes give."""
    config, expected = full_config(model), SHAPES[model]
    shape = read_shape(config)
    found = (shape.layers, shape.heads, shape.kv_heads, shape.width, shape.vocabulary)
    assert found == tuple(expected[key] for key in ("layers", "heads", "kv_heads", "width", "vocabulary"))
    assert shape.group * shape.kv_heads == shape.heads
    assert shape.head_width * shape.heads == shape.width
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == MODELS[model]["parameters"]


def test_every_revision_is_a_commit_or_left_open():
    sources = [entry["source"]["hub"] for section in ("models", "datasets") for entry in PAPER[section].values()
               if entry and "hub" in entry.get("source", {})]  # fmt: skip
    assert len(sources) == 14
    open_ones = [hub["repo"] for hub in sources if hub["revision"] is None]
    assert open_ones == ["kaist-ai/DepthQA"]
    assert all(re.fullmatch("[0-9a-f]{40}", hub["revision"]) for hub in sources if hub["revision"])


def test_every_address_is_at_a_commit_and_every_file_has_a_hash():
    sources = [
        entry["source"]["url"] for entry in PAPER["datasets"].values() if entry and "url" in entry.get("source", {})
    ]
    assert len(sources) == 3
    assert all(re.search("/[0-9a-f]{40}/", source["url"]) for source in sources)
    hashes = [digest for source in sources for digest in (source.get("files") or {"": source.get("sha256")}).values()]
    assert len(hashes) == len(set(hashes)) == 22
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes)


def test_the_lists_of_the_source_have_the_names_and_categories_of_the_shipped_ones():
    listed = {name: entry["category"] for name, entry in PAPER["datasets"]["maps"]["relations"].items()}
    shipped = pd.read_csv(ROOT / "data" / "relations" / "relations.csv")
    assert listed == dict(zip(shipped["relation"], shipped["category"], strict=True))
