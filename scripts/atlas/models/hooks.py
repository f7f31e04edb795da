"""What a hook on a decoder layer sees, whichever way the family hands its hidden states over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def layer_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Float[Tensor, "batch tokens width"]:
    """The hidden states that a layer is called with: its first argument, or the one of that name."""
    return args[0] if args else kwargs["hidden_states"]


def layer_output(output: Tensor | tuple[Any, ...] | list[Any]) -> Float[Tensor, "batch tokens width"]:
    """The hidden states that a layer returns: alone, or first in a tuple or list."""
    return output[0] if isinstance(output, tuple | list) else output
