"""Chosen attention heads ablated in the weights: an ordinary model folder that any reader of such folders can run.

What the attention engine does while a model runs (attention/edits.py), written into its matrices: `scaling` multiplies
the columns of the output projection that read a head, `undifferentiated` sets the head's queries to zero, so that all
scores of the head are equal (Zhou et al., ICLR 2025, arXiv 2410.13708). Where a family's parts make either impossible
it is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from atlas.disk import disk_errors
from atlas.errors import AtlasError
from atlas.fetch.files import beside_weights, link_or_copy
from atlas.models.architectures import Shape, auto_config, read_config, read_shape
from atlas.models.checkpoint import Place, quantisation, read_checkpoint
from atlas.models.families import family_of
from atlas.models.family_record import Family
from atlas.models.head_names import no_head
from atlas.models.query_layouts import query_projection, query_rows, what_forbids_zero
from atlas.models.safetensors_files import DTYPE_NAMES, Tensor, rewrite
from atlas.models.stored_tensors import mapped

ABLATIONS = ("scaling", "undifferentiated")
Heads = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Cut:
    """Entries of one stored tensor that are multiplied: those at `rows` of the axis `axis`."""

    axis: int
    rows: slice
    factor: float


def ablate(base: Path, folder: Path, heads: Heads, ablation: str, epsilon: float = 0.0) -> str:
    """Fills `folder` with the model of `base` (Hugging Face layout) in which `heads` are ablated.

    heads: (layer, head) of query heads, from 0 on. epsilon: what `scaling` multiplies a head's output by; 0 takes it
    out. Products are made in float32 and rounded to the stored dtype. Names, shapes, dtypes and all other files are
    those of the base; weight files without an ablated head are linked where that is possible. Memory: one tensor.
    Returns a note for the provenance. Raises AtlasError: unknown ablation or head; a family, or parts of it, with which
    the weights cannot say this; quantised weights.
    """
    if ablation not in ABLATIONS:
        raise AtlasError(f"ablation {ablation!r} cannot be written into weights: use {' or '.join(ABLATIONS)}.")
    if not heads or not 0 <= epsilon < float("inf"):
        raise AtlasError("surgery needs one head or more, and a finite epsilon from 0 on.")
    content = read_config(base)
    if quantisation(content) is not None:
        raise AtlasError(f"{base} is a quantised checkpoint: ablate the heads of its unquantised weights.")
    whole = auto_config(base)
    config = whole.get_text_config()
    family = family_of(config.model_type, purpose="surgery")
    family = family if config is whole else family.in_wrapper()
    model = _Stored(base, config, family, read_shape(config), read_checkpoint(base, content, family))
    cuts: dict[str, list[Cut]] = {}
    for layer, head in dict.fromkeys(heads):
        model.check(layer, head)
        found = model.scaled(layer, head, epsilon) if ablation == "scaling" else model.unread(layer, head)
        for role, cut in found:
            cuts.setdefault(role, []).append(cut)
    _write(base, folder, {model.files[role]: these for role, these in cuts.items()})
    told = ", ".join(f"({layer}, {head})" for layer, head in dict.fromkeys(heads))
    how = f"output times {epsilon:g}" if ablation == "scaling" else "queries set to zero"
    return f"ablated ({ablation}, {how}): heads (layer, head) {told}"


@dataclass(frozen=True)
class _Stored:
    """A checkpoint whose heads are looked for. files: role -> place of every tensor."""

    base: Path
    config: Any
    family: Family
    shape: Shape
    files: Mapping[str, Place]

    def check(self, layer: int, head: int) -> None:
        """AtlasError unless there is this head."""
        shape = self.shape
        if lacks := no_head(layer, head, shape.layers, shape.heads):
            raise AtlasError(f"Model {self.base} {lacks}.")
        if self._prefix(layer) + self.family.value + ".weight" not in self.files:
            raise AtlasError(f"Model {self.base}: layer {layer} has no attention, so it has no head [{layer}, {head}].")

    def scaled(self, layer: int, head: int, epsilon: float) -> list[tuple[str, Cut]]:
        """The part of the output projection that reads the head; its bias belongs to no head."""
        family, width = self.family, self.shape.value_width
        if family.inner_norm:
            raise AtlasError(
                f"Model {self.base}: the heads' outputs pass a norm over all of them before the output projection "
                f"({family.inner_norm}), so no weights scale a single head."
            )
        role = self._prefix(layer) + family.output + ".weight"
        axis = 0 if family.transposed else 1
        self._sized(role, axis, self.shape.heads * width)
        return [(role, Cut(axis, slice(head * width, (head + 1) * width), epsilon))]

    def unread(self, layer: int, head: int) -> list[tuple[str, Cut]]:
        """The rows of the head's queries, and their bias."""
        prefix, layout = self._prefix(layer), self.family.value_layout
        name = query_projection(self.family, {role.removeprefix(prefix) for role in self._within(prefix)})
        if reason := what_forbids_zero(self.family, self.shape, name, self._shapes(prefix)):
            raise AtlasError(
                f"Model {self.base}: {reason}, so zero queries are no uniform attention here; use scaling, or the "
                "analyses that ablate while the model runs."
            )
        nope, rope = (getattr(self.config, f"qk_{part}_head_dim", 0) for part in ("nope", "rope"))
        rows, total = query_rows(layout, self.shape, head, nope + rope)
        axis = 1 if layout == "conv1d" else 0
        role = prefix + name
        self._sized(role + ".weight", axis, total)
        cuts = [(role + ".weight", Cut(axis, rows, 0.0))]
        if role + ".bias" in self.files:
            self._sized(role + ".bias", 0, total)
            cuts.append((role + ".bias", Cut(0, rows, 0.0)))
        return cuts

    def _sized(self, role: str, axis: int, size: int) -> None:
        if role not in self.files:
            raise AtlasError(f"Model {self.base} lacks the tensor {self.family.prefixes[0] + role!r}; get it again.")
        tensor = self.files[role][1]
        if axis >= len(tensor.shape) or tensor.shape[axis] != size:
            raise AtlasError(
                f"Model {self.base}: tensor {tensor.name!r} has the shape {' x '.join(map(str, tensor.shape))}, where "
                f"all heads together are {size}: something else is stored with them, and surgery does not know it."
            )

    def _prefix(self, layer: int) -> str:
        return self.family.layer.format(layer=layer)

    def _within(self, prefix: str) -> Iterable[str]:
        return (role for role in self.files if role.startswith(prefix))

    def _shapes(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Name behind the layer's prefix -> shape."""
        return {role.removeprefix(prefix): self.files[role][1].shape for role in self._within(prefix)}


def _write(base: Path, folder: Path, cuts: Mapping[Place, list[Cut]]) -> None:
    changed = {path for path, _ in cuts}
    weights = sorted(base.glob("*.safetensors"))
    for path in tqdm(weights, desc="surgery", unit="file", mininterval=1):
        with disk_errors(folder / path.name):
            if path in changed:
                rewrite(path, folder / path.name, _entries(path, cuts))
            else:
                link_or_copy(path, folder / path.name)
    for path in beside_weights(base):
        with disk_errors(folder / path.name):
            (folder / path.name).write_bytes(path.read_bytes())


def _entries(path: Path, cuts: Mapping[Place, list[Cut]]) -> Callable[[Tensor], np.ndarray | None]:
    """Tensor -> its entries after the cuts, or None where there are none."""

    def entries(tensor: Tensor) -> np.ndarray | None:
        these = cuts.get((path, tensor))
        if these is None:
            return None
        if tensor.dtype not in DTYPE_NAMES:
            raise AtlasError(f"{path}: tensor {tensor.name} is {tensor.dtype}; ablate heads of an unquantised model.")
        values = mapped(path, tensor).clone()
        for cut in these:
            part = values.narrow(cut.axis, cut.rows.start, cut.rows.stop - cut.rows.start)
            # not times 0: what is not finite would stay, and zeros would keep signs
            part.copy_(part.float() * cut.factor if cut.factor else torch.zeros_like(part))
        return values.contiguous().view(torch.uint8).numpy()

    return entries


def heads_of(options: Mapping[str, Any], ranks: Path | None) -> list[tuple[int, int]]:
    """The heads of a source `ablated`: those that it lists, or the strongest of a ranking by Ships.

    options: `heads`, `ablation`. ranks: the file of `rank_safety_heads`, for {top, dataset, rank}. Raises AtlasError.
    """
    heads = options["heads"]
    if not isinstance(heads, Mapping):
        return [(int(layer), int(head)) for layer, head in heads]
    from atlas.results.files import read_frame

    if ranks is None:
        raise AtlasError(f"the strongest heads of {options['of']} need the ranking of its safety_heads.")
    frame = read_frame(ranks)
    frame = frame[frame["ablation"] == options["ablation"]]
    rank = heads["rank"] if heads.get("rank") is not None else frame["rank"].iloc[0]
    order = frame[frame["rank"] == rank].sort_values("position")
    if heads["top"] > len(order):
        raise AtlasError(f"heads.top asks for {heads['top']} heads, but {options['of']} has {len(order)}.")
    chosen = order.head(heads["top"])
    return list(zip(chosen["layer"].tolist(), chosen["head"].tolist(), strict=True))
