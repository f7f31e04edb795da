"""The text of a file, whatever its encoding, also of a gzipped one."""

import gzip
import zlib
from pathlib import Path

from atlas.errors import AtlasError


def read_text(file: Path, encoding: str = "utf-8") -> str:
    """The file's text, without a byte-order mark. Raises AtlasError naming line and byte of a wrong encoding."""
    data = file.read_bytes()
    if file.name.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise AtlasError(f"{file} is not a complete gzip file: bring it in again.") from error
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AtlasError(
            f"{file.name} line {line} is not {encoding}: byte {error.start} is 0x{data[error.start]:02x}; set "
            "`encoding` to the file's own (latin-1 and cp1252 are common)."
        ) from error
    except UnicodeError as error:
        raise AtlasError(f"{file.name} is not {encoding} ({error}); set `encoding` to the file's own.") from error
