"""A GGUF file's metadata and tensors by the `gguf` package, and which of its keys were used.

A GGUF says how its model computes in metadata. What is read of it is taken by name, and what nobody took is refused: a
key that is dropped is a model that computes something else.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from gguf import ReaderTensor

# Namespaces that describe where a file comes from; nothing in them changes what the model computes.
_DESCRIPTIVE = re.compile(r"(GGUF|general|split|quantize\.imatrix|mradermacher)\..*")


class GgufFile:
    """Metadata and tensors of the file at `path`.

    tensors: name -> the package's record of it. architecture: what the file calls it, such as 'llama'.
    Raises AtlasError: not a GGUF file, cut off, one piece of several, without tensors, an adapter.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fields, self.tensors = _read(path)
        if (pieces := int(self._fields.get("split.count") or 1)) > 1:
            raise AtlasError(f"{path.name} is one of {pieces} pieces of a model: merge them with gguf-split first.")
        kind = str(self._fields.get("general.type") or "model")
        if kind == "adapter":
            raise AtlasError(
                f"{path.name} is a LoRA adapter, a change of a base model and no model itself: merge it with "
                "llama.cpp's `llama-export-lora` and give the merged file."
            )
        if kind != "model":
            raise AtlasError(f"{path.name} is a file of the type {kind!r}, not a language model: give the model's.")
        if not self.tensors:
            raise AtlasError(f"{path.name} holds no tensors: it is a vocabulary or an empty file, not a model.")
        self.architecture = str(self._fields.get("general.architecture") or "")
        self._taken: set[str] = set()

    def take(self, key: str, default: Any = None) -> Any:
        """The value of an architecture's key, such as 'rope.freq_base', which then counts as used."""
        return self.take_plain(f"{self.architecture}.{key}", default)

    def take_plain(self, key: str, default: Any = None) -> Any:
        """The value of a key by its whole name, which then counts as used."""
        self._taken.add(key)
        return self._fields.get(key, default)

    def take_all(self, start: str) -> None:
        """Counts every key that begins with `start` as used."""
        self._taken |= {key for key in self._fields if key.startswith(start)}

    def refuse(self, what: str) -> AtlasError:
        """The error for something in the file that cannot be carried over; `what` begins the sentence."""
        return AtlasError(
            f"{self.path.name}: {what}: use the model's safetensors through a hub or path source, which state it in "
            "the form that transformers reads."
        )

    def refuse_unused(self) -> None:
        """Raises AtlasError naming the first key that nothing took and that is more than a description."""
        unused = [key for key in self._fields if key not in self._taken and not _DESCRIPTIVE.fullmatch(key)]
        if unused:
            value = str(self._fields[unused[0]])[:40]
            raise self.refuse(
                f"the metadata key {unused[0]!r} ({value}) is not carried over ({len(unused)} such), and without it "
                "another model would be computed"
            )

    def quantisation(self) -> str:
        """The tensor type that holds most of the file's numbers, such as 'Q4_1' or 'F16'."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors.values():
            counts[tensor.tensor_type.name] += int(tensor.n_elements)
        return counts.most_common(1)[0][0]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, ReaderTensor]]:
    from gguf import GGUFReader

    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise AtlasError(f"{path.name} is not a GGUF file (it does not begin with 'GGUF'): check the source.")
    try:
        reader = GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items()}
        return fields, {tensor.name: tensor for tensor in reader.tensors}
    except (ValueError, IndexError, OSError, KeyError) as error:
        raise AtlasError(f"{path.name} is a damaged or cut-off GGUF file ({error}): download it again.") from error
