"""Files of results: provenance inside the file, replaced atomically, byte-identical when written again.

Frames are parquet (zstd), arrays are safetensors. Provenance is a JSON document under the metadata key `atlas`: where
the numbers come from and under which options. Nothing here imports torch, and nothing here knows which tables there
are (that is tables.py), so that a new column in a table re-runs no model.

Each file is sealed: its provenance holds the sha256 of the file itself, taken with 64 zeros in that place, so that one
hash covers every byte and there is no second file to keep beside it. Reading checks it (a GB takes about a second).
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.checksums import CHUNK
from atlas.disk import replacing
from atlas.errors import AtlasError

if TYPE_CHECKING:
    import pandas as pd

Provenance = dict[str, Any]  # a JSON object

_KEY = "atlas"
_SEAL = "file_sha256"
_BLANK = "0" * 64


def _encode(provenance: Provenance) -> str:
    return json.dumps({**provenance, _SEAL: _BLANK}, sort_keys=True, ensure_ascii=False)


def _seal_position(path: Path) -> int:
    """Where the 64 digits of the seal stand: in the header of safetensors, in the footer of parquet."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head.startswith(b"PAR1"):
            file.seek(max(size - 8, 0))
            length, magic = struct.unpack("<I4s", file.read(8).ljust(8, b"\0"))
            begin = size - 8 - length
            if magic != b"PAR1" or begin < 0:
                raise ValueError("it is cut off")
        else:
            (length,), begin = struct.unpack("<Q", head.ljust(8, b"\xff")), 8
            if begin + length > size:
                raise ValueError("it is cut off, or neither parquet nor safetensors")
        file.seek(begin)
        # Quotes are escaped where JSON stands inside JSON.
        found = re.search(rb'file_sha256\\?": \\?"([0-9a-f]{64})', file.read(length))
    if found is None:
        raise ValueError("it carries no checksum of ours")
    return begin + found.start(1)


def _digest(path: Path, seal: int) -> str:
    """Hex sha256 of a file with zeros in the place of its seal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(min(CHUNK, seal - file.tell())):
            digest.update(chunk)
        digest.update(_BLANK.encode())
        file.seek(seal + len(_BLANK))
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _seal(path: Path) -> None:
    """Write the sha256 of the finished file at `path` into it."""
    seal = _seal_position(path)
    digest = _digest(path, seal)
    with path.open("r+b") as file:
        file.seek(seal)
        file.write(digest.encode())


def seal_of(path: Path) -> str:
    """The sha256 that a file was sealed with. Raises ValueError where it has none, OSError where it is not there."""
    seal = _seal_position(path)
    with path.open("rb") as file:
        file.seek(seal)
        return file.read(len(_BLANK)).decode()


def check_seal(path: str | Path) -> None:
    """Raises AtlasError, naming the file, unless its bytes are those that were written."""
    path = Path(path)
    try:
        written, found = seal_of(path), _digest(path, _seal_position(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise AtlasError(f"{path} is not readable ({error}); delete it and run again.") from error
    if found != written:
        raise AtlasError(
            f"{path} is damaged: its sha256 is {found}, not the {written} it was written with; delete it and run again."
        )


def write_frame(path: str | Path, frame: pd.DataFrame, provenance: Provenance) -> None:
    """Write any `frame` as parquet with `provenance` in its metadata."""
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    arrow = arrow.replace_schema_metadata(
        {**(arrow.schema.metadata or {}), _KEY.encode(): _encode(provenance).encode()}
    )
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")
        _seal(temporary)


def read_frame(path: str | Path) -> pd.DataFrame:
    """The frame at `path`. Raises AtlasError for a file that is not parquet, is cut off, or was changed."""
    check_seal(path)
    try:
        return pq.read_table(path).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise AtlasError(f"{path}: not a readable parquet file ({error}); delete it and run again.") from error


def read_provenance(path: str | Path) -> Provenance:
    """The provenance document of a parquet or safetensors file."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="numpy") as handle:
                text = (handle.metadata() or {})[_KEY]
        else:
            text = pq.read_schema(path).metadata[_KEY.encode()].decode()
    except Exception as error:
        raise AtlasError(f"{path}: it carries no provenance of ours ({error}); delete it and run again.") from error
    document = json.loads(text)
    document.pop(_SEAL, None)
    return document


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], provenance: Provenance) -> None:
    """Write {name: numpy array} as safetensors with `provenance` in its metadata."""
    from safetensors.numpy import save_file

    # np.ascontiguousarray would turn a scalar into an array of one
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={_KEY: _encode(provenance)})
        _seal(temporary)


def read_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], Provenance]:
    """({name: numpy array}, provenance) of a file written by write_arrays."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    check_seal(path)
    try:
        return load_file(path), read_provenance(path)
    except (SafetensorError, OSError) as error:
        raise AtlasError(f"{path}: not a readable safetensors file ({error}); delete it and run again.") from error
