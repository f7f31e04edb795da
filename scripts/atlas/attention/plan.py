"""What a forward pass should record and edit (`Plan`), and what it left behind (`Record`).

Shapes: B batch rows, H query heads, T tokens seen by attention (cached ones included), Q query tokens of this
forward (Q = T without a cache), R chosen rows.  Positions are absolute: with a cache the queries of a forward are
the positions T - Q .. T - 1.  Masks and weights over positions may be longer than T (they are cut), never shorter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..errors import AtlasError


@dataclass
class ColumnSum:
    """Weighted sum of attention over query rows, one number per key position.

        out[b, h, j] = sum over i with i - j >= min_distance of  w[b, i] * A[b, h, i, j]

    row_weights: (T,) or (B, T), or None for ones.  Give padding rows weight 0; rows that see no key count 0 anyway.
    min_distance: 0 keeps the diagonal, 1 leaves it out.  With 0 nothing is cut at all.
    exclude: (B, T) bool of key columns that are removed before each row is renormalised,
        A[i, j] / (1 - sum of A[i, exclude]); their own columns are 0.  A row that sees excluded keys only (such as row
        0 when column 0 is excluded) contributes 0; a row whose other keys have no measurable mass is an AtlasError.
    """

    row_weights: torch.Tensor | None = None
    min_distance: int = 0
    exclude: torch.Tensor | None = None

    def __post_init__(self):
        if self.min_distance < 0:
            raise AtlasError(f"ColumnSum: min_distance is {self.min_distance}; give 0 or more.")


@dataclass
class RowMass:
    """Attention mass that every query row puts on a set of keys: out[b, h, i] = sum over j in keys of A[b, h, i, j].

    keys: (B, T) or (T,) bool.
    """

    keys: torch.Tensor


@dataclass
class Flow:
    """Token pairs over which saliency is summed: destination i in rows, source j in columns, i - j >= min_distance.

    rows, columns: (B, T) or (T,) bool, absolute positions.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    min_distance: int = 0


@dataclass
class Plan:
    """What to record and edit in every forward inside `attend`.  Tensors may live on any device.

    Recorded (A is the attention that the model computes, before any edit of the same layer):
      rows           (R,) positions of queries: A[b, h, rows, :]
      column_sums    name -> ColumnSum
      row_masses     name -> RowMass
      diagonal       A[b, h, i, i]
      layers         record in these layers only (None: all); edits are not affected
    Gradients (`grads=True`; run `loss.backward()` inside or after the context, parameters may be frozen):
      rows           dL/dA on the rows, or with reduce_heads | sum_h A * dL/dA |
      columns        (B, T) bool key positions: saliency sums over rows x columns (all rows if `rows` is None)
      flows          name -> Flow: the same sums for any number of row and column sets in one pass
      capture        keep each layer's AttentionInputs with `output`, the tensor to differentiate, for
                     `torch.autograd.grad` and `flow_sums` (several losses, one forward)
    Edits, each batch row and head for itself:
      uniform        layer -> (B, H) bool: attention uniform over the visible keys
      replace        layer -> ((B, H) bool, values): the head's output becomes `values`, broadcast to (B, Q, H, Dv)
      scale          layer -> (B, H) factor of the head's output; applied last
    block            query rows that are computed at once; changes memory and speed, never results
    """

    rows: torch.Tensor | None = None
    grads: bool = False
    reduce_heads: bool = False
    column_sums: dict[str, ColumnSum] = field(default_factory=dict)
    row_masses: dict[str, RowMass] = field(default_factory=dict)
    diagonal: bool = False
    columns: torch.Tensor | None = None
    flows: dict[str, Flow] = field(default_factory=dict)
    capture: bool = False
    layers: set[int] | None = None
    block: int = 128
    scale: dict[int, torch.Tensor] = field(default_factory=dict)
    uniform: dict[int, torch.Tensor] = field(default_factory=dict)
    replace: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def __post_init__(self):
        if self.block < 1:
            raise AtlasError(f"Plan: block is {self.block}; give 1 or more.")
        if (self.columns is not None or self.flows or self.reduce_heads) and not self.grads:
            raise AtlasError("Plan: columns, flows and reduce_heads describe saliency; set grads=True as well.")

    @property
    def has_statistics(self) -> bool:
        """True if some quantity needs every query row's attention."""
        return bool(self.column_sums or self.row_masses or self.diagonal)

    def records(self, layer: int) -> bool:
        return self.layers is None or layer in self.layers


@dataclass
class Record:
    """What the last forward (and backward) left behind, by layer index; fp32, or float64 for a float64 model.

    A second forward in the same context replaces the entries of the first.  Layers without attention are absent, and
    so are gradients of layers that the loss does not depend on.
    """

    rows: dict[int, torch.Tensor] = field(default_factory=dict)  # (B, H, R', T), R' = rows inside this forward
    grads: dict[int, torch.Tensor] = field(default_factory=dict)  # (B, H, R', T) dL/dA
    saliency: dict[int, object] = field(default_factory=dict)  # (B, R', T), or FlowSums if plan.columns is given
    flows: dict[str, dict[int, object]] = field(default_factory=dict)  # name -> layer -> FlowSums
    column_sums: dict[str, dict[int, torch.Tensor]] = field(default_factory=dict)  # name -> layer -> (B, H, T)
    row_masses: dict[str, dict[int, torch.Tensor]] = field(default_factory=dict)  # name -> layer -> (B, H, Q)
    diagonal: dict[int, torch.Tensor] = field(default_factory=dict)  # (B, H, Q)
    captures: dict[int, object] = field(default_factory=dict)  # AttentionInputs

    @classmethod
    def for_plan(cls, plan: Plan) -> Record:
        return cls(
            flows={name: {} for name in plan.flows},
            column_sums={name: {} for name in plan.column_sums},
            row_masses={name: {} for name in plan.row_masses},
        )


def over_batch(tensor, length: int, batch: int, device, what: str) -> torch.Tensor:
    """A (T,) or (B, T) tensor as (batch, length) on `device`; AtlasError names `what` when it does not fit."""
    tensor = torch.as_tensor(tensor)
    if tensor.dim() == 1:
        tensor = tensor[None]
    if tensor.dim() != 2 or tensor.shape[0] not in (1, batch) or tensor.shape[1] < length:
        raise AtlasError(
            f"{what} has shape {tuple(tensor.shape)}, but the model sees {batch} texts of {length} tokens; "
            f"give ({length},) or ({batch}, {length})."
        )
    return tensor[:, :length].to(device).expand(batch, length)
