"""Where a head's queries are stored (beside value_layouts.py), and which parts keep zero queries from staying zero."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from atlas.errors import AtlasError
from atlas.models.value_layouts import PARTS

if TYPE_CHECKING:
    from atlas.models.architectures import Shape
    from atlas.models.family_record import Family

_FUSED = ("fused_rows", "grouped", "conv1d", "split")
# How families call a norm of the queries: q_norm, q_layernorm, query_layernorm, query_norm, qk_layernorm ...
_QUERY_NORM = re.compile(r"(^|\.)(q|qk|query)_(layer_?)?norm(\.|$)")


def query_projection(family: Family, names: Collection[str]) -> str:
    """The name of the module that makes queries, relative to the layer. names: those of the layer's tensors."""
    if family.value_layout in _FUSED:
        return family.value
    module, _, value = family.value.rpartition(".")
    if family.value_layout == "latent":  # through a latent of their own, or straight from the residual
        low = f"{module}.q_b_proj"
        return low if f"{low}.weight" in names else f"{module}.q_proj"
    return f"{module}.{'Wq' if value == 'Wv' else 'q_proj'}"


def query_rows(layout: str, shape: Shape, head: int, latent_width: int = 0) -> tuple[slice, int]:
    """(rows of the queries of `head`, rows of the whole tensor): along its outputs. latent_width: of a head's queries
    in the layout "latent". Raises AtlasError where a number of heads does not fit the layout."""
    heads, width = shape.heads, shape.head_width
    values = shape.kv_heads * shape.value_width
    if layout == "latent":
        return slice(head * latent_width, (head + 1) * latent_width), heads * latent_width
    first, total = head * width, heads * width
    if layout == "fused_rows":
        total += shape.kv_heads * width + values
    elif layout == "conv1d":
        total = 3 * values
    elif layout == "grouped":
        key_value, member = divmod(head, shape.group)
        first = (key_value * (shape.group + 2) + member) * width
        total = (heads + 2 * shape.kv_heads) * width
    elif layout == "split":
        if heads % PARTS:
            raise AtlasError(f"config.json: {heads} heads cannot be stored in {PARTS} parts; use another model.")
        part, member = divmod(head, heads // PARTS)
        first, total = part * 3 * values // PARTS + member * width, 3 * values
    return slice(first, first + width), total


def what_forbids_zero(
    family: Family, shape: Shape, projection: str, shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Why queries of zero would not stay zero, or would change other heads; None where they can be set to zero.

    projection: as `query_projection` gives it. shapes: of the layer's tensors, by their names relative to it.
    """
    module = projection.rpartition(".")[0] + "."
    for name, size in shapes.items():
        if not name.startswith(module) or not _QUERY_NORM.search(name):
            continue
        if name.endswith(".bias"):
            return f"its queries pass a norm with a bias ({name})"
        if len(size) == 1 and size[0] != shape.head_width and shape.heads > 1:
            return f"its queries pass one norm over all heads ({name}), which would change the other heads"
    return None
