"""Options of single models in real runs: what a change plans, what is written down, what is not made."""

import pandas as pd
import pytest

from atlas.results.files import read_provenance
from projects import copy_project

TINY, SHUFFLED = "tiny", "tiny-shuffled"
SINKS = [f"results/metrics/{model}/sink_rates/passages.parquet" for model in (TINY, SHUFFLED)]
SHIPS = "results/activations/tiny/head_ablations/questions.safetensors"
TARGETS = [*SINKS, SHIPS]
OF_ANSWERS = {"generate_answers", "gather_answers", "judge_answers", "compute_score_gap"}


def set_options(project, model, options):
    project.configure(lambda config: config["models"][model].update(options=options))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with sinks of two models, one with a beginning-of-sequence token by its options, and Ships of one."""
    project = copy_project(tmp_path_factory.mktemp("options") / "project")
    set_options(project, SHUFFLED, {"sinks": {"bos": True, "length": 8}})
    process = project.run(*TARGETS, "figures/sink_rates.pdf")
    assert process.returncode == 0, process.stdout
    return project


@pytest.fixture
def project(made, tmp_path):
    return made.copy(tmp_path / "project")


def test_tables_and_provenance_say_what_each_model_had(made):
    for path, bos, length in zip(SINKS, (False, True), (16, 8), strict=True):
        frame = pd.read_parquet(made.folder / path)
        assert (frame["bos"].unique().tolist(), frame["length"].unique().tolist()) == ([bos], [length])
        assert read_provenance(made.folder / path)["options"]["bos"] is bos


def test_a_caption_says_what_single_models_have_otherwise(made):
    caption = (made.folder / "results" / "captions" / "sink_rates.txt").read_text()
    assert "Options of single models: Tiny Llama shuffled: sinks.bos: true, sinks.length: 8." in caption


def test_another_dtype_for_ships_plans_ships_alone(project):
    assert project.planned(*TARGETS) == {}
    set_options(project, TINY, {"safety_heads": {"dtype": "bfloat16"}})
    assert project.planned(*TARGETS) == {"extract_head_ablations": 2, "gather_shards": 1}


def test_ships_in_half_precision_come_with_their_error(project):
    """The job loads the model again in float32; what it measures reaches the table, over two shards."""
    set_options(project, TINY, {"safety_heads": {"dtype": "bfloat16"}})
    table = "results/metrics/tiny/safety_heads/questions.parquet"
    process = project.run(table)
    assert process.returncode == 0, process.stdout
    frame = pd.read_parquet(project.folder / table)
    assert set(frame["dtype"]) == {"bfloat16"}
    assert (frame["error_degrees"] > 0).all()
    assert (frame["error_kl"] > 0).all()
    assert read_provenance(project.folder / SHIPS)["runtime"]["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("model", "options", "planned"),
    [
        (TINY, {"sinks": {"epsilon": 0.2}}, {"compute_sinks": 2}),  # a control is measured as its base
        (SHUFFLED, {"sinks": {"bos": True, "length": 8, "epsilon": 0.2}}, {"compute_sinks": 1}),
        (SHUFFLED, {"sinks": {"length": 8}}, {"extract_sinks": 1, "gather_shards": 1, "compute_sinks": 1}),
        (TINY, {"mink": {"template": "raw"}, "saliency": {"prompt": "chat"}}, {}),
        (TINY, {"safety_heads": {"max_rows": 7}}, {"extract_head_ablations": 2, "gather_shards": 1}),
    ],
)
def test_a_models_option_plans_what_reads_it_of_that_model(project, model, options, planned):
    set_options(project, model, options)
    assert project.planned(*TARGETS) == planned


def test_shards_of_one_model(project):
    set_options(project, TINY, {"safety_heads": {"shards": 3}})
    assert project.planned(SHIPS)["extract_head_ablations"] == 3


def test_models_that_do_not_answer_are_asked_nothing(made):
    # The control answers by its base, so nothing is asked where that answers nothing.
    off = made.planned("figures/all", "--config", "models={tiny: {options: {mink: {predictions: {questions: 0}}}}}")
    on = made.planned("figures/all")
    assert set(on) >= OF_ANSWERS
    assert not {"generate_answers", "generate_context_answers", "judge_answers", "compute_score_gap"} & set(off)
    assert on["aggregate_table"] - off["aggregate_table"] == 3  # score_gap, discrepancy, depth_accuracy
    figure = made.planned("figures/mink_depth.pdf", "--config", "figures={mink_depth: {kde_models: []}}")
    assert not OF_ANSWERS & set(figure)


def test_chat_without_a_template_is_refused_before_anything_runs(project):
    for name in ("chat_template.jinja",):
        (project.folder / "tiny" / "model" / name).unlink(missing_ok=True)
    settings = project.folder / "tiny" / "model" / "tokenizer_config.json"
    settings.write_text("{}")
    process = project.run("-n", SHIPS, "--config", "analyses={mink: {template: chat}}")
    assert process.returncode != 0
    assert (
        "models.tiny: analyses.mink.template is chat, but this model's tokenizer has no chat template" in process.stdout
    )
    assert "models: {tiny: {options: {mink: {template: auto}}}}" in process.stdout
    assert "Traceback" not in process.stdout
