"""Greedy answers with heads ablated, all variants and prompts side by side (the part that runs the model)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from atlas.analyses.head_edits import ablation_plan, group_masks, head_means
from atlas.attention import attend
from atlas.data.tokens import texts_of
from atlas.models.batches import Batches
from atlas.models.generation import Prompt, generate_batch, model_ends

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from atlas.analyses.head_edits import Groups, Means, Prompts
    from atlas.analyses.safety_heads.extract import Progress
    from atlas.attention import Plan

_ROWS = 128  # (variant, prompt) pairs of one batch when max_rows is left open


@torch.no_grad()
def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    variants: Sequence[tuple[str, Sequence[tuple[int, int]]]],
    *,
    own: Sequence[tuple[str, Groups]] = (),
    epsilon: float,
    new_tokens: int,
    max_rows: int | None = None,
    ends: Collection[int] | None = None,
    progress: Progress = iter,
) -> list[list[str]]:
    """One list of answers (str) per variant, then per entry of `own`, in the order of `prompts` (token id sequences).

    variants: [(ablation, [(layer, head)])], the same heads for every prompt. own: [(ablation, heads of each prompt)].
    Equal answers are generated once, and without heads the ablation is nothing.
    ends: ids that end an answer; None: those of the model.
    """
    keys = [[_key(ablation, heads)] * len(prompts) for ablation, heads in variants]
    keys += [[_key(ablation, heads) for heads in groups] for ablation, groups in own]
    unique = sorted({(key, i) for row in keys for i, key in enumerate(row)})
    ends = model_ends(model) if ends is None else ends
    means = head_means(model, prompts) if any(ablation == "mean" for (ablation, _), _ in unique) else None
    written: dict[tuple[tuple, int], str] = {}
    fitted = Batches("max_rows", one="an answer", shorten="new_tokens")

    def run(ablation: str, batch: Sequence[tuple[tuple, int]]) -> None:
        plan = _plan(model, ablation, [heads for (_, heads), _ in batch], epsilon, means)
        texts = _generate(model, tokenizer, [prompts[i] for _, i in batch], plan, new_tokens, ends)
        written.update(zip(batch, texts, strict=True))

    for ablation in dict.fromkeys(ablation for (ablation, _), _ in unique):
        # Prompts of similar length side by side, so that little is padded.
        pairs = [(key, i) for key, i in unique if key[0] == ablation]
        pairs.sort(key=lambda pair: (len(prompts[pair[1]]), pair[1]))
        step = max_rows or _ROWS
        for start in progress(range(0, len(pairs), step)):
            fitted.run(partial(run, ablation), pairs[start : start + step])
    return [[written[key, i] for i, key in enumerate(row)] for row in keys]


def _key(ablation: str, heads: Sequence[tuple[int, int]]) -> tuple[str, tuple[tuple[int, int], ...]]:
    return ablation if heads else "", tuple(sorted(heads))


def _plan(model: PreTrainedModel, ablation: str, groups: Groups, epsilon: float, means: Means | None) -> Plan | None:
    if not ablation:
        return None
    heads = model.config.get_text_config().num_attention_heads
    return ablation_plan(ablation, group_masks(groups, heads), epsilon, means)


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    plan: Plan | None,
    new_tokens: int,
    ends: Collection[int],
) -> list[str]:
    asked = [Prompt(number, tuple(ids), new_tokens) for number, ids in enumerate(prompts)]
    with attend(model, plan):  # edits are told apart by row, so every row stays
        found = generate_batch(model, asked, ends, keep_ended=True)
    return texts_of(tokenizer, [answer.ids for answer in found])
