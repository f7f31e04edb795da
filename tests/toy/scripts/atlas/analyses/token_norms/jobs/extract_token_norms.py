"""Mean L2 norm of the hidden states of each text, by layer (the part that runs the model)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from atlas.data.tokens import encode

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.models.task import ModelTask
    from atlas.results.task import Result


def run(task: ModelTask) -> Result:
    texts = task.frame("dataset")["text"].tolist()
    ids = [encode(task.tokenizer, text, special=True)[: task.options["max_tokens"]] for text in texts]
    norms = [mean_norms(task.model, one) for one in task.progress("texts", "text")(ids)]
    return {"norm": torch.stack(norms).numpy()}, task.provenance()


def mean_norms(model: PreTrainedModel, ids: list[int]) -> Float[Tensor, " states"]:
    """By hidden state: 0 is the embedding, the last one comes behind the model's final norm."""
    with torch.no_grad():
        tokens = torch.tensor([ids], device=model.device)
        states = model.base_model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
    return torch.stack([state[0].float().norm(dim=-1).mean().cpu() for state in states])
