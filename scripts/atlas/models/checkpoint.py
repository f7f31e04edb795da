"""What a folder's weights are: which files, which tensor plays which role, what is tied.

Decided here once, as transformers decides it, for everything that reads weights: the download, the loader and
`WeightReader`. What the two could understand differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atlas import json_text
from atlas.errors import AtlasError
from atlas.models.families import FAMILIES
from atlas.models.family_record import Family
from atlas.models.safetensors_files import DTYPE_NAMES, Tensor, read_header

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Masks, positions and rotations that old checkpoints carry along: computed anew by every model, never learnt.
CONSTANTS = (
    "inv_freq", "masked_bias", ".attn.bias", ".attention.bias", "position_ids", "cos_cached", "sin_cached",
)  # fmt: skip
# Kinds of quantised weights that transformers turns into plain ones while it loads them.
DEQUANTISED = ("fp8", "mxfp4")
_INDICES = "I64"
_SHARD = re.compile(r".*-(\d+)-of-(\d+)\.safetensors")

Place = tuple[Path, Tensor]


def read_index(path: Path) -> dict[str, str]:
    """Tensor name -> file name, of the index of a sharded checkpoint. Raises AtlasError."""
    try:
        names = json_text.load(path.read_bytes())["weight_map"]
        if names and all(isinstance(text, str) for pair in names.items() for text in pair):
            return dict(names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise AtlasError(f"{path} is no index of a sharded checkpoint: bring the model in again.")


def choose_weights(names: Iterable[str], index: dict[str, str] | None, where: str) -> list[str]:
    """Which of a folder's files are its weights: model.safetensors, or exactly the shards that the index names.

    names: the folder's files. index: what `read_index` gives, None where there is none. where: how messages name it.
    Raises AtlasError: a shard is missing, or the index; a file that belongs to neither; two sets of weights.
    """
    found = sorted(name for name in names if name.endswith(".safetensors"))
    if index is not None:
        shards = sorted(set(index.values()))
        if missing := [name for name in shards if name not in found]:
            raise AtlasError(f"{where}/{INDEX} names {missing[0]}, which is missing: the model is incomplete.")
        if spare := [name for name in found if name not in shards]:
            raise AtlasError(
                f"{where} has {spare[0]}, which {INDEX} does not name: remove the file if it is another model's, or "
                "get the index that belongs to the weights."
            )
        return shards
    if found == [WEIGHTS]:
        return found
    if WEIGHTS in found:
        spare = [name for name in found if name != WEIGHTS]
        raise AtlasError(f"{where} has {spare[0]} beside {WEIGHTS}: keep only the file that the model is.")
    if found and (shard := _SHARD.fullmatch(found[0])):
        raise AtlasError(
            f"{where} has {len(found)} of {int(shard[2])} shards ({found[0]}) and no {INDEX}, which says what belongs "
            "together: add the index and all shards."
        )
    if found:
        raise AtlasError(f"{where} has its weights as {found[0]}: a model's only file is called {WEIGHTS}; rename it.")
    raise AtlasError(f"Model folder {where} holds no *.safetensors file; convert its weights first.")


def tensor_files(folder: Path) -> dict[str, Place]:
    """Stored name -> file and place of every tensor of the checkpoint in `folder`.

    Raises AtlasError: as `choose_weights`; files and index that do not agree about a tensor; a tensor stored twice.
    """
    path = folder / INDEX
    index = read_index(path) if path.is_file() else None
    files = choose_weights([entry.name for entry in folder.iterdir()], index, str(folder))
    places: dict[str, Place] = {}
    for name in files:
        for record in read_header(folder / name):
            if index is not None and index.get(record.name) != name:
                other = index.get(record.name)
                says = "does not name it" if other is None else f"says that it is in {other}"
                raise AtlasError(f"{folder / name} holds the tensor {record.name!r}, but {INDEX} {says}: get it again.")
            places[record.name] = (folder / name, record)
    if lost := sorted(set(index or ()) - set(places)):
        raise AtlasError(
            f"{path} says that {(index or {})[lost[0]]} holds the tensor {lost[0]!r}, which it does not "
            f"({len(lost)} such): bring the model in again."
        )
    return places


def read_checkpoint(folder: Path, config: dict[str, Any], family: Family | None = None) -> dict[str, Place]:
    """Role -> file and place of every tensor: its name without what may stand before the decoder's names.

    config: the content of config.json. family: its record, by default that of the table. Families outside the table
    keep the stored names. Raises AtlasError: as
    `tensor_files`; two tensors for one role; numbers that nothing here turns into weights (FP8 without a quantiser).
    """
    if other := config.get("transformers_weights"):
        raise AtlasError(f"{folder / 'config.json'} names {other} as the weights: remove `transformers_weights`.")
    places = tensor_files(folder)
    _check_numbers(folder, config, places.values())
    family = family or FAMILIES.get(str(config.get("model_type")))
    roles: dict[str, Place] = {}
    for name, place in places.items():
        role = _behind_a_dot(name, places) if family is None else role_of(name, family)
        if role in roles:
            raise AtlasError(
                f"Model {folder} holds both {roles[role][1].name!r} and {name!r}, two names of one tensor: remove one."
            )
        roles[role] = place
    return roles


def role_of(name: str, family: Family) -> str:
    """A stored name without the family's prefix; all names of the unembedding become the first."""
    prefix = next((p for p in sorted(family.prefixes, key=len, reverse=True) if p and name.startswith(p)), "")
    # The unembedding stands beside the decoder; transformers accepts it behind the name of the base model too.
    beside = name.removeprefix(family.prefixes[0].partition(".")[0] + ".")
    return family.unembedding[0] if beside in family.unembedding else name.removeprefix(prefix)


def vocabulary_roles(roles: Iterable[str], family: Family, tied: bool) -> tuple[str, str]:
    """(role of the input embedding, role of the unembedding), as the loaded model has them.

    A checkpoint's own unembedding is used wherever there is one, also where config.json calls the two tied:
    transformers ties only what is stored once, or equal. With only one of the two and `tied`, it serves as both. A role
    that nothing gives is returned all the same: whoever reads it names what is missing.
    """
    names = set(roles)
    embedding, unembedding = family.embedding, family.unembedding[0]
    if tied and unembedding not in names:
        return embedding, embedding
    if tied and embedding not in names:
        return unembedding, unembedding
    return embedding, unembedding


def _behind_a_dot(name: str, names: dict[str, Place]) -> str:
    """The part of a dotted name behind one of its dots that is itself a name, or the name."""
    parts = name.split(".")
    # A single word, such as `weight`, says nothing.
    return next((rest for at in range(1, len(parts) - 1) if (rest := ".".join(parts[at:])) in names), name)


def _check_numbers(folder: Path, config: dict[str, Any], places: Iterable[Place]) -> None:
    """Without a quantiser every weight is plain floating point: anything else would be cast without its scales.

    64 bits are no quantisation: such a tensor is a table of indices, as DeepSeek V4's of each token's experts.
    """
    if quantisation(config):
        return
    for path, record in places:
        if record.dtype not in (*DTYPE_NAMES, _INDICES) and not record.name.endswith(CONSTANTS):
            raise AtlasError(
                f"{path}: tensor {record.name!r} is quantised ({record.dtype}), but {folder / 'config.json'} names no "
                "quantisation that says how to read it: convert the weights to bfloat16 or float32 first."
            )


def quantisation(config: dict[str, Any]) -> dict[str, Any] | None:
    """What config.json says about quantised weights, at its top or in its text part; None where it says nothing."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            if part.get(key) is not None:
                return part[key] if isinstance(part[key], dict) else {"quant_method": str(part[key])}
    return None
