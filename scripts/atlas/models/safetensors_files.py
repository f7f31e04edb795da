"""Safetensors files as bytes: their headers, and rewriting them tensor by tensor in the memory of one tensor.

Format: 8 bytes little-endian length of the header, the header as JSON (name -> dtype, shape, data_offsets relative to
the end of the header), then the tensors' bytes.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas import json_text
from atlas.errors import AtlasError, reason

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
DTYPE_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Types of less than a byte, which nothing here reads but whose place is checked.
_SMALL_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_MAX_HEADER = 100 << 20  # the format's own bound


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: begin and end are positions in the file, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def is_float(self) -> bool:
        """Whether its entries are floating-point numbers."""
        return self.dtype in FLOATS

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape, dtype=np.int64))


def read_header(path: Path) -> list[Tensor]:
    """The tensors of a safetensors file in the order of their bytes.

    Raises AtlasError, naming the file: not safetensors, a git-lfs pointer, cut off, or with bytes that belong to none.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8)
        if head == b"version ":
            raise AtlasError(f"{path} is a git-lfs pointer, not the weights: run `git lfs pull` in its folder.")
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise AtlasError(
                f"{path} is not a safetensors file, or is cut off in its header: bring the model in again."
            )
        try:
            header = json_text.load(stream.read(length))
            tensors = [_tensor(name, entry, 8 + length) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AtlasError(
                f"{path} has an unreadable safetensors header ({reason(error)}): bring the model in again."
            ) from error
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    end = max((tensor.end for tensor in tensors), default=8 + length)
    if size != end:
        raise AtlasError(
            f"{path} is {'cut off' if size < end else 'too long'}: it has {size} bytes where its header says {end}; "
            "bring the model in again."
        )
    for before, tensor in zip([8 + length, *(tensor.end for tensor in tensors)], tensors, strict=False):
        if tensor.begin != before:
            raise AtlasError(
                f"{path}: tensor {tensor.name!r} begins at byte {tensor.begin}, but what stands before it ends at "
                f"{before}: bring the model in again."
            )
    return tensors


def _tensor(name: str, entry: dict[str, Any], start: int) -> Tensor:
    """A tensor as the header has it; start: where the tensors' bytes begin. Raises ValueError for what cannot be."""
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)) or not isinstance(dtype, str):
        raise ValueError(f"tensor {name!r} has sizes or places that are no whole numbers")
    bits = 8 * ITEM_BYTES[dtype] if dtype in ITEM_BYTES else _SMALL_BITS.get(dtype)
    if bits is not None and math.prod(shape) * bits != 8 * (end - begin):
        raise ValueError(f"tensor {name!r} of type {dtype} and shape {shape} does not fill {end - begin} bytes")
    return Tensor(name, dtype, tuple(shape), start + begin, start + end)


def read_bytes(path: Path, tensor: Tensor) -> np.ndarray:
    """A tensor's entries as unsigned integers of its item size, flat; writable, dtype-agnostic."""
    if tensor.dtype not in ITEM_BYTES:
        raise AtlasError(f"{path}: tensor {tensor.name} has type {tensor.dtype}, which controls cannot be made from.")
    with path.open("rb") as stream:
        stream.seek(tensor.begin)
        return np.fromfile(stream, dtype=f"<u{ITEM_BYTES[tensor.dtype]}", count=tensor.size)


def rewrite(
    source: Path,
    target: Path,
    entries: Callable[[Tensor], np.ndarray | None],
    progress: Callable[[Tensor], object] | None = None,
) -> None:
    """Writes `target` with the header of `source` and new entries, one tensor in memory at a time.

    entries: gives a tensor's new entries (any array with as many bytes), or None to keep the old ones.
    progress: called with each tensor after it was written.
    Raises ValueError for entries that do not fill a tensor's place, and what `read_header` raises.
    """
    tensors = read_header(source)
    with source.open("rb") as stream, target.open("wb") as out:
        first = tensors[0].begin if tensors else source.stat().st_size
        out.write(stream.read(first))
        for tensor in tensors:
            new = entries(tensor)
            new = read_bytes(source, tensor) if new is None else np.ascontiguousarray(new)
            if new.nbytes != tensor.end - tensor.begin:
                raise ValueError(f"{tensor.name}: {new.nbytes} bytes for a place of {tensor.end - tensor.begin}")
            out.seek(tensor.begin)
            out.write(new.reshape(-1).view(np.uint8).data)  # ndarray.tofile has no word for a full disk
            if progress:
                progress(tensor)
