"""Writing: a file is replaced in one step, and a full disk or a missing permission is one sentence."""

import errno
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.errors import AtlasError


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turns a full disk or a missing permission while writing `target` into one sentence."""
    try:
        yield
    except AtlasError:
        raise
    except Exception as error:
        # safetensors has an exception of its own, which carries the number of the system's error in its text
        if not isinstance(error, OSError):
            if "os error 28" in str(error):
                raise AtlasError(f"the disk is full while writing {target}: free some space and run again.") from error
            raise
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise AtlasError(f"the disk is full while writing {target}: free some space and run again.") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise AtlasError(f"{target} cannot be written ({error.strerror}): check the permissions.") from error
        raise


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
