"""Files stamped in the future: after a wrong clock, they would look newer than all that is made from them, for ever."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

# Clocks of a machine and of its file server differ by seconds.
TOLERATED = 60
_SAID = 5


def future_stamps(paths: Iterable[Path | str], now: float) -> dict[str, float]:
    """{path: time} of all files and folders at or below `paths` that were changed more than a minute after `now`.

    Hidden files count: Snakemake keeps the time of a folder in one. Of a symlink it is the link's own time and, for a
    folder, those of what it leads to. Paths that are not there are passed over.
    """
    latest = now + TOLERATED
    return {path: when for path, when in _times(paths) if when > latest}


def cure(results: Iterable[Path | str], sources: Iterable[Path | str], now: float, dry_run: bool = False) -> None:
    """Says on stderr which files are stamped in the future, and stamps results anew with `now`.

    What was made from a result is then made again once at most. The user's own `sources` are named and left alone:
    for them content decides. On a dry run nothing is changed.
    """
    ahead = {path: when for path, when in future_stamps(results, now).items() if not _shared(path)}
    done = "the run will stamp it with the present time" if dry_run else "it is stamped with the present time"
    _say(ahead, f"{done}, and what is made from it is made again at most once.")
    if not dry_run:
        for path in ahead:
            with contextlib.suppress(OSError):  # not ours to change: it has been named
                os.utime(path, (now, now), follow_symlinks=False)
    _say(future_stamps(sources, now), "nothing follows from that: of your own files the content decides.")


def _shared(path: str) -> bool:
    """Whether a file is a hard link, as the weights of a model are to the user's own; nothing looks at its time."""
    return os.path.lexists(path) and not os.path.isdir(path) and os.lstat(path).st_nlink > 1


def _times(paths: Iterable[Path | str]) -> Iterator[tuple[str, float]]:
    entered: set[tuple[int, int]] = set()
    todo = [str(path) for path in paths]
    for path in todo:
        with contextlib.suppress(OSError):
            yield path, os.lstat(path).st_mtime
    while todo:
        folder = todo.pop()
        try:
            facts = os.stat(folder)
            if (facts.st_dev, facts.st_ino) in entered:
                continue
            entered.add((facts.st_dev, facts.st_ino))
            scan = os.scandir(folder)
        except OSError:  # a file, or gone, or not ours to read
            continue
        with scan:
            for entry in scan:
                with contextlib.suppress(OSError):
                    yield entry.path, entry.stat(follow_symlinks=False).st_mtime
                    if entry.is_dir():
                        todo.append(entry.path)


def _say(ahead: dict[str, float], consequence: str) -> None:
    for path in sorted(ahead)[:_SAID]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(ahead[path]))
        print(f"{path} is stamped in the future ({when}): {consequence}", file=sys.stderr)
    if len(ahead) > _SAID:
        print(f"{len(ahead) - _SAID} more files are stamped in the future: {consequence}", file=sys.stderr)
