"""Options of single models: over those of the analysis, checked by their own schema, or refused with the reason."""

import json
import re
import shutil

import pytest
import yaml

from atlas.analyses.registry import ANALYSES
from atlas.config import by_model, checked
from atlas.config.generate.options import analysis_blocks
from atlas.config.generate.schema_text import whole_schema
from atlas.errors import AtlasError
from atlas.own_options import own_options
from atlas.results.provenance import write_provenance
from configurations import TINY_DATA, check, merged, tiny
from places import ROOT

OPTIONS = [(block.name, option.name) for block in analysis_blocks() for option in block.options]
SAME = {
    (name, option)
    for name, said in whole_schema()["$defs"]["model_options"]["properties"].items()
    for option in ([one for analysis, one in OPTIONS if analysis == name] if "for_all" in said else said["properties"])
    if "for_all" in said or "for_all" in said["properties"][option]
}


def given(analysis, option, value, model="tiny"):
    return {"models": {model: {"options": {analysis: {option: value}}}}}


def sentences(text):
    with pytest.raises(AtlasError) as caught:
        check(text)
    return str(caught.value)


@pytest.mark.parametrize(("analysis", "option"), OPTIONS)
def test_every_option_may_differ_or_says_why_not(analysis, option):
    value = check("{}")["analyses"][analysis][option]
    text = yaml.safe_dump(given(analysis, option, value))
    if (analysis, option) in SAME:
        place = f"models.tiny.options.{analysis}"
        said = sentences(text)
        assert said.startswith(f"The configuration has an error: {place}")
        assert re.search(
            rf"analyses\.{analysis}(\.{option})? is the same for all models \(\w[^()]+[\w`].*\); take it", said
        )
        return
    config = check(text)
    assert by_model.block_of(analysis, "tiny", config)[option] == value
    assert by_model.told_options([analysis], "tiny", config) == []  # nothing is otherwise


def test_what_a_model_is_measured_on_and_compared_by_is_the_same_for_all():
    names = {option for _, option in SAME}
    assert {"models", "dataset", "datasets", "seed", "confidence", "bootstrap", "judge"} <= names
    assert all((name, option) in SAME for name, option in OPTIONS if name == "heads")
    for analysis, option in (("sinks", "bos"), ("mink", "template"), ("mink", "shards"), ("safety_heads", "dtype")):
        assert (analysis, option) not in SAME


def test_every_analysis_that_runs_a_model_has_a_dtype():
    """Groups are scored as single heads are, and head categories read weights in float32."""
    having = {name for name, option in OPTIONS if option == "dtype"}
    runs = {name for name, record in ANALYSES.items() if record.kind and name not in ("head_groups", "head_categories")}
    assert having == runs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{sinks: {boss: true}}", ["models.tiny.options.sinks: unknown key 'boss'; did you mean 'bos'?"]),
        ("{sink: {bos: true}}", ["models.tiny.options: unknown key 'sink'; did you mean 'sinks'?"]),
        ("{sinks.bos: true}", ["'sinks.bos' is two keys; write models: {tiny: {options: {sinks: {bos: true}}}}"]),
        ("{sinks: {bos: maybe}}", ["models.tiny.options.sinks.bos: 'maybe' is not one of 'auto', true, false"]),
        ("{sinks: {length: 1}}", ["models.tiny.options.sinks.length: 1 is out of range; it must be at least 2"]),
        ("{saliency: {probe: {fold: 3}}}", ["models.tiny.options.saliency.probe: unknown key 'fold'"]),
        (
            "{head_categories: {k: {default: 99}}}",
            ["models.tiny.options.head_categories.k.default: 99 is beyond k_max"],
        ),
        ("{head_categories: {k_max: 3}}", ["models.tiny.options.head_categories.k.default: 5 is beyond k_max = 3"]),
        ("{mink: 3}", ["models.tiny.options.mink: 3 is not a mapping"]),
        ("[sinks]", ["models.tiny.options: ['sinks'] is not a mapping"]),
        ("{safety_heads: {template: hello}}", ["models.tiny.options.safety_heads.template: 'hello'", "{q"]),
    ],
)
def test_what_is_wrong_is_told_at_the_model(text, words):
    said = sentences(f"models: {{tiny: {{options: {text}}}}}")
    assert all(word in said for word in words), said
    assert len(said.splitlines()) == 1, said


@pytest.mark.parametrize(
    ("old", "line"),
    [
        ("k_by_model: {tiny: {default: 3}}", "{tiny: {options: {head_categories: {k: {default: 3}}}}}"),
        ("first_mlp_by_model: {tiny: false}", "{tiny: {options: {head_categories: {first_mlp: false}}}}"),
    ],
)
def test_an_old_key_says_what_to_write_instead(old, line):
    said = sentences(f"analyses: {{head_categories: {{{old}}}}}")
    assert said.endswith(f"write models: {line}")
    assert len(said.splitlines()) == 1
    check(f"models: {line}")
    assert sentences("analyses: {head_categories: {k_by_model: {}}}").endswith("take it out.")


def test_mappings_with_named_keys_take_the_rest_from_the_analysis_and_others_count_whole():
    config = check("models: {tiny: {options: {mink: {predictions: {seed: 7}}, head_categories: {k: {default: 4}}}}}")
    base = config["analyses"]["mink"]["predictions"]
    assert base["questions"] == 9  # not the schema's default
    assert by_model.block_of("mink", "tiny", config)["predictions"] == {**base, "seed": 7}
    assert by_model.block_of("head_categories", "tiny", config)["k"] == {"default": 4}
    assert config["analyses"]["head_categories"]["k"]["default"] == 5


def test_a_control_is_measured_as_its_base_unless_it_says_otherwise():
    base = "tiny: {options: {sinks: {bos: true, length: 8}, mink: {predictions: {seed: 7}}}}"
    own = "tiny-shuffled: {options: {sinks: {length: 9}, mink: {predictions: {questions: 2}}}}"
    config = check(f"models: {{{base}, {own}}}")
    sinks = by_model.block_of("sinks", "tiny-shuffled", config)
    assert (sinks["bos"], sinks["length"]) == (True, 9)
    predictions = by_model.block_of("mink", "tiny-shuffled", config)["predictions"]
    assert (predictions["seed"], predictions["questions"]) == (7, 2)
    assert by_model.block_of("mink", "tiny", config)["predictions"]["questions"] == 9


def test_what_bears_on_nothing_is_a_note_and_a_later_file_takes_options_away():
    config = check("{analyses: {sinks: {models: [tiny-shuffled]}}, models: {tiny: {options: {sinks: {bos: true}}}}}")
    assert "models.tiny.options.sinks: tiny is not among analyses.sinks.models." in config["notes"]
    first = merged(tiny(), given("sinks", "bos", True))
    for later in ("options: null", "options: {sinks: null}"):
        assert check(f"models: {{tiny: {{{later}}}}}", first)["models"]["tiny"]["options"] == {}
    assert check("only: mink", first)["models"]["tiny"]["options"] == {}


def test_captions_are_told_what_may_change_a_result_alone():
    config = check("models: {tiny: {options: {sinks: {bos: true, shards: 3, batch_tokens: 64, epsilon: 0.3}}}}")
    assert by_model.told_options(["sinks", "mink"], "tiny", config) == ["sinks.bos: true"]
    assert set(by_model._AT_ONCE) <= {option for _, option in OPTIONS}


@pytest.mark.parametrize(
    "value", ["raw", "{q}", "## Q: {q}\n", True, None, 1e-5, 2.5e-7, "e", {"default": 3, "a": "b c"}, "null", ""]
)
def test_a_line_that_is_to_be_written_says_what_it_should(value):
    assert yaml.safe_load(own_options("m-1.5", "mink", "system", value)) == given("mink", "system", value, "m-1.5")


def test_rules_read_what_may_differ_through_the_helper_alone():
    read = {
        found.groups()
        for path in (ROOT / "rules").glob("*.smk")
        for found in re.finditer(r'ANALYSES\["(\w+)"\]\["(\w+)"\]', path.read_text())
    }
    assert read
    assert {pair for pair in read if pair not in SAME} == set()


# ------------------------------------------------------------------------------------------------------- chat templates
@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with all that configs/tiny.yaml names, and a model without a chat template; the working directory."""
    for name in ("schemas", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in TINY_DATA:
        (tmp_path / "tiny" / name).mkdir(parents=True)
    model(tmp_path / "tiny" / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def model(folder, **settings):
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def chat(place, text="{analyses: {mink: {template: chat}}}"):
    return checked(merged(tiny(), yaml.safe_load(text)), place)


def test_chat_without_a_template_is_refused_by_the_models_name_with_the_line(place):
    with pytest.raises(AtlasError) as caught:
        chat(place)
    said = str(caught.value)  # once: a control has its base's options and template
    line = re.search(r"error: models\.tiny: .*write (models: .*?), or template: auto in analyses\.mink\.$", said)[1]
    chat(place, yaml.safe_dump(merged({"analyses": {"mink": {"template": "chat"}}}, yaml.safe_load(line))))
    chat(place, "{}")  # auto
    with pytest.raises(AtlasError, match=r"analyses\.saliency\.prompt is chat.*\{saliency: \{prompt: auto\}\}"):
        chat(place, "models: {tiny: {options: {saliency: {prompt: chat}}}}")
    with pytest.raises(AtlasError, match=r"models\.tiny-shuffled: analyses\.saliency\.prompt is chat"):
        chat(place, "models: {tiny-shuffled: {options: {saliency: {prompt: chat}}}}")


@pytest.mark.parametrize("how", ["jinja", "setting", "no weights", "damaged"])
def test_what_has_a_template_or_does_not_tell_is_accepted(place, how):
    folder = place / "tiny" / "model"
    if how == "jinja":
        (folder / "chat_template.jinja").write_text("{{ messages }}")
    elif how == "setting":
        (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    elif how == "no weights":  # a GGUF has its template inside
        (folder / "model.safetensors").rename(folder / "model.gguf")
    else:
        (folder / "tokenizer_config.json").write_text("{")
    chat(place)


def test_a_downloaded_model_is_asked_if_it_is_still_the_one_of_the_configuration(place):
    hub = {"repo": "a/b", "revision": "0" * 40}
    mink = {"template": "chat", "models": ["far"]}
    text = json.dumps({"analyses": {"mink": mink}, "models": {"far": {"source": {"hub": hub}}}})
    chat(place, text)  # not there yet
    folder = place / "results" / "models" / "far"
    model(folder)
    write_provenance(folder, {"files": {}, "source": {"hub": hub}})
    with pytest.raises(AtlasError, match=r"models\.far: analyses\.mink\.template is chat"):
        chat(place, text)
    write_provenance(folder, {"files": {}, "source": {"hub": {**hub, "revision": "1" * 40}}})
    chat(place, text)
    shutil.rmtree(folder)


# --------------------------------------------------------------------------------------------------- parts switched off
def test_a_model_that_is_not_to_answer_has_no_tables_of_answers():
    config = check("models: {tiny: {options: {mink: {predictions: {questions: 0}}}}}")
    for key in ("tiny", "tiny-shuffled"):
        made = {table: by_model.table_made(table, key, "graph", config) for table in ANALYSES["mink"].tables}
        assert {table for table, there in made.items() if there} == {"mink", "mink_graphs", "mink_trend"}
    assert config["figures"]["mink_depth"]["kde_models"] == []
    judged = check("analyses: {mink: {judge: {kind: column}, predictions: {questions: 0}}}")
    assert by_model.table_made("score_gap", "tiny", "graph", judged)


def test_the_lower_row_of_a_figure_may_be_empty_and_shows_only_what_answers():
    assert check("figures: {mink_depth: {kde_models: []}}")["figures"]["mink_depth"]["kde_models"] == []
    own = "models: {tiny-shuffled: {options: {mink: {predictions: {questions: 0}}}}}"
    assert check(f"{{{own}}}")["figures"]["mink_depth"]["kde_models"] == ["tiny"]
    assert "kde_models: tiny-shuffled gives no answers" in sentences(
        f"{{{own}, figures: {{mink_depth: {{kde_models: [tiny-shuffled]}}}}}}"
    )
    assert "predictions.questions: 0 makes no answers, but analyses.mink.texts scores" in sentences(
        "analyses: {mink: {texts: [prediction], predictions: {questions: 0}}}"
    )
