"""Does the engine read this model rightly? Compared with the stock model on a few random tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import AtlasError
from ..models.architectures import decoder_layers, input_device, input_embedding
from .interface import attend, require_interface
from .plan import Plan
from .resume import layer_inputs, note_layer_output, resume_from

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel


def checked(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, once the engine has been seen to read it as it is (`self_check`). Raises AtlasError."""
    self_check(model)
    return model


@torch.no_grad()
def self_check(model: PreTrainedModel, tokens: int = 12, resume: bool = True) -> None:
    """Compare `attend` and resuming with the stock model on random ids; AtlasError if they differ.

    Logits must agree with the model's own implementation to 1e-4 of their largest magnitude (0.1 in half precision,
    where kernels round differently), every attention layer must be seen, and resuming must change nothing (1e-5).
    Three forwards of 2 x `tokens`, one more with `resume`.

    Every job that uses the engine begins with it (`checked`). It also notes whether the family's layers return tuples,
    which `resume_from` then follows.

        self_check(model)                       # says nothing: the engine may be used on this model
    """
    require_interface(model)
    layers = decoder_layers(model)
    name = f"{type(model).__name__} ('{model.config.model_type}')"
    ids, mask = _random_texts(model, tokens)

    def run() -> Float[Tensor, "real vocabulary"]:
        return model(ids, attention_mask=mask, use_cache=False).logits[mask.bool().to(model.device)]

    with layers[0].register_forward_hook(lambda module, args, output: note_layer_output(model, output)):
        expected = run()
    middle = len(layers) // 2
    with attend(model, Plan(diagonal=True)) as record:
        blocked = run()
    if not record.diagonal:
        raise AtlasError(f"{name}: the attention function saw no layer; choose a model of another family.")
    with attend(model), layer_inputs(model, {middle}) as hidden:
        fused = run()
    tolerance = 0.1 if next(model.parameters()).dtype in (torch.float16, torch.bfloat16) else 1e-4
    for what, logits in (("block-wise", blocked), ("fused", fused)):
        worst = _difference(logits, expected)
        if not worst <= tolerance:
            raise AtlasError(
                f"{name}: logits with {what} attention differ from the model's own by {worst:.1e} of their largest "
                "value, so its attention would be misread; choose a model of another family or report the model type."
            )
    if not resume:
        return
    with attend(model), resume_from(model, middle, hidden[middle]):
        worst = _difference(run(), fused)
    if not worst <= 1e-5:
        raise AtlasError(
            f"{name}: resuming at layer {middle} changes the logits by {worst:.1e} of their largest value, so head "
            "ablation cannot skip layers; choose a model of another family or report the model type."
        )


def _random_texts(model: PreTrainedModel, tokens: int) -> tuple[Int[Tensor, "2 tokens"], Int[Tensor, "2 tokens"]]:
    """Ids and mask of two texts, the second with a third of it padding on the left."""
    vocabulary, device = input_embedding(model).num_embeddings, input_device(model)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(min(3, vocabulary - 1), vocabulary, (2, tokens), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, : tokens // 3] = 0
    return ids.to(device), mask.to(device)


def _difference(a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"]) -> float:
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-30))
