"""Which class of transformers loads a model, and which attention that is loaded with."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.models.auto.auto_factory import _BaseAutoModelClass


def auto_class(config: PreTrainedConfig) -> type[_BaseAutoModelClass]:
    """transformers' class that loads a model of this configuration with its unembedding: of text, or with images.

    Of a model that reads images too the text part is measured. Raises AtlasError for what is no decoder.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    for auto in (AutoModelForCausalLM, AutoModelForImageTextToText):
        if type(config) in auto._model_mapping:
            return cast("type[_BaseAutoModelClass]", auto)
    raise AtlasError(f"Family {config.model_type!r} is not a decoder language model of transformers.")


def attention_implementation(config: PreTrainedConfig) -> str:
    """ "sdpa", or "eager" for families whose attention PyTorch's fused operator does not give (Gemma 2, gpt-oss).

    Families without transformers' AttentionInterface (GPT-J, Bloom, Falcon, MPT, ...) load too: what reads no attention
    can use them, and what does refuses them by name (`atlas.attention.checked`). Raises AtlasError for configurations
    that are no decoder language model.
    """
    known = cast("Mapping[type[PreTrainedConfig], type[PreTrainedModel]]", auto_class(config)._model_mapping)
    fused = known[type(config)]._supports_sdpa
    if fused and config.get_text_config() is not config:
        fused = _every_part_is_fused(config)
    return "sdpa" if fused else "eager"


def _every_part_is_fused(config: PreTrainedConfig) -> bool:
    """Whether the encoders beside a text part take the fused attention too: transformers wants one name for all."""
    import torch

    try:
        with torch.device("meta"):
            auto_class(config).from_config(copy.deepcopy(config), attn_implementation="sdpa")
    except ValueError:
        return False
    return True
