"""Writing: a file is replaced in one step, and a full disk or a missing permission is one sentence."""

import errno
import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.errors import AtlasError

_NUMBER = re.compile(r"os error (\d+)")


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turns a full disk or a missing permission while writing `target` into one sentence."""
    try:
        yield
    except AtlasError:
        raise
    except Exception as error:
        match _number_of(error):
            case errno.ENOSPC | errno.EDQUOT:
                told = f"the disk is full while writing {target}: free some space and run again."
            case errno.EFBIG:
                told = f"{target} is larger than a file may be here: raise `ulimit -f`, or use another file system."
            case errno.EACCES | errno.EPERM | errno.EROFS as number:
                told = f"{target} cannot be written ({os.strerror(number)}): check the permissions."
            case _:
                raise
        raise AtlasError(told) from error


def _number_of(error: Exception) -> int | None:
    """The number of the system's error; exceptions of safetensors and tokenizers have it in their text."""
    if isinstance(error, OSError):
        return error.errno
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else None


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success it replaces `path` at once, on failure nothing is left.

    What a job that was killed left behind is removed first. Raises AtlasError where the disk is full or may not be
    written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
                leftover.unlink(missing_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
