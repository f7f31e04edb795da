"""What a value should have been is told as the form that its schema asks for."""

import pytest
import yaml

from atlas.config.forms import form
from atlas.errors import AtlasError
from configurations import check
from places import ROOT

SCHEMA = yaml.safe_load((ROOT / "schemas" / "config.schema.yaml").read_text())

# configuration over configs/tiny.yaml -> the end of its one sentence
SAID = {
    "figures: {attention_sinks: {heads: [0, 1]}}": "figures.attention_sinks.heads.0: 0 is not a pair [layer, head]; "
    "heads are a list of such pairs, as [[0, 1], [2, 3]].",
    "figures: {attention_sinks: {heads: [[0]]}}": "[0] has 1 entry, and is not a pair [layer, head]; heads are a list "
    "of such pairs, as [[0, 1], [2, 3]].",
    "figures: {attention_sinks: {heads: 3}}": "figures.attention_sinks.heads: 3 is not {auto: n, layer}, a list of "
    "pairs [layer, head] such as [[0, 1]], or {model key: such a list}.",
    "models: {cut: {source: {ablated: {of: tiny, heads: [7], ablation: scaling}}}}": "models.cut.source.ablated."
    "heads.0: 7 is not a pair [layer, head]; heads are a list of such pairs, as [[0, 1], [2, 3]].",
    "run: {name: 3}": "run.name: 3 is not a name, or null.",
    "fonts: a.ttf": "fonts: 'a.ttf' is not a list of strings; write ['a.ttf'].",
    "analyses: {saliency: {probe: {layers: []}}}": "analyses.saliency.probe."
    "layers: it is empty; give a list of whole numbers.",
    "analyses: {mink: {predictions: {max_new_tokens: [48]}}}": "[48] has 1 entry, "
    "and is not a list of 3 whole numbers.",
    "analyses: {sinks: {inputs: natural}}": "'natural' is not a list of some of natural, random, repeated; "
    "write ['natural'].",
    "analyses: {sinks: {models: tiny}}": "'tiny' is not all, trained (all but controls), or a list of keys.",
    "datasets: {passages: {sample: 3}}": "sample: 3 is not a mapping with the keys n, seed, or null.",
    "models: {tiny: {parameters: many}}": "parameters: 'many' is not a whole number, or null.",
    "figures: {mine: 3}": "figures.mine: 3 is not a mapping.",
    "analyses: {sinks: {models: traind}}": "'traind' is not one of 'all', 'trained'; did you mean 'trained'?",
    "datasets: {new: {label: x}}": "datasets.new: 'kind', 'source' are missing.",
}


@pytest.mark.parametrize("text", SAID)
def test_a_value_of_another_form_is_told_the_form(text):
    with pytest.raises(AtlasError) as raised:
        check(text)
    assert str(raised.value).startswith("The configuration has an error: ")
    assert str(raised.value).endswith(SAID[text])


def nodes(schema):
    """Every part of a schema that says what fits."""
    if isinstance(schema, dict):
        if {"type", "anyOf", "items", "$ref"} & schema.keys():
            yield schema
        for part in schema.values():
            yield from nodes(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from nodes(part)


def test_every_part_of_the_schema_has_a_form():
    found = [part for part in nodes(SCHEMA) if isinstance(part.get("type", ""), str | list)]
    assert len(found) > 400
    for part in found:
        assert form(part, SCHEMA), part
