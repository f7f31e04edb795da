"""An analysis that is switched off takes with it what needs it, and says so once."""

import pytest

from atlas.analyses.registry import ANALYSES, PLOT_ANALYSES
from atlas.errors import AtlasError
from configurations import check, tiny


def drawn(config):
    return {PLOT_ANALYSES[figure["plot"]] for figure in config["figures"].values()} - {None}


def test_null_switches_an_analysis_off_with_its_figures():
    config = check("analyses: {mink: null}")
    assert "mink" not in config["analyses"]
    assert "mink_depth" not in config["figures"]
    assert config["notes"] == ["Switched off: analyses.mink, and with it figures.mink_depth, figures.depth_prompts."]


def test_a_second_figure_goes_too():
    config = check("{analyses: {sinks: null}, figures: {mine: {plot: sink_rates}}}")
    assert "mine" not in config["figures"]
    assert "figures.sink_rates, figures.sink_profile, figures.sink_norms, figures.mine" in config["notes"][0]


def test_what_starts_from_it_goes_too():
    config = check("analyses: {safety_heads: null}")
    assert not {"safety_heads", "head_groups", "ablation_effect"} & set(config["analyses"])
    assert not {"safety_heads", "safety_effect"} & set(config["figures"])
    assert "analyses.head_groups, analyses.ablation_effect" in config["notes"][0]


def test_the_joined_table_says_nothing_of_it():
    heads = "{datasets: {sinks: passages}, metrics: [score, alpha_natural, span_mass]}"
    config = check(f"analyses: {{sinks: null, heads: {heads}}}")
    heads = config["analyses"]["heads"]
    assert "sinks" not in heads["datasets"]
    assert heads["metrics"] == ["score", "span_mass"]
    assert config["notes"][1] == "analyses.heads.metrics leaves out alpha_natural: not computed here."


def test_a_figure_of_the_joined_table_says_nothing_of_it():
    config = check("{analyses: {sinks: null}, figures: {explorer: {metrics: [score, alpha_natural]}}}")
    assert config["figures"]["explorer"]["metrics"] == ["score"]


@pytest.mark.parametrize("name", [name for name, record in ANALYSES.items() if not record.starts_from])
def test_any_single_analysis_can_be_switched_off(name):
    config = check(f"analyses: {{{name}: null}}")
    assert name not in config["analyses"]
    assert drawn(config) <= set(config["analyses"])


@pytest.mark.parametrize("only", ["sinks", "[sinks]"])
def test_only_switches_off_all_others(only):
    config = check(f"only: {only}")
    assert set(config["analyses"]) == {"sinks"}
    assert set(config["figures"]) == {"sink_rates", "sink_profile", "sink_norms", "costs"}
    assert len(config["notes"]) == 1


def test_only_of_several():
    config = check("only: [safety_heads, head_groups, sinks, heads]")
    assert set(config["analyses"]) == {"safety_heads", "head_groups", "sinks", "heads"}
    assert drawn(config) == {"safety_heads", "sinks", "heads"}


def test_without_it_nothing_is_switched_off_or_said():
    assert check()["notes"] == []
    assert check("{analyses: {mink: null}, figures: {mink_depth: null, depth_prompts: null}}")["notes"] == []


def test_a_switch_that_a_later_file_sets_again():
    assert set(check("only: null")["analyses"]) == set(ANALYSES)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("only: sink", "only: 'sink' is not one of"),
        ("only: [sinks, sinks]", "only: sinks stands there more than once."),
        ("only: 3", "only: 3 is not"),
        ("only: head_groups", "only: head_groups starts from safety_heads; name both."),
        ("only: heads", "analyses.heads: it joins"),
        ("{only: mink, analyses: {mink: null}}", "only: analyses.mink is not in the configuration"),
        ("analyses: {mnik: null}", "analyses: unknown key 'mnik'; did you mean 'mink'?"),
    ],
)
def test_a_switch_that_means_nothing_is_refused(text, sentence):
    with pytest.raises(AtlasError) as caught:
        check(text)
    assert sentence in str(caught.value)


def test_a_block_that_is_not_there_is_not_switched_off():
    config = {**tiny(), "analyses": {key: block for key, block in tiny()["analyses"].items() if key != "mink"}}
    with pytest.raises(AtlasError, match=r"figures.mink_depth: it draws analyses.mink, which is not in the config"):
        check(base=config)


CUT = "models: {cut: {source: {ablated: {of: tiny, heads: {top: 2, dataset: questions}, ablation: scaling}}}}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "only: sinks",
            "write only: [sinks, safety_heads], list the heads as [[layer, head], ...], or leave the model out",
        ),
        ("analyses: {safety_heads: null}", "switched off; switch it on, list the heads"),
        ("run: {name: mine}", "that of the run mine, but models are shared by all runs"),
    ],
)
def test_the_strongest_heads_need_a_ranking_that_stays(text, sentence):
    check(CUT)
    with pytest.raises(AtlasError) as raised:
        check(f"{CUT}\n{text}")
    assert str(raised.value).startswith("The configuration has an error: models.cut.source.ablated.heads: ")
    assert sentence in str(raised.value)
    assert str(raised.value).endswith("(models: {cut: null}).")


@pytest.mark.parametrize("text", ["only: sinks", "run: {name: mine}"])
def test_a_model_that_no_analysis_has_needs_no_ranking(text):
    blocks = ", ".join(f"{name}: {{models: [tiny]}}" for name in ANALYSES)
    check(f"{CUT}\nanalyses: {{{blocks}}}\n{text}")
