"""The texts on which a model is checked, and what the stock model makes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from ..errors import AtlasError
from ..models.architectures import decoder_layers, decoder_stack, input_device, input_embedding
from .resume import note_layer_output

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

TOKENS = 24  # of each text
ALIKE = 8  # tokens that both texts begin with
SHORTER = 5  # tokens that the second text ends earlier, where texts of two lengths are wanted
# Sizes beyond which a layer sees less than everything. Longer ones than a text would hide a layer that forgets them.
_SIZES = ("sliding_window", "attention_chunk_size", "index_topk")
_SHORT = 7


@dataclass
class Texts:
    """ids (2, T), and of the stock model: logits (2, T, V), last (2, T, d) the states behind the final norm, hidden
    (2, T, d) of each layer where it was asked for and the family says it.

    noise: how much the logits change, by their largest value, when the embeddings are rounded otherwise; 0 in float32.
    """

    ids: Int[Tensor, "2 tokens"]
    logits: Float[Tensor, "2 tokens vocabulary"]
    last: Float[Tensor, "2 tokens width"]
    hidden: tuple[Float[Tensor, "2 tokens width"], ...] | None
    half: bool
    noise: float = 0.0

    @property
    def tolerance(self) -> float:
        """Of logits and states, by their largest value.

        In half precision a mixture of experts sends a token elsewhere for a rounding, so what roundings do is measured.
        """
        return max(0.1, 3 * self.noise) if self.half else 1e-4

    @property
    def prompts(self) -> list[list[int]]:
        """The two texts, the second shorter, as lists of ids."""
        first, second = self.ids.tolist()
        return [first, second[: TOKENS - SHORTER]]


def difference(a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"]) -> float:
    """The largest difference relative to the largest value of `b`; infinite where shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.detach().double(), b.detach().double().to(a.device)
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))


def refuse(what: str, worst: float) -> AtlasError:
    """The sentence about `what` that differs from the stock model by `worst`."""
    size = "in shape" if worst == float("inf") else f"by {worst:.1e} of the largest value"
    return AtlasError(
        f"{what} differ {size} from the stock model's, so numbers would be wrong; leave this model out of the "
        "analysis, or choose a model of another family."
    )


def _named_ids(config: Any) -> set[int]:
    """Ids that the configuration gives a meaning to: padding, ends, places of images."""
    found: set[int] = set()
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for name, value in part.to_dict().items():
            if name.endswith(("token_id", "token_index", "token_ids")):
                found.update(v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int))
    return found


def _drawn(model: PreTrainedModel) -> Int[Tensor, "2 tokens"]:
    vocabulary = min(input_embedding(model).num_embeddings, model.config.get_text_config().vocab_size)
    avoided = _named_ids(model.config)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(min(3, vocabulary - 1), vocabulary, (16 * TOKENS,), generator=generator).tolist()
    plain = [token for token in drawn if token not in avoided] or drawn
    first = (plain * 2 * TOKENS)[:TOKENS]
    second = (plain * 2 * TOKENS)[TOKENS : 2 * TOKENS]
    return torch.tensor([first, first[:ALIKE] + second[ALIKE:]]).to(input_device(model))


@torch.no_grad()
def checked_texts(model: PreTrainedModel, states: bool) -> Texts:
    """The texts and what the model makes of them as it was loaded; states: also between its layers. One forward.

    Also notes whether the family's layers return tuples, which `resume_from` follows. Raises AtlasError where the
    unembedding is not given the last states.
    """
    ids = _drawn(model)
    kept: dict[str, Tensor] = {}
    with contextlib.ExitStack() as hooks:
        head = model.get_output_embeddings()
        if not isinstance(head, torch.nn.Module):
            raise AtlasError("it has no unembedding; choose a decoder language model.")
        # Some families scale the last states on their way to the unembedding, others pass by the stack's own call.
        for hook in (
            head.register_forward_pre_hook(lambda _, args: kept.update(given=args[0])),
            decoder_stack(model).register_forward_hook(lambda _, args, out: kept.update(last=out.last_hidden_state)),
        ):
            hooks.callback(hook.remove)
        with contextlib.suppress(AtlasError):
            hook = decoder_layers(model)[0].register_forward_hook(lambda _, args, out: note_layer_output(model, out))
            hooks.callback(hook.remove)
        asked = {"output_hidden_states": True} if states else {}
        out = model(input_ids=ids, use_cache=False, **asked)
    last = kept.get("last", kept.get("given"))
    if last is None:
        raise AtlasError("its unembedding is not called as a module; choose a model of another family.")
    if not bool(torch.isfinite(out.logits).all()):
        raise AtlasError("the logits of a short text contain NaN or infinite values; check the weights and the dtype.")
    hidden = cast("tuple[Tensor, ...] | None", getattr(out, "hidden_states", None))
    half = next(model.parameters()).dtype in (torch.float16, torch.bfloat16)
    return Texts(ids, out.logits, last, hidden, half, _noise(model, ids, out.logits) if half else 0.0)


def _noise(model: PreTrainedModel, ids: Int[Tensor, "2 tokens"], logits: Float[Tensor, "2 tokens vocabulary"]) -> float:
    """The largest change of the logits, by their largest value, if all of the embeddings is rounded otherwise."""

    def rounded(module: torch.nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        up = torch.rand(out.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        return out * (1 + torch.finfo(out.dtype).eps * (2 * up.to(out) - 1))

    hook = input_embedding(model).register_forward_hook(rounded)
    try:
        return difference(model(input_ids=ids, use_cache=False).logits, logits)
    finally:
        hook.remove()


@contextlib.contextmanager
def shortened(model: PreTrainedModel) -> Iterator[list[int]]:
    """Inside the block windows, chunks and numbers of chosen keys are shorter than the texts, in config and modules.

    Yields the sizes that were.
    """
    configs = [model.config, model.config.get_text_config(), *(getattr(m, "config", None) for m in model.modules())]
    holders = {id(holder): holder for holder in [*configs, *model.modules()] if holder is not None}
    before: list[tuple[object, str, int]] = []
    try:
        for holder in holders.values():
            for name in _SIZES:
                size = getattr(holder, name, None)
                if isinstance(size, int) and not isinstance(size, bool) and size > _SHORT:
                    before.append((holder, name, size))
                    setattr(holder, name, _SHORT)
        yield [size for _, _, size in before]
    finally:
        for holder, name, size in before:
            setattr(holder, name, size)
