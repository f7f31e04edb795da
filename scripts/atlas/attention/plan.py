"""What a forward pass should record and edit (`Plan`), and what it left behind (`Record`).

Shapes: B batch rows, H query heads, T tokens seen by attention (cached ones included), Q query tokens of this
forward (Q = T without a cache), R chosen rows.  Positions are absolute: with a cache the queries of a forward are
the positions T - Q .. T - 1.  Masks and weights over positions may be longer than T (they are cut), never shorter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ..errors import AtlasError
from ..models.transfers import fetched, sent

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
    from torch import Tensor

    from .kernels import AttentionInputs
    from .saliency import FlowSums


@dataclass
class ColumnSum:
    """Weighted sum of attention over query rows, one number per key position.

        out[b, h, j] = sum over i with i - j >= min_distance of  w[b, i] * A[b, h, i, j]

    row_weights: (T,) or (B, T), or None for ones.  Give padding rows weight 0; rows that see no key count 0 anyway.
    min_distance: 0 keeps the diagonal, 1 leaves it out.  With 0 nothing is cut at all.
    exclude: (B, T) bool of key columns that are removed before each row is renormalised,
        A[i, j] / (1 - sum of A[i, exclude]); their own columns are 0.  A row that sees excluded keys only (such as row
        0 when column 0 is excluded) contributes 0; a row whose other keys have no measurable mass is an AtlasError.
    Raises AtlasError for a negative distance.
    """

    row_weights: Shaped[Tensor, "*batch tokens"] | None = None
    min_distance: int = 0
    exclude: Bool[Tensor, "batch tokens"] | None = None

    def __post_init__(self) -> None:
        if self.min_distance < 0:
            raise AtlasError(f"ColumnSum: min_distance is {self.min_distance}; give 0 or more.")


@dataclass
class RowMass:
    """Attention mass that every query row puts on a set of keys: out[b, h, i] = sum over j in keys of A[b, h, i, j].

    keys: (B, T) or (T,) bool.
    """

    keys: Shaped[Tensor, "*batch tokens"]


@dataclass
class Stripe:
    """Weighted sum of the attention on the token `distance` places back, one number per head.

        out[b, h] = sum over i >= distance of  w[b, i] * A[b, h, i, i - distance]

    row_weights: (T,) or (B, T), or None for ones.  Raises AtlasError for a negative distance.
    """

    distance: int
    row_weights: Shaped[Tensor, "*batch tokens"] | None = None

    def __post_init__(self) -> None:
        if self.distance < 0:
            raise AtlasError(f"Stripe: distance is {self.distance}; give 0 or more.")


@dataclass
class Flow:
    """Token pairs over which saliency is summed: destination i in rows, source j in columns, i - j >= min_distance.

    rows, columns: (B, T) or (T,) bool, absolute positions. without: names of flows that stand before this one; their
    pairs are none of it.
    """

    rows: Shaped[Tensor, "*batch tokens"]
    columns: Shaped[Tensor, "*batch tokens"]
    min_distance: int = 0
    without: Sequence[str] = ()


@dataclass
class Plan:
    """What to record and edit in every forward inside `attend`.  Tensors may live on any device.

    Recorded (A is the attention that the model computes, before any edit of the same layer):
      rows           (R,) positions of queries: A[b, h, rows, :]
      column_sums    name -> ColumnSum
      row_masses     name -> RowMass
      diagonal       A[b, h, i, i]
      stripes        name -> Stripe
      layers         record in these layers only (None: all); edits are not affected
      norms          of each key and value, as attention reads them: keys behind their norm and rotation
      capture        keep each layer's AttentionInputs with its `output`
    Gradients (`grads=True`; run `loss.backward()` inside or after the context, parameters may be frozen):
      rows           dL/dA on the rows
      flows          name -> Flow: saliency sums of any number of row and column sets in one pass
      capture        `output` is in the graph, to differentiate by: for `torch.autograd.grad` and `flow_sums`
                     (several losses, one forward)
    Edits, each batch row and head for itself:
      uniform        layer -> (B, H) bool: attention uniform over the visible keys
      replace        layer -> ((B, H) bool, values): the head's output becomes `values`, broadcast to (B, Q, H, Dv)
      scale          layer -> (B, H) factor of the head's output; applied last
    block            query rows that are computed at once; changes memory and speed, never results

    Attention of the last token in two layers, and the saliency that reaches it from the first four:

        last = torch.tensor([tokens - 1])
        flow = Flow(rows=torch.arange(tokens) == tokens - 1, columns=torch.arange(tokens) < 4)
        plan = Plan(rows=last, layers={0, 1}, grads=True, flows={"start": flow})
        with attend(model, plan) as record:
            logits = model(input_ids, attention_mask=mask, use_cache=False).logits
        logits[:, -1].log_softmax(-1)[:, 7].sum().backward()
        record.rows[0], record.grads[0]         # (B, H, 1, T) each
        record.flows["start"][1].absolute       # (B, H)

    Raises AtlasError for a block below 1, and for flows without `grads`.
    """

    rows: Int[Tensor, " rows"] | None = None
    grads: bool = False
    column_sums: dict[str, ColumnSum] = field(default_factory=dict)
    row_masses: dict[str, RowMass] = field(default_factory=dict)
    diagonal: bool = False
    stripes: dict[str, Stripe] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=dict)
    norms: bool = False
    capture: bool = False
    layers: set[int] | None = None
    block: int = 128
    scale: dict[int, Float[Tensor, "batch heads"]] = field(default_factory=dict)
    uniform: dict[int, Bool[Tensor, "batch heads"]] = field(default_factory=dict)
    replace: dict[int, tuple[Bool[Tensor, "batch heads"], Tensor]] = field(default_factory=dict)
    # Edits as given and where they are needed, by kind, layer and device: sent once.
    moved: dict[tuple[str, int, torch.device], tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.block < 1:
            raise AtlasError(f"Plan: block is {self.block}; give 1 or more.")
        if self.flows and not self.grads:
            raise AtlasError("Plan: flows describe saliency; set grads=True as well.")

    @property
    def has_statistics(self) -> bool:
        """True if some quantity needs every query row's attention."""
        return bool(self.column_sums or self.row_masses or self.diagonal or self.stripes)

    def records(self, layer: int) -> bool:
        """True if what is recorded is recorded in `layer`."""
        return self.layers is None or layer in self.layers

    def edits(self, layer: int) -> bool:
        """True if some head of `layer` is edited."""
        return layer in self.uniform or layer in self.replace or layer in self.scale


@dataclass
class Record:
    """What the last forward (and backward) left behind, by layer index; fp32, or float64 for a float64 model.

    A second forward in the same context replaces the entries of the first.  Layers without attention are absent, and
    so are gradients of layers that the loss does not depend on.
    """

    rows: dict[int, Float[Tensor, "batch heads rows keys"]] = field(default_factory=dict)  # rows inside this forward
    grads: dict[int, Float[Tensor, "batch heads rows keys"]] = field(default_factory=dict)  # dL/dA of the same rows
    flows: dict[str, dict[int, FlowSums]] = field(default_factory=dict)  # by name
    column_sums: dict[str, dict[int, Float[Tensor, "batch heads keys"]]] = field(default_factory=dict)  # by name
    row_masses: dict[str, dict[int, Float[Tensor, "batch heads queries"]]] = field(default_factory=dict)  # by name
    diagonal: dict[int, Float[Tensor, "batch heads queries"]] = field(default_factory=dict)
    stripes: dict[str, dict[int, Float[Tensor, "batch heads"]]] = field(default_factory=dict)  # by name
    key_norms: dict[int, Float[Tensor, "batch kv_heads keys"]] = field(default_factory=dict)
    value_norms: dict[int, Float[Tensor, "batch kv_heads keys"]] = field(default_factory=dict)
    captures: dict[int, AttentionInputs] = field(default_factory=dict)
    calls: Counter[int] = field(default_factory=Counter)  # of the attention function, of all forwards, by layer
    # (column sum, whether some row of a layer could not be renormalised), read when the context ends
    unmeasured: list[tuple[str, Bool[Tensor, ""]]] = field(default_factory=list, repr=False)

    def check(self) -> None:
        """Raises AtlasError where the rows of a column sum could not be renormalised. The host waits once."""
        names, flags = [name for name, _ in self.unmeasured], [flag for _, flag in self.unmeasured]
        self.unmeasured = []
        for name, failed in zip(names, fetched(flags), strict=True):
            if failed:
                raise AtlasError(
                    f"Column sum '{name}': some query puts all its measurable attention on the excluded keys, "
                    "so its row cannot be renormalised; exclude fewer keys or give such rows weight 0."
                )

    @classmethod
    def for_plan(cls, plan: Plan) -> Record:
        """An empty record with an entry for each name in `plan`."""
        return cls(
            flows={name: {} for name in plan.flows},
            column_sums={name: {} for name in plan.column_sums},
            row_masses={name: {} for name in plan.row_masses},
            stripes={name: {} for name in plan.stripes},
        )


def over_batch(
    tensor: Shaped[Tensor, "*batch positions"], length: int, batch: int, device: torch.device, what: str
) -> Shaped[Tensor, "batch length"]:
    """A (T,) or (B, T) tensor as (batch, length) on `device`; AtlasError names `what` when it does not fit."""
    tensor = torch.as_tensor(tensor)
    if tensor.dim() == 1:
        tensor = tensor[None]
    if tensor.dim() != 2 or tensor.shape[0] not in (1, batch) or tensor.shape[1] < length:
        raise AtlasError(
            f"{what} has shape {tuple(tensor.shape)}, but the model sees {batch} texts of {length} tokens; "
            f"give ({length},) or ({batch}, {length})."
        )
    return sent(tensor[:, :length], device).expand(batch, length)
