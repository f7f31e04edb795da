"""Files of results: provenance inside the file, replaced atomically, byte-identical when written again.

Frames are parquet (zstd), arrays are safetensors. Provenance is a JSON document under the metadata key `atlas`: where
the numbers come from and under which options. Nothing here imports torch, and nothing here knows which tables there
are (that is tables.py), so that a new column in a table re-runs no model.
"""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import AtlasError

_KEY = "atlas"


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary sibling of `path`; on success it replaces `path` at once, on failure nothing is left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(provenance):
    return json.dumps(provenance, sort_keys=True, ensure_ascii=False)


def write_frame(path, frame, provenance):
    """Write any `frame` as parquet with `provenance` in its metadata."""
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    arrow = arrow.replace_schema_metadata(
        {**(arrow.schema.metadata or {}), _KEY.encode(): _encode(provenance).encode()}
    )
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_frame(path):
    """The frame at `path`. Raises AtlasError for a file that is not parquet or is cut off."""
    try:
        return pq.read_table(path).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise AtlasError(f"{path}: not a readable parquet file ({error}); delete it and run again.") from error


def read_provenance(path):
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
    return json.loads(text)


def write_arrays(path, arrays, provenance):
    """Write {name: numpy array} as safetensors with `provenance` in its metadata."""
    from safetensors.numpy import save_file

    # np.ascontiguousarray would turn a scalar into an array of one
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={_KEY: _encode(provenance)})


def read_arrays(path):
    """({name: numpy array}, provenance) of a file written by write_arrays."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path), read_provenance(path)
    except (SafetensorError, OSError) as error:
        raise AtlasError(f"{path}: not a readable safetensors file ({error}); delete it and run again.") from error
