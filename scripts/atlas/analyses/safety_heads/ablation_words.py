"""What figures call the ablations, and what captions say of them."""

from __future__ import annotations

from collections.abc import Sequence

NAMES = {"undifferentiated": "Undiff Attn.", "scaling": "Scaling Cont.", "mean": "Mean Ablation"}
_WORDS = {
    "undifferentiated": "uniform attention (exact limit)",
    "scaling": "head output times {epsilon}",
    "mean": "head output replaced by its mean over all tokens and prompts",
}


def ablation_words(ablations: Sequence[str], epsilon: str) -> str:
    """Each ablation with what it does; epsilon: what `scaling` multiplies by, in words."""
    return "; ".join(f"{name}: {_WORDS[name].format(epsilon=epsilon)}" for name in ablations)
