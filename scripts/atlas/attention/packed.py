"""Many edited copies of several prompts in one forward: prompts side by side, what they share once, no padding.

A pack lays its prompts out in one row of tokens.  A token whose whole past is the past of an earlier prompt's token is
that token (the prompts form a trie), so a common template or a common opening costs one prompt's time.  Every batch
row is one copy of the pack under an edit of its own (an ablated head, say).  Everything but attention acts on single
tokens, so the model's own layers run on the row as it is; our attention function lets each token see its own past.
Exact by causality.  The forward starts at the lowest edited layer, which computes queries, keys, values and attention
once for all rows, and the last layer computes only the last token of each prompt.  Nothing here knows an architecture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import torch

from ..models.architectures import (
    FAMILIES,
    attention_modules,
    decoder_layers,
    decoder_stack,
    input_device,
    output_projection,
)
from ..models.hooks import layer_output
from ..models.transfers import sent
from .interface import implementation
from .layers import numbered_layers
from .longest import longest_text, refuse_longer
from .packed_attention import ACTIVE, PACKED, Captured, PackState, active, stacked
from .packs import Pack
from .plan import Plan
from .requirements import is_fused, require_evaluation, require_interface
from .resume import Skip, layers_return_tuple, resume_from

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    # run(layer, hidden, plan, rows) -> (states, logits) of each prompt's last token, see `packed`
    Run = Callable[
        [int, Float[Tensor, "1 tokens width"] | None, Plan, int],
        tuple[Float[Tensor, "rows prompts width"], Float[Tensor, "rows prompts vocabulary"]],
    ]


class _LastTokens(Skip):
    """Stands in for the last layer: keys and values of all tokens, everything else for each prompt's last token."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Any, ...]:
        """As many states as came in; only those of the last tokens are the layer's."""
        state = active()
        state.capturing = True
        try:
            self.inner(hidden_states, *args, **kwargs)
        except Captured:
            pass
        finally:
            state.capturing = False
        last = state.at(hidden_states.device).last
        tokens = hidden_states.shape[1]
        try:
            out = self.inner(*(_pick(value, last, tokens) for value in (hidden_states, *args)),
                             **{name: _pick(value, last, tokens) for name, value in kwargs.items()})  # fmt: skip
        finally:
            state.cached = None
        # The model goes on with as many tokens as it began with; the other rows are not read.
        states = layer_output(out)
        found = states.new_zeros(len(states), *hidden_states.shape[1:]).index_copy(1, last.to(states.device), states)
        return (found, *out[1:]) if isinstance(out, tuple) else found


def _pick(value: Any, last: Int[Tensor, " prompts"], tokens: int) -> Any:
    """`value` at the positions `last` where it, or what it is a tuple of, has the pack's tokens along dimension 1."""
    if isinstance(value, tuple):
        return tuple(_pick(part, last, tokens) for part in value)
    if not isinstance(value, torch.Tensor) or value.dim() < 2 or value.shape[1] != tokens:
        return value
    return value.index_select(1, last.to(value.device))


def _projections(model: PreTrainedModel) -> dict[int, nn.Module]:
    """Layer -> its output projection, where nothing is known to stand between attention and projection.

    What comes before the first layer's output projection is the same for all rows. Of a family that we have not seen
    we do not know that, so its rows go through all of it.
    """
    family = FAMILIES.get(model.config.get_text_config().model_type)
    known = family is not None and not family.inner_norm and not family.fixed_rows
    modules = attention_modules(model) if known else {}
    return {index: output_projection(module) for index, module in modules.items()}


@contextlib.contextmanager
def packed(model: PreTrainedModel, pack: Pack) -> Iterator[Run]:
    """Yields run(layer, hidden, plan, rows) -> (states (rows, S, d), logits (rows, S, V)) of each prompt's last token.

    layer, hidden: the forward starts at this layer (0-based) with its input hidden (1, N, d) of the packed tokens,
    for all rows the same; plan: edits with (rows, heads) or (1, heads) tensors per layer, none of them below `layer`.
    States are what the unembedding is given (after the final norm); prompts in the pack's order.  The same prompt twice
    is computed once. Raises AtlasError for families without the attention interface and for a model in training mode.

        pack = Pack([[5, 6, 7], [5, 6, 8, 9]])
        embedded = model.get_input_embeddings()(pack.ids[None])
        with packed(model, pack) as run:
            states, logits = run(0, embedded, Plan(uniform={1: torch.eye(heads, dtype=torch.bool)}), heads)
    """
    require_interface(model)
    require_evaluation(model)
    layers, projections = decoder_layers(model), _projections(model)
    heads = model.config.get_text_config().num_attention_heads
    state = PackState(pack, fused=is_fused(model))
    refuse_longer(longest_text(model), max(map(len, pack.paths)))
    device = input_device(model)
    ids, positions = sent(pack.ids[None], device), sent(pack.positions[None], device)
    found: dict[str, Tensor] = {}

    def keep_last(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output.last_hidden_state
        output.last_hidden_state = hidden[:, state.at(hidden.device).last]
        return output

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        found["states"] = args[0]

    def run(layer: int, hidden: Tensor | None, plan: Plan, rows: int) -> tuple[Tensor, Tensor]:
        state.plan, state.rows, state.first = plan, rows, layer if layer in projections else None
        given = rows if state.first is None else 1
        entering = cast("Tensor", hidden)  # only `alone` can do without
        with contextlib.ExitStack() as hooks:
            if state.first is not None:
                hooks.enter_context(projections[layer].register_forward_pre_hook(stacked(rows, heads)))
            hooks.enter_context(resume_from(model, layer, entering.expand(given, -1, -1)))
            logits = model(ids.expand(given, -1), position_ids=positions, use_cache=False).logits
        return found.pop("states"), logits

    depth = len(layers) - 1
    last, token = layers[depth], ACTIVE.set(state)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(decoder_stack(model, inner=True).register_forward_hook(keep_last))
            stack.enter_context(model.get_output_embeddings().register_forward_pre_hook(note))
            stack.enter_context(numbered_layers(model))  # before the last layer is stood in for
            stack.enter_context(implementation(model, PACKED))
            layers._modules[str(depth)] = _LastTokens(last, layers_return_tuple(model))
            with torch.no_grad():
                yield run
    finally:
        layers._modules[str(depth)] = last
        ACTIVE.reset(token)
