"""The salient operations of a head: the tokens that it amplifies most, and what it maps them to, read from weights.

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 5. The salience of a token is

    sigma_t = |E'[t] W_V W_O| / |E'[t]|      E' as of the map (extract.py): W_E in layer 0, the first MLP's output above

The source's code takes the first MLP for layer 0 as well, by accident, as it says; here layer 0 reads W_E as everywhere
else. What a token is mapped to are the largest logits of its row of the map, and the smallest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from atlas.models.weights import WeightReader

    Wanted = tuple[Sequence[int], int, int]
    Finder = Callable[
        [
            Sequence[tuple[int, int]],
            Float[Tensor, "heads value_width width"],
            Float[Tensor, "heads vocabulary value_width"],
        ],
        None,
    ]

_STEP = 4096  # tokens handled at once; fixed, so that no option changes the order of a summation
ARRAYS = ("salient_token", "salient_ratio", "salient_mapped", "salient_logit")


class Pool(Protocol):
    """What runs the heads of a layer side by side."""

    def map(self, function: Callable[[int], None], tasks: Sequence[int]) -> list[None]: ...


class Salient:
    """Salient operations of the heads of a model, layer by layer.

    wanted: (tokens that are looked at, how many of them are kept of each head, how many of what each is mapped to, in
    either sign). state: what the layers above 0 read (WeightReader.first_state). found: the arrays ARRAYS, (layers,
    heads, tokens) the token, int32, and its ratio, float32; (layers, heads, tokens, 2, mapped) the tokens that it is
    mapped to, and their logits: largest first, then smallest.
    """

    def __init__(
        self, reader: WeightReader, wanted: Wanted, state: str, compute: torch.dtype, layers: int, heads: int
    ) -> None:
        ids, tokens, mapped = wanted
        self._ids, self._tokens = torch.tensor(list(ids)), min(tokens, len(ids))
        self._mapped = min(mapped, len(reader.unembedding()))
        shape = layers, heads, self._tokens
        wide = (*shape, 2, self._mapped)
        self.found = dict(
            zip(
                ARRAYS,
                (
                    np.zeros(shape, np.int32),
                    np.zeros(shape, np.float32),
                    np.zeros(wide, np.int32),
                    np.zeros(wide, np.float32),
                ),
                strict=True,
            )
        )
        parts = [reader.embedded(part, compute) for part in self._ids.split(_STEP)]
        self._embedded = torch.cat(parts)
        # Of a mixture the first layer is loaded to be run: once.
        parts = parts if state == "first_mlp" else [self._embedded]
        self._lifted = self._embedded if state == "embedding" else torch.cat([reader.lifted(x, state) for x in parts])
        if not bool(torch.isfinite(self._lifted).all()):
            raise AtlasError(f"Model {reader.folder}: the first MLP of some token overflows; check the checkpoint.")

    def finder(
        self,
        pool: Pool,
        at_layer: int,
        layer: int,
        value: Float[Tensor, "kv_heads width value_width"],
        group: int,
    ) -> Finder:
        """A function of `some` heads (place, number) of a layer, their W_O and their maps W_O U, that writes their
        operations into `found`; the layer is `at_layer` there. group: query heads of a value head."""
        rows = self._embedded if layer == 0 else self._lifted
        length = rows.norm(dim=1)

        def find(
            some: Sequence[tuple[int, int]],
            output: Float[Tensor, "heads value_width width"],
            maps: Float[Tensor, "heads vocabulary value_width"],
        ) -> None:
            # |x W_O| is |x L| with W_O's triangular factor, which is no wider than a head.
            factors = torch.linalg.qr(output.transpose(1, 2), mode="r").R.transpose(1, 2)
            groups: dict[int, list[int]] = {}
            for at, (_, head) in enumerate(some):
                groups.setdefault(head // group, []).append(at)

            def of_group(number: int) -> None:
                states = torch.cat([part @ value[number].to(rows.dtype) for part in rows.split(_STEP)])
                for at in groups[number]:
                    written = torch.cat([(part @ factors[at]).norm(dim=1) for part in states.split(_STEP)])
                    best, which = torch.where(length > 0, written / length, -torch.inf).topk(self._tokens)
                    logits = states[which] @ maps[at].T
                    (largest, top), (smallest, bottom) = (x.topk(self._mapped, 1) for x in (logits, -logits))
                    kept = (
                        self._ids[which.cpu()],
                        best,
                        torch.stack([top, bottom], 1),
                        torch.stack([largest, -smallest], 1),
                    )
                    for name, tensor in zip(ARRAYS, kept, strict=True):
                        self.found[name][at_layer, some[at][0]] = tensor.cpu().numpy()

            pool.map(of_group, list(groups))

        return find
