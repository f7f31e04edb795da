"""`--logger progress`, which `make figures` uses: a line for each finished job, and what went wrong."""

import re

from chart import FIGURE


def shown(project):
    """The process of a run that draws the chart, with the logger."""
    running = project.start(FIGURE, "--logger", "progress", environment={"PYTHONPATH": "scripts"})
    running.wait(600)
    return running.returncode, project.said()


def test_a_line_for_each_job_and_of_what_went_wrong_its_sentence(chart):
    """The chart is drawn again; then its data are broken."""
    for path in (chart.folder / "figures").glob("*"):
        chart.remove(path)
    status, said = shown(chart)
    assert status == 0, said
    lines = [line for line in said.splitlines() if line.startswith("[")]
    assert [re.sub(r"  .*", "", line) for line in lines] == ["[1/1] plot_sink_rates sink_rates"]
    assert "resources:" not in said
    *_, log = sorted((chart.folder / ".snakemake" / "log").glob("*.log"))
    assert "resources:" in log.read_text()

    chart.write("tiny/passages.txt", "")
    status, said = shown(chart)
    assert status != 0
    (sentence,) = re.findall(r"^Error in prepare_dataset: (.*)$", said, re.M)
    assert "passages.txt has no rows" in sentence
    _, said = said.split(sentence)
    first, *lines = said.strip("\n").splitlines()
    assert first == "    log: results/logs/prepare_dataset/passages.log"
    assert lines[0] == "    not made: results/datasets/passages.parquet"
    assert lines[1].startswith("Not everything was made: 1 job has failed (prepare_dataset), and ")
    assert "    figures not made: sink_rates" in lines
    for words in ("Traceback", "Error in rule", "RuleException", "WorkflowError", "====", "jobid", "Shutting down"):
        assert words not in said
