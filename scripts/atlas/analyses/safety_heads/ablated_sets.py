"""Which heads an effect check ablates together, and the frame of the answers (no model needed).

Source: Zhou et al., ICLR 2025, arXiv 2410.13708, section 3.3; the control with random heads is ours. Heads
of each prompt by itself: equation 8 there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from atlas.errors import AtlasError

TOP, RANDOM, OWN = "top", "random", "own"


def variants(
    ranked: pd.DataFrame, *, ablations: Sequence[str], numbers: Sequence[int], rank: int, draws: int, seed: int
) -> pd.DataFrame:
    """A frame with one row per set of heads: ablation, selection, draw, heads_ablated, heads ([(layer, head)]).

    ranked: rows of the table safety_heads of one model and data set. Random heads are drawn from those that are not
    among the max(numbers) strongest; the first n of a draw are its set of n heads.
    """
    rows = []
    for number, ablation in enumerate(ablations):
        order = ranked[(ranked["ablation"] == ablation) & (ranked["rank"] == rank)].sort_values("position")
        heads = list(zip(order["layer"].tolist(), order["head"].tolist(), strict=True))
        most = max(numbers)
        if 2 * most > len(heads):
            raise AtlasError(
                f"analyses.ablation_effect.heads asks for {most} heads, but of {len(heads)} in the model there "
                f"must be as many others for the control: ask for at most {len(heads) // 2}."
            )
        rows += [(ablation, TOP, 0, n, heads[:n]) for n in numbers]
        for draw in range(draws):
            chosen = np.random.default_rng([seed, number, draw]).permutation(len(heads) - most)[:most] + most
            rows += [(ablation, RANDOM, draw, n, [heads[i] for i in chosen[:n]]) for n in numbers]
    return pd.DataFrame(rows, columns=["ablation", "selection", "draw", "heads_ablated", "heads"])


def own_sets(
    prompt_ranks: pd.DataFrame, names: Sequence[str], *, ablations: Sequence[str], numbers: Sequence[int]
) -> pd.DataFrame:
    """As `variants`, but heads is a list of one set per prompt of `names`: the strongest by that prompt's own Ships.

    prompt_ranks: rows of the table safety_queries of one model and data set. Raises AtlasError for a prompt that
    it lacks.
    """
    # Sorted once: a model with many heads has a row for each of them, prompt and ablation.
    strongest = prompt_ranks["position"].notna() & (prompt_ranks["position"] <= max(numbers))
    ranked = prompt_ranks[strongest].sort_values("position")
    found = {
        key: list(zip(part["layer"].tolist(), part["head"].tolist(), strict=True))
        for key, part in ranked.groupby(["ablation", "query"], sort=False)
    }
    rows = []
    for ablation in ablations:
        for name in names if max(numbers) else ():
            if (ablation, name) not in found:
                raise AtlasError(
                    f"analyses.ablation_effect.own_heads: analyses.safety_heads left out the prompt {name!r}, so that "
                    "its own heads are not known: set own_heads: false, or give both analyses one template."
                )
        rows += [(ablation, OWN, 0, n, [found.get((ablation, name), [])[:n] for name in names]) for n in numbers]
    return pd.DataFrame(rows, columns=["ablation", "selection", "draw", "heads_ablated", "heads"])


def answers_frame(sets: pd.DataFrame, answers: Sequence[Sequence[str]], names: Sequence[str]) -> pd.DataFrame:
    """One row per answer: the columns of `sets` (heads as JSON), prompt and answer. answers: one list per set.

    sets: of `variants`, and of `own_sets`, whose heads differ by prompt.
    """
    heads = [
        [json.dumps(each) for each in (row.heads if row.selection == OWN else [row.heads] * len(names))]
        for row in sets.itertuples()
    ]
    frame = sets.assign(heads=heads, prompt=[list(names)] * len(sets), answer=answers)
    return frame.explode(["heads", "prompt", "answer"], ignore_index=True)
