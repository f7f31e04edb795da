"""W_V of every value head from the matrix that a family stores it in (families.Family.value_layout)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

    from atlas.models.architectures import Shape

PARTS = 4  # CodeGen's matrices are stored as for so many devices


def stored_shape(layout: str, shape: Shape, key_width: int = 0, latent: int = 0) -> tuple[int, int]:
    """(rows, columns) of the stored matrix. key_width, latent: of a head's keys and of the latent, for "latent"."""
    rows = shape.kv_heads * shape.value_width
    if layout == "linear":
        return rows, shape.width
    if layout == "fused_rows":
        return shape.heads * shape.head_width + shape.kv_heads * shape.head_width + rows, shape.width
    if layout == "grouped":
        return (shape.heads + 2 * shape.kv_heads) * shape.value_width, shape.width
    if layout == "conv1d":
        return shape.width, 3 * rows
    if layout == "split":
        return 3 * rows, shape.width
    if layout == "latent":
        return shape.heads * (key_width + shape.value_width), latent
    raise ValueError(layout)


def value_heads(
    weight: Float[torch.Tensor, "rows columns"], layout: str, shape: Shape
) -> Float[torch.Tensor, "kv_heads value_width inputs"]:
    """(value heads, value_width, inputs) of a stored matrix; inputs: the residual's width, of "latent" the latent's.

    Raises AtlasError where a number of heads does not fit the layout.
    """
    heads, rows = shape.kv_heads, shape.kv_heads * shape.value_width
    if layout == "latent":
        return weight.view(shape.heads, -1, weight.shape[1])[:, -shape.value_width :]
    if layout == "grouped":
        weight = weight.view(heads, shape.group + 2, shape.value_width, shape.width)[:, -1]
    elif layout == "fused_rows":
        weight = weight[-rows:]
    elif layout == "conv1d":
        weight = weight[:, -rows:].T
    elif layout == "split":
        if heads % PARTS:
            raise AtlasError(f"config.json: {heads} heads cannot be stored in {PARTS} parts; use another model.")
        weight = weight.view(PARTS, 3, rows // PARTS, shape.width)[:, 1]
    return weight.reshape(heads, shape.value_width, shape.width)
