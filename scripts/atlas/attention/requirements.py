"""What a model must be for `attend` to work with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import AtlasError
from ..models.architectures import attention_free, decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def can_attend(model_or_class: PreTrainedModel | type[PreTrainedModel]) -> bool:
    """True if the model class uses transformers' AttentionInterface, so that `attend` can read and edit it.

    can_attend(model)       # True; False for Bloom, Falcon or GPT-J
    """
    cls = model_or_class if isinstance(model_or_class, type) else type(model_or_class)
    return bool(cls._can_set_attn_implementation())


def require_interface(model: PreTrainedModel) -> None:
    """AtlasError that names the family if `attend` cannot work with it."""
    if attention_free(model.config):
        raise _without_attention(model)
    if not can_attend(model):
        raise AtlasError(
            f"Model type '{model.config.model_type}' ({type(model).__name__}) does not use transformers' attention "
            "interface, so its attention cannot be read or edited; choose a model of another family, such as Llama, "
            "Qwen, Gemma, Mistral, OLMo, Phi, GPT-2, GPT-NeoX or OPT."
        )


def require_evaluation(model: PreTrainedModel) -> None:
    """AtlasError for a model in training mode."""
    if model.training:
        raise AtlasError("The model is in training mode, where dropout changes attention; call model.eval() first.")


def is_fused(model: PreTrainedModel) -> bool:
    """True if the model's classes declare that SDPA computes their attention."""
    return bool(getattr(model, "_supports_sdpa", False))


def nothing_seen(model: PreTrainedModel) -> AtlasError:
    """What is said of a model of which no layer called the attention function."""
    if not any("attention" in type(module).__name__.lower() for module in decoder_layers(model).modules()):
        return _without_attention(model)
    return AtlasError(
        "no layer calls transformers' attention function, so its attention cannot be read or edited; choose a model of "
        "another family."
    )


def _without_attention(model: PreTrainedModel) -> AtlasError:
    return AtlasError(
        f"Model type '{model.config.model_type}' ({type(model).__name__}) has no attention: its tokens hand on a "
        "state. Leave this model out of the analysis."
    )
