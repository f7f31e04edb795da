"""What half precision does to Ships: one head of every layer again in float32 (the part that runs the model).

Ablating one head turns the prompts' states by a fraction of a degree as a rule, and half precision rounds each of its
steps by 0.4 % (bfloat16) or 0.05 % (float16). How much of an angle is rounding no formula tells; it is measured. The
heads are (layer, layer modulo heads): chosen without a look at results, the same for any number of shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.analyses.safety_heads.extract import HeadAblation
from atlas.analyses.safety_heads.storage import head_again
from atlas.attention import attention_layers
from atlas.results.shards import shard_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from atlas.analyses.head_edits import Prompts
    from atlas.analyses.safety_heads.extract import Progress


def remeasured(
    model: PreTrainedModel,
    prompts: Prompts,
    *,
    ablations: Sequence[str],
    epsilon: float,
    max_rows: int | None = None,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """The arrays `wide.*` of storage.py, of one shard: `model` is that of the job, loaded in float32."""
    config = model.config.get_text_config()
    layers = shard_of(attention_layers(model), shard, shards)
    ablation = HeadAblation(model, prompts, layers, epsilon=epsilon, max_rows=max_rows, means="mean" in ablations)
    groups = [[(layer, head_again(layer, config.num_attention_heads))] for layer in layers]
    arrays = {"wide.clean.gram": ablation.clean_gram}
    for kind in progress(list(ablations)):
        arrays[f"wide.{kind}.gram"], arrays[f"wide.{kind}.kl"] = ablation.effects(kind, groups)
    return arrays
