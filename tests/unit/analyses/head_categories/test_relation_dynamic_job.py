"""The job extract_relation_hits where no relation makes a prompt: its sentence, in words."""

from types import SimpleNamespace

import pandas as pd
import pytest

import byte_tokenizer
from atlas.analyses.head_categories.jobs import extract_relation_hits
from atlas.errors import AtlasError
from atlas.models.limits import Limits


def test_what_makes_no_prompt_is_told_by_relation():
    tokenizer = byte_tokenizer.tokenizer()
    pairs = pd.DataFrame({"relation": ["plural", "plural", "capital"], "source": ["a", "b", "c"],
                          "target": ["d", "e", "f"], "source_id": [300, 300, 300], "target_id": [1, 2, 3]})  # fmt: skip
    options = {"templates": ["{source} is"], "example": "", "shots": 0, "seed": 0, "pairs": 5, "max_rows": None}
    task = SimpleNamespace(
        options=options, frame=lambda name: pairs, params={"k": {"default": 1}}, tokenizer=tokenizer,
        limits=Limits(None, 301),
    )  # fmt: skip
    with pytest.raises(AtlasError) as raised:
        extract_relation_hits.run(task)
    said = str(raised.value)
    assert "capital: no pair makes a prompt (1 " in said
    assert "plural: no pair makes a prompt (2 " in said
    assert "{" not in said
