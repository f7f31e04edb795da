"""The row of a model: what each analysis would say of it, before any of them runs."""

import subprocess

import pytest

import any_family
import warm_python
from atlas.analyses.suitability import ASKED, MAPPINGS, suitability
from places import ROOT
from tiny_models import save_folder, save_tokenizer


def row(folder):
    return dict(suitability(folder, dtype="float32", device="cpu"))


def test_a_model_that_can_have_everything(tmp_path):
    assert row(save_folder(tmp_path / "model", "llama")) == dict.fromkeys([*ASKED, MAPPINGS])


@pytest.mark.parametrize(
    ("kind", "usable"),
    [
        ("falcon", {"Min-K%", "answers", "hidden states"}),
        ("qwen3_next", set(ASKED)),
        ("mamba", {"Min-K%", "answers", "hidden states"}),
        ("bert", set()),
    ],
)
def test_what_is_refused_is_refused_with_a_sentence(kind, usable, tmp_path):
    any_family.build(kind).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    found = row(tmp_path)
    assert {what for what in ASKED if found[what] is None} == usable
    assert all(len(said) > 40 and "\n" not in said for said in found.values() if said is not None)


def test_every_job_that_runs_a_model_is_asked():
    jobs = {
        f"{path.parent.parent.name}.jobs.{path.stem}": path.read_text()
        for path in (ROOT / "scripts").glob("atlas/analyses/*/jobs/*.py")
    }
    needs = {name: text.split("NEEDS = ")[1].split("\n")[0] for name, text in jobs.items() if "NEEDS = " in text}
    assert set(ASKED.values()) <= set(needs)
    assert {needs[name] for name in ASKED.values()} == set(needs.values())


@pytest.mark.slow
def test_the_script_prints_the_row_and_names_a_folder_that_is_none(tmp_path):
    def script(folder):
        command = [warm_python.python(), str(ROOT / "scripts" / "check_model.py"), str(folder), "--device", "cpu"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    found = script(save_folder(tmp_path / "model", "gpt2"))
    assert found.returncode == 0
    assert [line.split("  ")[0] for line in found.stdout.splitlines()] == [*ASKED, MAPPINGS]
    missing = script(tmp_path / "nowhere")
    assert missing.returncode == 1
    assert "does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr
