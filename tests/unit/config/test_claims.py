"""The block claims: which models it is about, what families say, and what becomes of it without other analyses."""

import pytest

from atlas.analyses.claims.relatives import relatives, repo_of
from atlas.analyses.registry import ANALYSES, CLAIMS
from atlas.errors import AtlasError
from configurations import check, overlaid
from places import ROOT


def test_models_are_those_that_any_analysis_covers():
    config = check()
    assert config["analyses"]["claims"]["models"] == ["tiny", "tiny-shuffled"]
    assert check("analyses: {claims: {models: trained}}")["analyses"]["claims"]["models"] == ["tiny"]
    # mink and sinks alone, of one model
    some = check("{only: [sinks, claims], analyses: {sinks: {models: [tiny]}}}")
    assert some["analyses"]["claims"]["models"] == ["tiny"]


def test_claims_are_drawn_by_default_and_can_be_switched_off():
    assert "claims" in check()["figures"]
    off = check("analyses: {claims: null}")
    assert "claims" not in off["analyses"]
    assert "claims" not in off["figures"]


def test_claims_stay_while_one_analysis_brings_some_and_go_with_the_last():
    assert "claims" in check("{analyses: {saliency: null, mink: null}}")["analyses"]
    others = ", ".join(f"{name}: null" for name in ANALYSES if name not in ("mink", "claims"))
    left = check(f"analyses: {{{others}}}")
    assert set(left["analyses"]) == {"mink", "claims"}


def test_a_model_that_nothing_covers_is_refused():
    with pytest.raises(AtlasError, match=r"analyses.claims.models: no analysis covers 'tinny'"):
        check("analyses: {claims: {models: [tinny]}}")


def test_families_of_a_configuration_find_each_other():
    text = """
      models:
        tiny: {family: Tiny, generation: 2, size: 7}
        small: {source: {path: tiny/model}, family: Tiny, generation: 2, parameters: 1000000000}
        first: {source: {path: tiny/model}, family: Tiny, generation: 1, size: 6}
    """
    models = check(text)["models"]
    assert relatives("tiny", models) == {
        "control": "tiny-shuffled", "smaller": "small", "older": "first", "sibling": "first"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("models: {tiny: {size: 7}}", "models.tiny.size: it orders the models of one family"),
        ("models: {tiny: {generation: 2}}", "models.tiny.generation: it orders the models of one family"),
        ("models: {tiny-shuffled: {family: Tiny}}", "models.tiny-shuffled.family: a control has none"),
        ("models: {tiny: {family: 3}}", "models.tiny.family"),
        ("models: {tiny: {family: Tiny, size: 0}}", "models.tiny.size"),
        ("analyses: {claims: {minimum: 2}}", "analyses.claims.minimum"),
        ("models: {tiny: {options: {claims: {minimum: 20}}}}", "it joins what other analyses have found"),
    ],
)
def test_what_makes_no_sense_is_refused(text, sentence):
    with pytest.raises(AtlasError) as caught:
        check(text)
    assert sentence in str(caught.value)


def test_the_models_of_the_sources_find_what_the_sources_compare():
    config = overlaid(ROOT / "configs" / "paper.yaml", "allow_unpinned: true")
    checked_ = check(base=config)
    models, blocks = checked_["models"], checked_["analyses"]

    def of(analysis, model):
        return relatives(model, {key: models[key] for key in blocks[analysis]["models"]})

    assert of("saliency", "llama-3-70b") == {"smaller": "llama-3-8b", "sibling": "llama-3-8b"}
    assert of("mink", "llama-2-70b-chat")["smaller"] == "llama-2-7b-chat"
    assert of("mink", "llama-3-70b-instruct")["smaller"] == "llama-3-8b-instruct"
    assert of("mink", "llama-3-70b-instruct")["older"] == "llama-2-70b-chat"
    assert of("mink", "llama-3-8b-instruct")["older"] == "llama-2-7b-chat"
    assert of("safety_heads", "llama-2-7b-chat")["sibling"] == "vicuna-7b-v1.5"
    known = {value.repo for said in CLAIMS.values() for value in said.published}
    named = {key for key in models if repo_of(models[key]) in known}
    assert named >= {"gpt2-xl", "pythia-12b", "llama-3-8b", "llama-3-70b", "llama-2-7b-chat", "llama-3-8b-instruct"}
