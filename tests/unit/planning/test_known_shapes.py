"""The sizes of a model are taken from its folder for a plan only where they are sure to be those of its source."""

import json

from atlas.planning.known_shapes import shape_here
from atlas.results.provenance import write_provenance

HUB = {"hub": {"repo": "a/b", "revision": "0" * 40}}
CONFIG = {"model_type": "gpt2", "n_layer": 4, "n_head": 6, "n_embd": 48, "vocab_size": 300}


def folder(path, source, config=None):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    write_provenance(path, {"source": source, "files": {}})
    return path


def test_a_folder_that_was_made_of_the_source(tmp_path):
    here = folder(tmp_path / "model", HUB)
    shape = shape_here(HUB, here, tmp_path)
    assert (shape.layers, shape.heads) == (4, 6)
    assert shape_here([{"path": "elsewhere"}, HUB], here, tmp_path) == shape


def test_a_folder_of_another_source_says_nothing(tmp_path):
    here = folder(tmp_path / "model", HUB)
    assert shape_here({"hub": {**HUB["hub"], "revision": "1" * 40}}, here, tmp_path) is None
    assert shape_here(HUB, tmp_path / "nowhere", tmp_path) is None
    assert shape_here(HUB, folder(tmp_path / "odd", HUB, {"model_type": "unknown"}), tmp_path) is None


def test_a_path_is_looked_at_itself_because_its_content_may_have_changed(tmp_path):
    old = folder(tmp_path / "old", {"path": "mine"})
    assert shape_here({"path": "mine"}, old, tmp_path) is None
    folder(tmp_path / "mine", {"path": "mine"}, {**CONFIG, "n_layer": 9})
    assert shape_here({"path": "mine"}, old, tmp_path).layers == 9
