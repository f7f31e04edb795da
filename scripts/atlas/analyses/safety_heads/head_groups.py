"""Greedy search for a group of heads that acts together on safety (the part that runs the model).

Source: Zhou et al., ICLR 2025, arXiv 2410.13708, section 4 (Sahara). Every group is scored against the unablated model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from atlas.analyses.safety_heads.extract import HeadAblation
from atlas.analyses.safety_heads.ships import check_ranks, ships

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from atlas.analyses.head_edits import Prompts
    from atlas.analyses.safety_heads.extract import Progress


def search(
    model: PreTrainedModel,
    prompts: Prompts,
    ranked: pd.DataFrame,
    *,
    ablations: Sequence[str],
    epsilon: float,
    rank: int,
    candidates: int,
    size: int,
    max_rows: int | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """The table head_groups without its keys: ablation, step, layer, head, ships_degrees and more, of the whole group.

    ranked: rows of the table safety_heads of this model and data set. Step 1 is the strongest single head as it stands
    there; each further step adds the one of the `candidates` strongest heads that gives the group the highest Ships.
    """
    check_ranks([rank], len(prompts))
    ranked = ranked[ranked["rank"] == rank]
    pools = {}
    for ablation in ablations:
        strongest = ranked[ranked["ablation"] == ablation].sort_values("position").head(candidates)
        pools[ablation] = list(
            strongest[["layer", "head", "ships_degrees", "kl_mean"]].itertuples(index=False, name=None)
        )
    layers = sorted({layer for pool in pools.values() for layer, *_ in pool})
    ablated = HeadAblation(model, prompts, layers, epsilon=epsilon, max_rows=max_rows, means="mean" in ablations)
    rows = []
    for ablation, step in progress([(a, s) for a in ablations for s in range(1, min(size, len(pools[a])) + 1)]):
        if step == 1:
            layer, head, degrees, kl = pools[ablation][0]
            group = [(layer, head)]
        else:
            left = [(layer, head) for layer, head, *_ in pools[ablation] if (layer, head) not in group]
            gram, divergences = ablated.effects(ablation, [[*group, head] for head in left])
            scores = ships(ablated.clean_gram, gram, rank)
            best = int(scores.argmax())
            group = [*group, left[best]]
            (layer, head), degrees, kl = left[best], scores[best], divergences[best].mean()
        rows.append((ablation, step, layer, head, degrees, kl, len(pools[ablation])))
    columns = ["ablation", "step", "layer", "head", "ships_degrees", "kl_mean", "candidates"]
    return pd.DataFrame(rows, columns=columns).assign(rank=rank, queries=len(prompts))
