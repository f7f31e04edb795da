"""A chat template that reads the day and a switch: what is written down, what runs again, what is not joined."""

import pytest

from atlas.results.files import read_arrays, read_provenance, write_arrays
from projects import copy_project

TEMPLATE = (
    "{{ strftime_now('w%d ') }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    "{% if thinking is not defined or thinking %} <think>{% endif %}"
)
SCORES = "results/activations/tiny/token_logprobs/graph"
TARGETS = [f"{SCORES}.safetensors", "results/activations/tiny/sinks/passages.safetensors"]
SWITCHED_OFF = {"chat_template_kwargs": {"thinking": False}}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A project with log-probabilities behind a dated template, and with sinks. Do not change it."""
    project = copy_project(tmp_path_factory.mktemp("chat") / "project")
    project.write("tiny/model/chat_template.jinja", TEMPLATE)
    project.configure(lambda config: config["models"]["tiny"].update(SWITCHED_OFF))
    process = project.run(*TARGETS)
    assert process.returncode == 0, process.stdout
    return project


@pytest.fixture
def project(scored, tmp_path):
    return scored.copy(tmp_path / "project")


def test_the_provenance_says_how_the_template_was_rendered(scored):
    found = read_provenance(scored.folder / TARGETS[0])["chat"]
    assert (found["date"], found["kwargs"]) == ("2024-07-26", {"thinking": False})
    assert len(found["frames_sha256"]) == 64
    assert "chat" not in read_provenance(scored.folder / TARGETS[1])


def test_a_change_runs_again_what_renders_templates_and_nothing_else(project):
    assert project.planned(*TARGETS) == {}
    again = {"extract_token_logprobs": 2, "gather_shards": 1}
    assert project.planned(*TARGETS, "--config", "chat_date=2025-01-02") == again
    project.configure(lambda config: config["models"]["tiny"].update(chat_template_kwargs={"thinking": True}))
    assert project.planned(*TARGETS) == again


def test_shards_with_two_frames_are_not_joined(project):
    shard = project.folder / SCORES / "2-of-2.safetensors"
    arrays, document = read_arrays(shard)
    document["chat"]["frames_sha256"] = "0" * 64
    write_arrays(shard, arrays, document)
    project.remove(TARGETS[0])
    process = project.run(TARGETS[0])
    assert process.returncode != 0
    for words in ("1-of-2.safetensors", "2-of-2.safetensors", "different renderings of the model's chat template"):
        assert words in process.stdout
    assert "Traceback" not in process.stdout
    assert not (project.folder / TARGETS[0]).exists()


def test_an_open_thinking_block_is_one_sentence(project):
    project.configure(lambda config: config["models"]["tiny"].pop("chat_template_kwargs"))
    process = project.run(TARGETS[0])
    assert process.returncode != 0
    assert "analyses.mink.template is chat, but model tiny's chat template opens a thinking block" in process.stdout
    assert "models.tiny.chat_template_kwargs" in process.stdout
    assert "Traceback" not in process.stdout
