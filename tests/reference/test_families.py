"""A dozen families through every analysis against the stock model, and the script that runs all of them."""

import pytest

import any_family
import family_matrix
from family_analyses import same
from family_matrix import EQUAL, OPEN, REFUSED, TRACEBACK, WRONG
from family_page import TITLES, page

FORWARD = set(family_matrix.ANALYSES)
READS_ATTENTION = {"sinks", "head types", "meaningless tokens", "saliency", "Ships", "ablated answers"}
# type -> analyses that are refused by name; all others that run the model equal the stock model
DOZEN = {
    "ministral3": set(),
    "glm4": set(),
    "qwen3_moe": set(),  # mixtures
    "llama4_text": set(),
    "qwen3_next": set(),  # layers with a recurrent state: nulls in every table
    "zamba": set(),  # and one attention block that several layers share
    "mistral3": set(),  # text parts of models that read images
    "qwen2_5_vl": set(),
    "falcon": READS_ATTENTION,  # without the attention interface
    "diffllama": READS_ATTENTION,  # calls its attention twice
    "mamba": READS_ATTENTION,  # has none
    "bert": FORWARD,
}


@pytest.mark.parametrize("kind", DOZEN)
def test_every_number_is_the_stock_models_or_refused_by_name(kind):
    found = family_matrix.row(kind)
    for name, (what, said) in found.items():
        assert what in ((EQUAL, REFUSED) if name in FORWARD else (EQUAL, REFUSED, OPEN)), (name, said)
    assert {name for name in FORWARD if found[name][0] == REFUSED} == DOZEN[kind]
    assert all(said for what, said in found.values() if what == REFUSED)


def test_the_matrix_tells_wrong_numbers_and_tracebacks_apart(monkeypatch):
    """Were there none, the matrix would say so of anything."""

    def off(model, reference, _):
        same([1.0, 2.0], [1.0, 2.01], "alpha")

    def broken(model, reference, _):
        raise IndexError("list index out of range")

    monkeypatch.setattr(family_matrix, "ANALYSES", {"off": off, "broken": broken})
    found = family_matrix.row("llama", only=["off", "broken"])
    assert found["off"] == (WRONG, "alpha: off by 5.0e-03 of the largest value")
    assert found["broken"][0] == TRACEBACK
    assert "IndexError" in found["broken"][1]


def test_every_listed_type_is_a_decoder_or_has_another_kind():
    kinds = any_family.listed()
    assert sum(kind == "decoder" for kind in kinds.values()) >= 130
    assert kinds["bert"] == "encoder"
    assert kinds["bart"] == "part"
    assert kinds["llava"] == "wrapper"


def test_the_page_tells_what_an_architecture_lacks_from_what_is_not_supported():
    equal = dict.fromkeys(TITLES, (EQUAL, ""))
    no_attention = (REFUSED, "Model type 'a' (B) has no attention: its tokens hand on a state. Leave this model out.")
    said = "B ('a'), attention: logits differ by 1.0e+00 of the largest value from the stock model's, so wrong"
    differs = (REFUSED, f"{said}; leave this model out.")
    rows = {
        "all": equal,
        "state": {**equal, "sinks": no_attention, "head categories": (OPEN, "layer 0 has no attention")},
        "refused": {**equal, "sinks": no_attention, "Ships": differs},
        "wrong": {**equal, "sinks": (WRONG, "alpha")},
    }
    types = {name: {"kind": "decoder", "row": row} for name, row in rows.items()}
    found = page({"transformers": "5", "torch": "2", "types": types})
    assert (
        "Of 4 text decoders 2 have every analysis that runs the model and that their architecture allows: 1 have all, "
        "1 all but those with a letter; 2 have a number somewhere. 4 have head categories, 3 of them compared here. "
        "Cells that are wrong: 1 of wrong number."
    ) in found
    cells = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in found.splitlines() if line.startswith("| ")}
    assert cells["state"][0] == "a"
    assert cells["state"][8] == "?"
    assert cells["refused"][0] == "a"
    assert cells["refused"][6] == "1"
    assert cells["wrong"][0] == "!"
    assert "- **a** The family has no attention: its tokens hand on a state." in found
    assert "1. Logits differ from the stock model's, so wrong." in found


def test_heads_of_a_decoder_that_lets_no_layer_add_rows():
    assert family_matrix.row("gpt_bigcode", only=["Ships"])["Ships"] == (EQUAL, "")
