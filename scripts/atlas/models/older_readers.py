"""What transformers before 5, and tools that read its folders, look for in those that are written here.

config.json of transformers 5 has rotations in `rope_parameters`. An older reader does not know that name and takes its
defaults without a word: rope_theta 10,000, no scaling. So the old names stand beside the new one, with the same
numbers. transformers 5 reads both, and what it makes of them is compared with what it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Names of the rotation of all layers, and of those with a window.
_EVERY, _WINDOW = "full_attention", "sliding_attention"
# What an older reader calls the class that transformers 5 saves for a tokenizer without one of its own.
_NEW_CLASS, _OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"


def old_rotation(rotation: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of transformers before 5 that say the same as `rope_parameters`; {} of one that says nothing.

    rope_theta and partial_rotary_factor stand by themselves, the rest is `rope_scaling` where there is a scaling. Of
    rotations by type of layer (Gemma 3) that of layers with a window is rope_local_base_freq.
    """
    if isinstance(rotation.get(_EVERY), Mapping):
        return old_rotation(rotation[_EVERY]) | {"rope_local_base_freq": rotation[_WINDOW]["rope_theta"]}
    apart = ("rope_theta", "partial_rotary_factor")
    found = {key: rotation[key] for key in apart if key in rotation}
    if rotation.get("rope_type", "default") != "default":
        found["rope_scaling"] = {key: value for key, value in rotation.items() if key not in apart}
    return found


def write_old_keys(folder: Path, config: PreTrainedConfig) -> None:
    """Put the old keys of `config`, which was saved into `folder`, into its config.json.

    Raises AtlasError where transformers would then read another rotation than that of `config`.
    """
    rotation = getattr(config, "rope_parameters", None)
    if not rotation:
        return
    path = folder / "config.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    _write(path, old_rotation(stored["rope_parameters"]) | stored)
    read = type(config).from_pretrained(folder, local_files_only=True).rope_parameters
    if read != rotation:
        found = read or {}
        others = sorted(key for key in {**found, **rotation} if found.get(key) != rotation.get(key))
        raise AtlasError(
            f"{path}: with the keys of older transformers its rotation is read otherwise ({', '.join(others)}); use "
            "the model's safetensors through a hub or path source."
        )


def name_tokenizer_class(folder: Path) -> None:
    """Give tokenizer_config.json in `folder` a class that older readers know; transformers 5 takes it for the same."""
    path = folder / "tokenizer_config.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored.get("tokenizer_class") == _NEW_CLASS:
        _write(path, stored | {"tokenizer_class": _OLD_CLASS})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """As transformers writes it: sorted keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
