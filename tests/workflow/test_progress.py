"""`--logger progress`, which `make figures` uses: a line for each finished job, and errors in full."""

import re

from chart import FIGURE


def shown(project):
    """The process of a run that draws the chart, with the logger."""
    running = project.start(FIGURE, "--logger", "progress", environment={"PYTHONPATH": "scripts"})
    running.wait(600)
    return running.returncode, project.said()


def test_a_line_for_each_job_and_what_went_wrong_in_full(chart):
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
    assert re.search(r"Error in rule (download|prepare)_dataset:", said)
    assert "passages.txt has no rows" in said
    assert "Traceback" not in said
