"""What is told of a job that failed: its sentence, log and what was not made; Snakemake's words where it has none."""

import pytest

from atlas.planning.failures import Failures, sentence_in

HEAD = "2026-11-27 00:15:44,035 INFO prepare_dataset {'dataset': 'p'}\n"
SENTENCE = HEAD + "2026-11-27 00:15:44,050 ERROR p.txt has no rows: check it.\n"
CRASH = HEAD + "2026-11-27 00:15:44,050 ERROR unexpected error\nTraceback (most recent call last):\nKeyError: 1\n"


@pytest.fixture
def log(tmp_path):
    def write(text):
        (tmp_path / "job.log").write_text(text)
        return str(tmp_path / "job.log")

    return write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SENTENCE, "p.txt has no rows: check it."),
        (SENTENCE.replace("check it.", "check:\n  - a\n  - b"), "p.txt has no rows: check:\n  - a\n  - b"),
        (SENTENCE.replace("has no rows", "has an ERROR code"), "p.txt has an ERROR code: check it."),
        (CRASH, None),
        (HEAD, None),
        ("", None),
    ],
)
def test_the_sentence_of_a_job_stands_in_its_log(log, text, said):
    assert sentence_in([log(text)]) == said
    assert sentence_in(["/nowhere/job.log"]) is None


def test_a_failed_job_is_told_by_its_log_and_what_was_not_made(log):
    failures, path = Failures(), log(SENTENCE)
    place = f"    log: {path}\n    not made: a.parquet, b.parquet"
    assert failures.fails(3, "prepare_dataset", [path], ["a.parquet", "b.parquet"], here=True) == place
    elsewhere = failures.fails(3, "prepare_dataset", [path], ["a.parquet", "b.parquet"], here=False)
    assert elsewhere == f"Error in prepare_dataset: p.txt has no rows: check it.\n{place}"
    waiting = [("extract_sinks", {"model": "m"}), ("plot_sinks", {"figure": "mine"}), ("figures/all", {})]
    end = failures.end(waiting)
    assert end.startswith("Not everything was made: 1 job has failed (prepare_dataset), and 2 others were not run.\n")
    assert "\n    figures not made: mine\n" in end
    assert failures.told


def test_a_job_without_a_sentence_is_left_to_snakemake(log):
    failures = Failures()
    assert failures.fails(1, "extract_sinks", [log(CRASH)], ["a"], here=True) is None
    assert not failures.told


def test_a_job_that_succeeds_when_it_is_tried_again_did_not_fail(log):
    failures = Failures()
    failures.fails(1, "download_model", [log(SENTENCE)], ["a"], here=True)
    failures.finishes(1)
    assert failures.end([]) is None
