"""Reading and writing results: columns checked, provenance inside the file, replaced atomically.

Tables are parquet (zstd), arrays are safetensors; both are byte-identical when written again from the same content.
Provenance is a JSON document under the metadata key `atlas`: where the numbers come from and under which options.
Nothing here imports torch.
"""

import contextlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.contracts import TABLES
from atlas.errors import AtlasError

_KEY = "atlas"
CSV_LIMIT = 10 * 2**20  # a csv is written beside a table whose csv stays below this many bytes


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


def package_versions(*names):
    """{name: version} of installed distributions; a missing one is None."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _encode(provenance):
    return json.dumps(provenance, sort_keys=True, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------------------- tables
def conform(frame, table, source="the result"):
    """`frame` with the columns and types of TABLES[table], in that order; extra or missing columns are an error."""
    schema = TABLES[table]
    missing, extra = set(schema) - set(frame.columns), set(frame.columns) - set(schema)
    if missing or extra:
        raise AtlasError(
            f"{source}: not a {table} table (missing columns: {sorted(missing)}, unknown: {sorted(extra)}); "
            "delete the file and run again."
        )
    return frame[list(schema)].astype(schema)


def write_table(path, frame, table, provenance):
    """Write `frame` as parquet under the contract TABLES[table], with `provenance` in its metadata."""
    frame = conform(frame, table, str(path)).reset_index(drop=True)
    write_frame(path, frame, provenance)


def write_frame(path, frame, provenance):
    """Write any `frame` as parquet with `provenance` in its metadata."""
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _KEY.encode(): _encode(provenance).encode()})
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_table(path, table=None):
    """The frame at `path`, checked against TABLES[table] where one is named."""
    try:
        frame = pq.read_table(path).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise AtlasError(f"{path}: not a readable parquet file ({error}); delete it and run again.") from error
    return conform(frame, table, str(path)) if table else frame


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


def write_csv(path, frame):
    """Write `frame` as csv; above CSV_LIMIT bytes write a one-line file that says so and names the parquet file."""
    path = Path(path)
    start = frame.head(2000).to_csv(index=False, lineterminator="\n")
    size = len(start) * max(len(frame), 1) / max(len(frame.head(2000)), 1)
    with replacing(path) as temporary:
        if size > CSV_LIMIT:
            temporary.write_text(
                f"not written: {len(frame)} rows would take about {size / 2**20:.0f} MiB; read {path.stem}.parquet\n"
            )
        else:
            frame.to_csv(temporary, index=False, lineterminator="\n")


def concatenate(paths, table):
    """The tables at `paths` under each other, and their provenance documents by path."""
    frames = [read_table(path, table) for path in paths]
    frame = pd.concat(frames, ignore_index=True)
    return conform(frame, table), {Path(path).as_posix(): read_provenance(path) for path in paths}


# ------------------------------------------------------------------------------------------------------------- arrays
def write_arrays(path, arrays, provenance):
    """Write {name: numpy array} as safetensors with `provenance` in its metadata."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
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


# ----------------------------------------------------------------------------------------------------------- checksums
def write_manifest(path, files):
    """Write the sha256 of `files` in the format of sha256sum."""
    import hashlib

    lines = [f"{hashlib.sha256(Path(file).read_bytes()).hexdigest()}  {Path(file).as_posix()}\n" for file in files]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines))
