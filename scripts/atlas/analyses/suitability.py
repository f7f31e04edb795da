"""Which analyses a model can have: every job's own check on it, and the reading of its weights, in one list."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What is asked -> the job that asks it of a model.
ASKED = {
    "attention sinks": "sinks.jobs.extract_sinks",
    "head types": "head_types.jobs.extract_head_types",
    "heads on prompts": "head_categories.jobs.extract_relation_hits",
    "meaningless tokens": "meaningless_tokens.jobs.extract_attention",
    "Min-K%": "mink.jobs.extract_token_logprobs",
    "answers": "mink.jobs.generate_answers",
    "hidden states": "saliency.jobs.extract_hidden_states",
    "saliency": "saliency.jobs.extract_saliency",
    "saliency of spans": "saliency.jobs.extract_span_saliency",
    "safety heads": "safety_heads.jobs.extract_head_ablations",
    "ablated answers": "safety_heads.jobs.generate_ablated",
}
MAPPINGS = "head categories"


def suitability(folder: Path, **runtime: str) -> Iterator[tuple[str, str | None]]:
    """(what, None or why not) of each analysis for the model in `folder`, as soon as it is known.

    runtime: how the model is loaded, as for `load_model`. Raises AtlasError where it cannot be loaded.
    """
    from atlas.models.loading import load_model

    model = load_model(folder, **runtime)
    for what, job in ASKED.items():
        yield what, _refusal(model, import_module(f"atlas.analyses.{job}").NEEDS)
    del model
    yield MAPPINGS, _mappings(folder)


def _refusal(model: PreTrainedModel, needs: tuple[str, ...]) -> str | None:
    from atlas.attention import self_check

    try:
        self_check(model, *needs)
    except AtlasError as error:
        return str(error)
    return None


def _mappings(folder: Path) -> str | None:
    """Why the head mappings of one head cannot be computed; None where they can."""
    import pandas as pd

    from atlas.analyses.head_categories.extract import map_heads

    pair = pd.DataFrame({"relation": ["a"], "source_id": [1], "target_id": [2]})
    try:
        map_heads(folder, pair, layers=[1], heads=[0], k_max=1)
    except AtlasError as error:
        return str(error)
    return None
