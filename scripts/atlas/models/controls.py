"""Control models: the architecture of a trained model without what it learned.

After Adebayo et al. 2018, "Sanity Checks for Saliency Maps": what a figure shows on a trained model means something
only beside the same figure on a model that has learned nothing. `shuffled` keeps each matrix's distribution of entries,
`reinitialised` is the state before training.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from atlas.disk import disk_errors
from atlas.errors import AtlasError
from atlas.fetch.files import beside_weights
from atlas.models.checkpoint import quantisation
from atlas.models.safetensors_files import Tensor, read_bytes, read_header, rewrite
from atlas.names import closest

KINDS = ("shuffled", "reinitialised")


def make_control(base: Path, folder: Path, kind: str, seed: int) -> str:
    """Fills `folder` with a control of the model in `base` (Hugging Face layout); everything but weights is copied.

    kind: 'shuffled': the entries of every floating-point tensor of two or more dimensions are permuted among
            themselves; tensors of fewer dimensions (norms, biases) stay as they are.
          'reinitialised': every tensor is drawn anew as the architecture initialises itself.
    seed: with the tensor's name it determines each tensor, so tensors do not depend on each other or on the files.
    Same names, shapes, dtypes and files as the base; tied embeddings stay tied. Memory: one tensor (`shuffled`) or one
    decoder layer (`reinitialised`). Returns a note for the provenance. Raises AtlasError.
    """
    if kind not in KINDS:
        raise AtlasError(f"control kind {kind!r} is unknown{closest(kind, KINDS)}: use {' or '.join(KINDS)}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise AtlasError(f"control seed {seed!r} is not a whole number from 0 on: correct `seed`.")
    weights = sorted(base.glob("*.safetensors"))
    if not weights or not (base / "config.json").is_file():
        raise AtlasError(
            f"{base} holds no model that a control could be made of (config.json and *.safetensors are needed)."
        )
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    if quantisation(config) is not None:
        raise AtlasError(f"{base} is a quantised checkpoint: make the control of its unquantised weights.")
    make = shuffler(weights, config, seed) if kind == "shuffled" else _reinitialiser(base, weights, config, seed)
    total = sum(path.stat().st_size for path in weights)
    with tqdm(desc=f"{kind} control", total=total, unit="B", unit_scale=True, mininterval=1) as bar:
        for path in weights:
            with disk_errors(folder / path.name):
                rewrite(
                    path,
                    folder / path.name,
                    partial(make, path),
                    progress=lambda tensor: bar.update(tensor.end - tensor.begin),
                )
    for path in beside_weights(base):
        shutil.copyfile(path, folder / path.name)
    if kind == "shuffled":
        return f"control: entries of every matrix permuted, seed {seed}"
    return f"control: drawn anew as the architecture initialises itself, seed {seed}"


def derived_seed(seed: int, name: str) -> list[int]:
    """Seed material for one tensor: the user's seed and the tensor's name, as words of 32 bits."""
    digest = hashlib.sha256(name.encode()).digest()
    return [seed, *np.frombuffer(digest, dtype="<u4").tolist()]


def shuffler(weights: list[Path], config: dict[str, Any], seed: int) -> Callable[[Path, Tensor], np.ndarray | None]:
    """(file, tensor) -> its entries in another order, or None where they stay."""
    twins = _stored_twice(weights, config)

    def shuffle(path: Path, tensor: Tensor) -> np.ndarray | None:
        if len(tensor.shape) < 2 or not tensor.is_float:
            return None
        entries = read_bytes(path, tensor)
        # in place and flat: no index array, which for large embeddings would outweigh the tensor itself
        np.random.default_rng(derived_seed(seed, twins.get(tensor.name, tensor.name))).shuffle(entries)
        return entries

    return shuffle


def _stored_twice(weights: list[Path], config: dict[str, Any]) -> dict[str, str]:
    """Vocabulary-sized tensors with equal entries: name -> name of the first of them.

    A tied embedding is normally stored once; checkpoints that store it twice must get the same permutation twice.
    """
    vocabulary = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    by_shape: dict[tuple[str, tuple[int, ...]], list[tuple[str, Path, Tensor]]] = {}
    for path in weights:
        for tensor in read_header(path):
            if len(tensor.shape) == 2 and vocabulary in tensor.shape:
                by_shape.setdefault((tensor.dtype, tensor.shape), []).append((tensor.name, path, tensor))
    first: dict[str, str] = {}
    twins: dict[str, str] = {}
    for group in by_shape.values():
        if len(group) < 2:
            continue
        for name, path, tensor in sorted(group, key=lambda member: member[0]):
            key = hashlib.sha256(read_bytes(path, tensor).data).hexdigest()
            twins[name] = first.setdefault(key, name)
    return twins


def _reinitialiser(
    base: Path, weights: list[Path], config: dict[str, Any], seed: int
) -> Callable[[Path, Tensor], np.ndarray | None]:
    from atlas.models.initialisation import FreshWeights

    fresh, twins = FreshWeights(base, seed), _stored_twice(weights, config)
    stored = [tensor.name for path in weights for tensor in read_header(path)]
    # An unembedding of its own is used whatever config.json says (checkpoint.vocabulary_roles); so it is in a control.
    if any(len({twins.get(name, name) for name in group}) > 1 for group in fresh.shared(stored)):
        fresh = FreshWeights(base, seed, tied=False)
    return lambda path, tensor: fresh.entries(tensor)
