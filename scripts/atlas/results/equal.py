"""What runs of several names (`run: {name: ...}`) need not do twice: a job of another with the same key has done it.

The key is that of jobs which are done ahead (ahead.py): rule, wildcards, options, our code, the content of all inputs,
versions and GPUs, without the name of the run. Each extraction leaves a note under its key which says where its result
is and with what seal; a result that was changed or replaced since is not taken.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.disk import replacing
from atlas.errors import AtlasError
from atlas.results import ahead
from atlas.results.files import check_seal, seal_of

if TYPE_CHECKING:
    from snakemake.script import Snakemake

_LOG = logging.getLogger("atlas")
NOTES = Path("results/equal")  # of the working directory, for all runs; it may be deleted at any time


class Equal:
    """A job with one output, as other runs may have done it.

    equal = Equal(snakemake)
    if not equal.take():
        ...  # make the result
        equal.note()
    """

    def __init__(self, snakemake: Snakemake) -> None:
        self._job: ahead.Planned | None = None
        if len(snakemake.output) == 1:
            with contextlib.suppress(TypeError):  # a param that no other run could have in the same way
                self._job = ahead.planned(snakemake)
        self._key = self._job.key() if self._job else None

    def take(self) -> bool:
        """Whether another run's result was copied to its place here."""
        if self._job is None or self._key is None:
            return False
        output = Path(self._job.output)
        try:
            note = json.loads((NOTES / f"{self._key}.json").read_text(encoding="utf-8"))
            found, seal = Path(note["output"]), note["seal"]
            if found == output or seal_of(found) != seal:
                return False
            output.parent.mkdir(parents=True, exist_ok=True)
            with replacing(output) as temporary:
                shutil.copyfile(found, temporary)
                check_seal(temporary)
        except (OSError, ValueError, KeyError, TypeError):  # no note, a torn one, or no such result any more
            return False
        except AtlasError as error:
            _LOG.warning("%s; it is not taken over", error)
            return False
        _LOG.info("taken over from %s, which was made of the same inputs, options and code", found)
        return True

    def note(self) -> None:
        """Say where the finished result is; not where an input or our code was changed meanwhile."""
        if self._job is None or self._key is None or self._job.key() != self._key:
            return
        told = {"output": self._job.output, "seal": seal_of(Path(self._job.output))}
        NOTES.mkdir(parents=True, exist_ok=True)
        with replacing(NOTES / f"{self._key}.json") as temporary:
            temporary.write_text(json.dumps(told), encoding="utf-8")
