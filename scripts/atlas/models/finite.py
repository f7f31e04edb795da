"""NaN and infinite activations: noticed where results come out, and traced back to the layer they arise in.

Weights are checked when they are loaded; activations can still overflow (float16, or weights that are large together).
Checking every layer of every pass would cost time for what hardly ever happens, so only what comes out is checked, and
the layer is looked for afterwards.
"""

import torch
from transformers import LogitsProcessor

from atlas.errors import AtlasError
from atlas.models.architectures import decoder_layers


def require_finite(states, model, prompts, what):
    """Raises AtlasError, naming the layer, unless every entry of `states` is a finite number.

    states: any tensor that a pass over `prompts` (token id sequences) gave. what: how the message names it.
    """
    if not bool(torch.isfinite(states).all()):
        raise not_finite(model, prompts, what)


def not_finite(model, prompts, what):
    """The AtlasError for NaN or infinite values in `what`: each prompt is run alone until one shows the layer."""
    where = next((found for prompt in prompts if (found := first_layer(model, prompt)) is not None), "an unknown place")
    return AtlasError(
        f"{where}: {what} contains NaN or infinite values; check the model's weights, or choose a wider dtype."
    )


@torch.no_grad()
def first_layer(model, prompt):
    """Where NaN or infinite values first appear on the way of one prompt: "layer 3", "the embeddings", or None."""
    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([list(prompt)], device=device)
    if not bool(torch.isfinite(model.get_input_embeddings()(ids)).all()):
        return "the embeddings"
    bad = []

    def note(index):
        def hook(module, args, output):
            hidden = output[0] if isinstance(output, tuple) else output
            if not bool(torch.isfinite(hidden).all()):
                bad.append(index)

        return hook

    handles = [layer.register_forward_hook(note(index)) for index, layer in enumerate(decoder_layers(model))]
    try:
        logits = model(ids, use_cache=False, logits_to_keep=1).logits
    finally:
        for handle in handles:
            handle.remove()
    if bad:
        return f"layer {min(bad)}"
    return None if bool(torch.isfinite(logits).all()) else "the logits"


class FiniteLogits(LogitsProcessor):
    """Stops a generation whose logits are not finite: the largest logit is NaN if any is, and infinite if any is."""

    def __init__(self, model, prompts):
        self.model, self.prompts = model, prompts

    def __call__(self, input_ids, scores):
        top = scores.amax(-1)
        if not bool(torch.isfinite(top).all()):
            raise not_finite(self.model, self.prompts, "the next-token distribution")
        return scores
