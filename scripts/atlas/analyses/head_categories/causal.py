"""What a model answers to a relation's prompts while heads are ablated (the part that runs the model).

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.2. Their code sets a head's output at the last token to
zero and runs the whole model for every set of heads. What stands before the last token does not see it, so it is run
once here, what prompts begin with alike once for all, and each set of heads costs one token per prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from atlas.analyses.head_edits import ablation_plan, group_masks, head_means
from atlas.attention import attend
from atlas.errors import AtlasError
from atlas.models.architectures import input_device
from atlas.models.batches import Batches
from atlas.models.finite import not_finite
from atlas.models.generation import Prompt, left_padded, next_logits, shared_beginning, shared_states
from atlas.models.shared_prefix import continued, remembers
from atlas.models.transfers import sent

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.head_categories.completions import Completion
    from atlas.analyses.head_edits import Groups, Means, Prompts
    from atlas.attention import Plan
    from atlas.models.shared_prefix import Shared, TextsCache

_ROWS = 128  # (set of heads, prompt) pairs of one batch when max_rows is left open


class Answers(NamedTuple):
    """Of G sets of heads and P prompts: the most likely next token, and the log-probability of the target in nats."""

    tokens: Int[np.ndarray, "sets prompts"]
    logprobs: Float[np.ndarray, "sets prompts"]


class Completing:
    """Answers of `model` with sets of heads ablated.

    positions: `last` ablates them at the last token of a prompt, `all` at every token. ablation: `zero`, or `mean`,
    their mean output over all tokens of `every` (the prompts of all relations). max_rows: (set, prompt) pairs that are
    run at once; None: 128. Results depend on it by rounding only.
    """

    def __init__(
        self, model: PreTrainedModel, every: Prompts, *, positions: str, ablation: str, max_rows: int | None
    ) -> None:
        self.model, self.last, self.rows = model, positions == "last", max_rows or _ROWS
        if self.last and not remembers(model):
            raise AtlasError(
                f"{type(model).__name__} ('{model.config.model_type}') does not go on from a cache, so heads cannot be "
                "ablated at the last token alone; set analyses.relation_effect.positions: all, or leave this model out."
            )
        self.heads = model.config.get_text_config().num_attention_heads
        self.means: Means | None = head_means(model, every) if ablation == "mean" else None
        self._fitted = Batches("max_rows", one="a prompt")

    @torch.no_grad()
    def answers(self, completions: Sequence[Completion], groups: Groups) -> Answers:
        """What is answered with each group of heads ablated; a group without heads ablates nothing.

        Raises AtlasError where a distribution is NaN or infinite, or a prompt longer than the model's context.
        """
        asked = [Prompt(number, one.ids, 1) for number, one in enumerate(completions)]
        shared = shared_states(self.model, asked, shared_beginning(asked)) if self.last else []
        parts: list[Answers] = []
        for start in range(0, len(asked), self.rows):
            parts += self._fitted.run(
                lambda some: self._some([completions[prompt.number].target for prompt in some], some, shared, groups),
                asked[start : start + self.rows],
            )
        return Answers(*(np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True)))

    def _some(self, targets: Sequence[int], prompts: Sequence[Prompt], shared: Shared, groups: Groups) -> Answers:
        """The same of prompts that are run side by side."""
        device = input_device(self.model)
        tokens, mask = left_padded(prompts, shared[0][0].shape[2] if shared else 0)
        tokens, mask = sent(tokens, device), sent(mask, device)
        padding = any(len(prompt.ids) < mask.shape[1] for prompt in prompts)
        cache = continued(shared, len(prompts), self.model)
        if self.last:
            if tokens.shape[1] > 1:
                with attend(self.model):
                    next_logits(self.model, tokens[:, :-1], mask[:, :-1], cache, padding)
            tokens = tokens[:, -1:]
        at_once = max(1, self.rows // len(prompts))
        found = [
            self._groups(groups[start : start + at_once], prompts, (tokens, mask, cache, padding), targets)
            for start in range(0, len(groups), at_once)
        ]
        return Answers(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def _groups(
        self,
        groups: Groups,
        prompts: Sequence[Prompt],
        state: tuple[Int[Tensor, "prompts new_tokens"], Int[Tensor, "prompts tokens"], TextsCache, bool],
        targets: Sequence[int],
    ) -> Answers:
        """The same with these groups side by side, from what stands before (`state`), which is not changed."""
        tokens, mask, before, padding = state
        rows = torch.arange(len(prompts)).repeat(len(groups))
        cache = copy.deepcopy(before)
        if before.get_seq_length():
            cache.keep(rows)
        rows = sent(rows, tokens.device)
        with attend(self.model, self._plan([group for group in groups for _ in prompts])):
            logits = next_logits(self.model, tokens[rows], mask[rows], cache, padding).float()
        top, chosen = logits.max(-1)  # NaN counts as the largest
        if not bool(torch.isfinite(top).all()):
            raise not_finite(self.model, [prompt.ids for prompt in prompts], "the next-token distribution")
        wanted = sent(torch.tensor(targets), logits.device).repeat(len(groups))
        logprobs = logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1)
        shape = len(groups), len(prompts)
        return Answers(chosen.view(shape).cpu().numpy(), logprobs.double().view(shape).cpu().numpy())

    def _plan(self, groups: Groups) -> Plan | None:
        if not any(groups):
            return None
        where = group_masks(groups, self.heads)
        return ablation_plan("scaling" if self.means is None else "mean", where, 0.0, self.means)
