"""Which models are compared: the control of one, the next smaller, the generation before, another of the family."""

from atlas.analyses.claims.relatives import relatives, repo_of, size_of


def model(family=None, size=None, generation=None, parameters=None, **source):
    return {
        "family": family, "size": size, "generation": generation, "parameters": parameters,
        "source": source or {"path": "x"}, "published_as": None,
    }  # fmt: skip


MODELS = {
    "l2-7": model("Llama", 7, 2), "l2-13": model("Llama", 13, 2), "l2-70": model("Llama", 70, 2),
    "l3-8": model("Llama", 8, 3), "l3-70": model("Llama", 70, 3), "l1-7": model("Llama", 7, 1),
    "other": model("Gemma", 7, 2), "alone": model(None, 7), "unsized": model("Llama"),
    "l2-7-shuffled": model(control={"of": "l2-7", "kind": "shuffled"}),
    "l2-7-again": model(control={"of": "l2-7", "kind": "reinitialised"}),
}  # fmt: skip


def test_the_next_smaller_is_of_the_same_generation():
    assert relatives("l2-70", MODELS)["smaller"] == "l2-13"
    assert relatives("l3-70", MODELS)["smaller"] == "l3-8"
    assert "smaller" not in relatives("l3-8", MODELS)
    assert "smaller" not in relatives("other", MODELS)


def test_a_few_more_tokens_make_no_larger_model():
    """Llama-3-8B has 8,030,261,248 parameters; one with eight tokens more is of the same size."""
    again = {
        **MODELS,
        "l3-8-tuned": model("Llama", None, 3, 8_030_326_784),
        "l3-8": model("Llama", None, 3, 8_030_261_248),
    }
    assert "smaller" not in relatives("l3-8-tuned", again)
    assert relatives("l3-8-tuned", again)["sibling"] == "l3-8"
    assert relatives("l3-70", again)["smaller"] == "l3-8-tuned"


def test_the_older_is_of_the_generation_before_and_nearest_in_size():
    assert relatives("l3-70", MODELS)["older"] == "l2-70"
    assert relatives("l3-8", MODELS)["older"] == "l2-7"
    assert relatives("l2-13", MODELS)["older"] == "l1-7"
    assert "older" not in relatives("l1-7", MODELS)


def test_a_control_is_found_and_has_no_family():
    assert relatives("l2-7", MODELS)["control"] == "l2-7-shuffled"
    assert relatives("l2-7-shuffled", MODELS) == {}
    assert relatives("alone", MODELS) == {}
    assert relatives("unsized", MODELS) == {}


def test_a_sibling_is_the_nearest_in_size():
    assert relatives("l2-7", MODELS)["sibling"] == "l1-7"
    assert relatives("l2-13", MODELS)["sibling"] == "l3-8"


def test_size_is_that_of_the_entry_or_its_parameters():
    assert size_of(model(size=7, parameters=6_738_415_616)) == 7
    assert size_of(model(parameters=6_738_415_616)) == 6.738415616
    assert size_of(model()) == 0


def test_a_model_is_known_by_the_hubs_name_wherever_it_comes_from():
    assert repo_of(model(hub={"repo": "a/b"})) == "a/b"
    assert repo_of(model(path="x")) == ""
    mirrors = {"source": [{"path": "x"}, {"hub": {"repo": "a/b"}}], "published_as": None}
    assert repo_of(mirrors) == "a/b"
    assert repo_of({**mirrors, "published_as": "c/d"}) == "c/d"
