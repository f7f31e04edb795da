"""The layout of a pack: prompts side by side in one row of tokens, what they share once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import AtlasError
from ..models.transfers import sent

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor

# Prompts of one attention call differ in length by at most this factor; the shorter ones are padded inside the call.
_SPREAD = 1.25


@dataclass
class Bucket:
    """Prompts of similar length. Indices point into the packed row; padding repeats a prompt's last token.

    prompts (S,): their numbers in the pack; queries (S, Q): the tokens that are computed for each, those it shares
    belong to an earlier one; keys (S, K): the whole prompt; real: positions in the flattened queries that are no
    padding, None for all.
    """

    prompts: Int[Tensor, " prompts"]
    queries: Int[Tensor, "prompts queries"]
    keys: Int[Tensor, "prompts keys"]
    real: Int[Tensor, " real"] | None

    def visible(
        self, positions: Int[Tensor, "prompts queries"], window: int | None
    ) -> Bool[Tensor, "prompts queries keys"]:
        """(S, Q, K) bool for queries at `positions` (S, Q); padding of the keys lies behind every query."""
        distance = positions[:, :, None] - torch.arange(self.keys.shape[1], device=positions.device)
        return distance >= 0 if window is None else (distance >= 0) & (distance < window)

    def to(self, device: torch.device) -> Bucket:
        """A copy on `device`."""
        real = None if self.real is None else sent(self.real, device)
        return Bucket(sent(self.prompts, device), sent(self.queries, device), sent(self.keys, device), real)


class Pack:
    """The layout of `prompts` (sequences of token ids, in any order) in one row of N tokens.

    ids, positions (N,); paths: for each prompt the indices (T,) of its tokens in the row; last (S,): where each prompt
    ends, in the order given. Raises AtlasError for a prompt without tokens.

        Pack([[5, 6, 7], [5, 6, 8]]).ids        # [5, 6, 7, 8]: the opening stands once
    """

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        if not prompts or not all(len(prompt) for prompt in prompts):
            raise AtlasError("A prompt without tokens cannot be run; remove it or add text.")
        ids: list[int] = []
        positions: list[int] = []
        nodes: dict[tuple[int, int], int] = {}  # (node of the token before, token) -> place in the row
        self.paths: list[Int[Tensor, " tokens"]] = []
        own = []
        for prompt in prompts:
            path, new, parent = [], [], -1
            for position, token in enumerate(prompt):
                node = nodes.setdefault((parent, token), len(ids))
                if node == len(ids):
                    ids.append(token)
                    positions.append(position)
                    new.append(node)
                path.append(node)
                parent = node
            self.paths.append(torch.tensor(path))
            own.append(torch.tensor(new, dtype=torch.long))
        self.ids: Int[Tensor, " tokens"] = torch.tensor(ids)
        self.positions: Int[Tensor, " tokens"] = torch.tensor(positions)
        self.last: Int[Tensor, " prompts"] = torch.stack([path[-1] for path in self.paths])
        groups = _groups([len(path) for path in self.paths])
        computed = [[i for i in group if len(own[i])] for group in groups]
        self.buckets = [self._bucket(group, own) for group in computed if group]
        self.last_buckets = [self._bucket(group, [path[-1:] for path in self.paths]) for group in groups]

    def __len__(self) -> int:
        return len(self.paths)

    def _bucket(self, group: list[int], own: list[Int[Tensor, " queries"]]) -> Bucket:
        keys, _ = _filled([self.paths[i] for i in group])
        queries, real = _filled([own[i] for i in group])
        return Bucket(torch.tensor(group), queries, keys, None if bool(real.all()) else real.flatten().nonzero()[:, 0])

    def to(self, device: torch.device) -> Pack:
        """A copy with its index tensors on `device`; `paths` stay where they are."""
        moved = object.__new__(Pack)
        moved.paths = self.paths
        moved.ids, moved.positions, moved.last = (sent(x, device) for x in (self.ids, self.positions, self.last))
        moved.buckets = [bucket.to(device) for bucket in self.buckets]
        moved.last_buckets = [bucket.to(device) for bucket in self.last_buckets]
        return moved


def _groups(lengths: list[int]) -> list[list[int]]:
    """Numbers of prompts of similar length."""
    groups: list[list[int]] = []
    for prompt in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if groups and lengths[prompt] <= _SPREAD * lengths[groups[-1][0]]:
            groups[-1].append(prompt)
        else:
            groups.append([prompt])
    return groups


def _filled(rows: list[Int[Tensor, " length"]]) -> tuple[Int[Tensor, "rows longest"], Bool[Tensor, "rows longest"]]:
    """Index tensors of several lengths as one (S, longest), the rest filled with their last entry, and what is real."""
    longest = max(map(len, rows))
    step = torch.arange(longest)
    return torch.stack([row[step.clamp(max=len(row) - 1)] for row in rows]), torch.stack([step < len(r) for r in rows])
