"""Sums over a layer's attention while it is computed tile by tile: column sums, row masses, the diagonal, stripes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ..models.transfers import sent
from .plan import Plan, over_batch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped
    from torch import Tensor

    from .kernels import AttentionInputs
    from .masks import Span
    from .plan import Record


class _Total(NamedTuple):
    """A stripe: how far back it looks, the weights of its rows, and what it has added up."""

    distance: int
    weights: Float[Tensor, "batch keys"]
    sums: Float[Tensor, "batch heads"]


class Collector:
    """Accumulates a plan's statistics of one layer, tile by tile.

    `add` takes each tile once, `store` writes the totals.  Raises AtlasError for weights and masks that do not fit the
    batch; rows that cannot be renormalised are reported by `Record.check`.
    """

    def __init__(self, x: AttentionInputs, plan: Plan) -> None:
        self.x = x
        device = x.query.device
        self.sum_names = list(plan.column_sums)
        self.mass_names = list(plan.row_masses)
        sums = [plan.column_sums[name] for name in self.sum_names]

        def mask(tensor: Shaped[Tensor, "*batch tokens"], what: str) -> Bool[Tensor, "batch keys"]:
            return over_batch(tensor, x.kv_len, x.batch, device, what).bool()

        ones = torch.ones(x.kv_len, device=device)
        self.weights = [
            over_batch(ones if s.row_weights is None else s.row_weights, x.kv_len, x.batch, device,
                       f"row_weights of column sum '{name}'").to(x.dtype)
            for name, s in zip(self.sum_names, sums, strict=True)
        ]  # fmt: skip
        self.excluded = [
            None if s.exclude is None else mask(s.exclude, f"exclude of column sum '{name}'")
            for name, s in zip(self.sum_names, sums, strict=True)
        ]
        keys = [mask(plan.row_masses[name].keys, f"keys of row mass '{name}'") for name in self.mass_names]
        keys += [~e for e in self.excluded if e is not None]
        self.keys: Float[Tensor, "batch keys sets"] | None = torch.stack(keys, dim=-1).to(x.dtype) if keys else None
        distances: dict[int, list[int]] = {}
        for n, s in enumerate(sums):
            if s.min_distance:
                distances.setdefault(s.min_distance, []).append(n)
        # min_distance > 0 -> indices of its sums
        self.distances = {distance: sent(torch.tensor(which), device) for distance, which in distances.items()}
        self.failed: dict[str, Bool[Tensor, ""]] = {}  # of each sum with `exclude`: a row that cannot be renormalised

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(x.batch, x.heads, *shape, dtype=x.dtype, device=device)

        self.sums: Float[Tensor, "batch heads sums keys"] | None = zeros(len(sums), x.kv_len) if sums else None
        self.masses: Float[Tensor, "batch heads queries sets"] | None = zeros(x.q_len, len(keys)) if keys else None
        self.diagonal: Float[Tensor, "batch heads queries"] | None = zeros(x.q_len) if plan.diagonal else None
        self.stripes = {
            name: _Total(
                stripe.distance,
                over_batch(ones if stripe.row_weights is None else stripe.row_weights, x.kv_len, x.batch, device,
                           f"row_weights of stripe '{name}'").to(x.dtype),
                zeros(),
            )
            for name, stripe in plan.stripes.items()
        }  # fmt: skip

    def add(
        self,
        weights: Float[Tensor, "batch_kv group_rows keys"],
        sink_mass: Float[Tensor, "batch_kv group_rows 1"] | None,
        batch: slice,
        kv: slice,
        rows: slice,
        span: Span,
    ) -> None:
        """Add a tile's weights and the mass of the learned sink, both as from `tile_weights`."""
        x, first, last = self.x, span.first, span.last
        heads = slice(kv.start * x.groups, kv.stop * x.groups)
        b, h, r = batch.stop - batch.start, heads.stop - heads.start, rows.stop - rows.start
        weights = weights.view(b, h, r, last - first)
        at = rows.start + x.offset - first  # column of the first row's own position
        if self.diagonal is not None:
            self.diagonal[batch, heads, rows] = _diagonal(weights, at)
        here = slice(rows.start + x.offset, rows.stop + x.offset)
        for stripe in self.stripes.values():
            back = _diagonal(weights, at - stripe.distance)
            stripe.sums[batch, heads] += (back * stripe.weights[batch, None, here]).sum(-1)
        mass = None
        if self.keys is not None and self.masses is not None:
            mass = torch.matmul(weights.view(b, h * r, -1), self.keys[batch, first:last]).view(b, h, r, -1)
            self.masses[batch, heads, rows] = mass
        if self.sums is None:
            return
        factors = self._factors(mass, sink_mass, batch, heads, rows)  # (b, h, S, r)
        part = torch.matmul(factors, weights)  # (b, h, S, K)
        for distance, which in self.distances.items():
            low = max(first, rows.start + x.offset - distance + 1)  # columns before `low` are far enough from all rows
            if low >= last:
                continue
            query = torch.arange(rows.start + x.offset, rows.stop + x.offset, device=weights.device)
            keep = torch.arange(low, last, device=weights.device) <= query[:, None] - distance
            far = torch.matmul(factors.index_select(2, which), weights[..., low - first :] * keep)
            part[..., low - first :].index_copy_(2, which, far)
        self.sums[batch, heads, :, first:last] += part

    def _factors(
        self,
        mass: Float[Tensor, "batch heads rows sets"] | None,
        sink_mass: Float[Tensor, "batch_kv group_rows 1"] | None,
        batch: slice,
        heads: slice,
        rows: slice,
    ) -> Float[Tensor, "batch heads sums rows"]:
        """Row weights (b, h, S, r); where columns are excluded, divided by the mass that is left."""
        x = self.x
        here = slice(rows.start + x.offset, rows.stop + x.offset)
        h = heads.stop - heads.start
        n = len(self.mass_names)
        out = []
        for name, w, excluded in zip(self.sum_names, self.weights, self.excluded, strict=True):
            w = w[batch, None, here].expand(-1, h, -1)
            if excluded is not None and mass is not None:  # excluded keys are among the sets of `mass`
                left = mass[..., n]
                n += 1
                if sink_mass is not None:
                    left = left + sink_mass.view_as(left)
                gone = left <= 0
                self._note(name, gone & (w != 0), excluded[batch, None, None], batch, heads, rows)
                w = torch.where(gone, 0, w / left.masked_fill(gone, 1))
            out.append(w)
        return torch.stack(out, dim=2)

    def _note(
        self,
        name: str,
        empty: Bool[Tensor, "batch heads rows"],
        excluded: Bool[Tensor, "batch 1 1 keys"],
        batch: slice,
        heads: slice,
        rows: slice,
    ) -> None:
        """Keep whether a row that counts has no mass left although it sees a key that is not excluded.

        Nobody waits for the answer here: `Record.check` reads it once the forwards are over.
        """
        if empty.device.type == "cpu" and not bool(empty.any()):
            return  # as a rule; looking costs a CPU less than what follows
        seen = self.x.visible.seen(batch, heads, rows, 0, self.x.kv_len)
        failed = (empty & (seen & ~excluded).any(-1)).any()
        self.failed[name] = self.failed[name] | failed if name in self.failed else failed

    def store(self, record: Record, layer: int) -> None:
        """Write the totals of `layer` into `record`."""
        record.unmeasured += self.failed.items()
        if self.sums is not None:
            for n, name in enumerate(self.sum_names):
                total = self.sums[:, :, n].clone()
                if (excluded := self.excluded[n]) is not None:
                    total.masked_fill_(excluded[:, None], 0)
                record.column_sums[name][layer] = total
        if self.masses is not None:
            for n, name in enumerate(self.mass_names):
                record.row_masses[name][layer] = self.masses[..., n].clone()
        if self.diagonal is not None:
            record.diagonal[layer] = self.diagonal
        for name, stripe in self.stripes.items():
            record.stripes[name][layer] = stripe.sums


def _diagonal(weights: Float[Tensor, "batch heads rows keys"], at: int) -> Float[Tensor, "batch heads rows"]:
    """weights[..., r, at + r] for every row r; 0 where that column is outside the tile."""
    out = weights.new_zeros(weights.shape[:-1])
    lowest = max(0, -at)
    part = torch.diagonal(weights, offset=at, dim1=-2, dim2=-1)
    out[..., lowest : lowest + part.shape[-1]] = part
    return out
