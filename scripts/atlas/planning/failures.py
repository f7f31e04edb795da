"""What is told of jobs that fail, in place of Snakemake's block: their own sentence, their log, what was not made.

A job that ends without a sentence (killed, or by an error of ours) is told as Snakemake does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# A line of a job's log (scripts/job.py) that says why it ended.
_ERROR = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ERROR (.*)", re.MULTILINE | re.DOTALL)
_UNEXPECTED = "unexpected error"
_SHOWN = 12  # names of a list


def sentence_in(logs: Iterable[str]) -> str | None:
    """The sentence with which a job ended, of its logs; None where it ended in another way."""
    for log in logs:
        try:
            text = Path(log).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if (start := text.rfind(" ERROR ")) >= 0 and (found := _ERROR.search(text, text.rfind("\n", 0, start) + 1)):
            said = found[1].strip()
            return None if said.startswith(_UNEXPECTED) else said
    return None


@dataclass
class Failures:
    """Jobs that failed and did not succeed later."""

    _outputs: dict[int, tuple[str, list[str]]] = field(default_factory=dict)
    told: bool = True  # whether each of them had a sentence

    def fails(self, number: int, rule: str, logs: list[str], outputs: list[str], *, here: bool) -> str | None:
        """What is said of a failed job; None where Snakemake's own words are needed.

        here: the job ran on this machine, and has printed its sentence already.
        """
        self._outputs[number] = rule, outputs
        said = sentence_in(logs)
        if said is None:
            self.told = False
            return None
        lines = [] if here else [f"Error in {rule}: {said}"]
        return "\n".join([*lines, f"    log: {', '.join(logs)}", f"    not made: {_some(outputs)}"])

    def finishes(self, number: int) -> None:
        """A job has succeeded, perhaps after it had failed."""
        self._outputs.pop(number, None)

    def end(self, waiting: Iterable[tuple[str, Mapping[str, str]]]) -> str | None:
        """What was not made in all; None where nothing failed. waiting: rule and wildcards of jobs that never began."""
        if not self._outputs:
            return None
        rest = [(rule, wildcards) for rule, wildcards in waiting if not rule.startswith("figures/")]
        figures = [wildcards["figure"] for _, wildcards in rest if "figure" in wildcards]
        failed = ", ".join(dict.fromkeys(rule for rule, _ in self._outputs.values()))
        jobs = "1 job has" if len(self._outputs) == 1 else f"{len(self._outputs)} jobs have"
        lines = [f"Not everything was made: {jobs} failed ({failed}), and {len(rest)} others were not run."]
        if figures:
            lines.append(f"    figures not made: {_some(figures)}")
        lines.append("    What is finished stays: correct what is named above, and run the same command again.")
        return "\n".join(lines)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
