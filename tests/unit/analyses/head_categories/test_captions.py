"""What captions say of the state that stands for a source."""

from atlas.analyses.head_categories.caption_words import STATES, relation_prompts
from atlas.models.weights import FIRST_EXPERTS


def test_every_first_state_has_its_words():
    assert set(STATES) == {"first_mlp", *FIRST_EXPERTS}
    assert len(set(STATES.values())) == len(STATES)


def test_prompts_are_those_of_the_relations_that_are_asked_for():
    asked = {
        "templates": {"default": "{examples}\n {source}->", "capital": "The capital of {source} is", "other": "?"},
        "example": " {source}-> {target};",
        "shots": 3,
    }
    usual, examples = "{examples} {source}->", "; in place of {examples} 3 pairs as {source}-> {target};"
    capital = "capital: The capital of {source} is"
    assert relation_prompts(asked, ["past", "capital"]) == f"{usual}; {capital}{examples}"
    assert relation_prompts(asked, ["capital"]) == capital
    assert relation_prompts(asked, ["past"]) == usual + examples
    assert relation_prompts({**asked, "shots": 1}, []) == usual + examples.replace("3 pairs", "1 pair")
