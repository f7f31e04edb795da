"""A dozen families through every analysis against the stock model, and the script that runs all of them."""

import pytest

import any_family
import family_matrix
from family_analyses import same
from family_matrix import EQUAL, OPEN, REFUSED, TRACEBACK, WRONG

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
