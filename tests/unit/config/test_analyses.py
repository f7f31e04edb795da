"""A legal block of an analysis is not refused because of what the default run says elsewhere."""

import pytest

from atlas.errors import AtlasError
from configurations import check, merged, tiny

MORE = (
    "datasets: {more: {kind: prompts, source: {path: tiny/questions.jsonl}}, "
    "qa2: {kind: qa, source: {path: tiny/trivia.jsonl}}, deep: {kind: depth, source: {path: tiny/graph.jsonl}}}, "
)


@pytest.mark.parametrize(
    ("analyses", "figure", "wanted"),
    [
        ("saliency: {loss: [answer_nll]}", "saliency_density", {"loss": "answer_nll"}),
        ("saliency: {loss: [answer_nll]}", "saliency_by_layer", {"loss": "answer_nll"}),
        ("safety_heads: {rank: [2]}", "safety_heads", {"rank": 2}),
        ("safety_heads: {ablations: [mean]}", "safety_heads", {"ablations": ["mean"]}),
        ("safety_heads: {ablations: [mean, scaling]}", "safety_heads", {"ablations": ["scaling"]}),
        ("safety_heads: {ablations: [mean, scaling]}", "safety_effect", {"ablations": ["scaling", "mean"]}),
        ("safety_heads: {models: [tiny-shuffled, tiny]}", "safety_effect", {"models": ["tiny"]}),
        ("mink: {k_percent: [7], texts: [question]}", "mink_depth", {"k_percent": 7, "text": "question"}),
    ],
)
def test_figures_that_say_nothing_follow_the_analysis(analyses, figure, wanted):
    drawn = check(f"analyses: {{{analyses}}}")["figures"][figure]
    assert {key: drawn[key] for key in wanted} == wanted


def test_data_sets_of_figures_follow_the_analysis():
    """As config.yaml's own figures do; configs/tiny.yaml names the data set of each."""
    config = merged(tiny())
    for figure in config["figures"].values():
        for key in ("dataset", "datasets"):
            figure.pop(key, None)
    changes = MORE + (
        "analyses: {saliency: {datasets: [qa2]}, mink: {datasets: [deep]}, meaningless_tokens: {datasets: [more]}, "
        "safety_heads: {datasets: [more]}, head_groups: {datasets: all}, ablation_effect: {datasets: all}}"
    )
    figures = check(f"{{{changes}}}", config)["figures"]
    assert figures["saliency_density"]["datasets"] == figures["probe_auroc"]["datasets"] == ["qa2"]
    assert figures["mink_depth"]["dataset"] == "deep"
    shown = {figures[key]["dataset"] for key in ("attention_sinks", "safety_heads", "safety_effect")}
    assert shown == {"more"}


def test_what_starts_from_safety_heads_follows_it():
    blocks = check("analyses: {safety_heads: {models: [tiny], rank: [2]}, head_groups: {models: all}}")["analyses"]
    assert blocks["head_groups"]["models"] == ["tiny"]
    assert blocks["head_groups"]["rank"] == blocks["ablation_effect"]["rank"] == 2


@pytest.mark.parametrize(
    ("analyses", "sentence"),
    [
        ("head_groups: {models: [tiny-shuffled]}, safety_heads: {models: [tiny]}", "analyses.head_groups.models"),
        ("head_groups: {rank: 2}", "analyses.head_groups.rank: 2 is not among analyses.safety_heads.rank"),
        ("head_groups: {models: [tinny]}", "there is no model 'tinny'; did you mean 'tiny'?"),
        (
            "heads: {metrics: [score, ships_scaling]}, safety_heads: {ablations: [undifferentiated]}",
            "analyses.heads.metrics: 'ships_scaling' is not computed; add scaling to analyses.safety_heads.ablations.",
        ),
        (
            "heads: {metrics: [score, alpha_random]}, sinks: {inputs: [natural]}",
            "analyses.heads.metrics: 'alpha_random' is not computed; add random to analyses.sinks.inputs.",
        ),
    ],
)
def test_what_is_not_computed_is_refused(analyses, sentence):
    with pytest.raises(AtlasError) as caught:
        check(f"analyses: {{{analyses}}}")
    assert sentence in str(caught.value)


def test_the_default_list_of_measures_leaves_out_what_is_not_computed():
    config = check("analyses: {safety_heads: {ablations: [undifferentiated]}}")
    left = config["analyses"]["heads"]["metrics"]
    assert "ships_undifferentiated" in left
    assert not {"ships_scaling", "kl_scaling"} & set(left)
    assert config["figures"]["head_overlap"]["metrics"] == left
    assert config["notes"] == ["analyses.heads.metrics leaves out ships_scaling, kl_scaling: not computed here."]


def test_measures_of_any_ablation_are_known_where_it_is_computed():
    config = check("analyses: {safety_heads: {ablations: [mean]}, heads: {metrics: [ships_mean, kl_mean, score]}}")
    assert config["analyses"]["heads"]["metrics"] == ["ships_mean", "kl_mean", "score"]
    assert config["figures"]["explorer"]["metrics"] == ["ships_mean", "kl_mean", "score"]
    assert config["notes"] == []
    with pytest.raises(AtlasError, match=r"'ships_mean' is not computed; add mean to analyses.safety_heads.ablations"):
        check("analyses: {heads: {metrics: [ships_mean, score]}}")
    with pytest.raises(AtlasError, match=r"figures.explorer.metrics: 'kl_mean' is not computed"):
        check("figures: {explorer: {metrics: [kl_mean]}}")


def test_one_measure_is_no_pair():
    off = "saliency: null, meaningless_tokens: null, head_categories: null, safety_heads: null, head_types: null"
    with pytest.raises(AtlasError, match="of these measures alpha_natural is computed"):
        check(f"analyses: {{{off}}}")
