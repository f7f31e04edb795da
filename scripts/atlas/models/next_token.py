"""What a model's own next-token distribution says about the token that came, without a logits tensor of all positions.

Used by Min-K% (Shi et al. 2024, arXiv 2310.16789) and Min-K%++ (Zhang et al. 2024, arXiv 2404.02936).
"""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any

import torch

from atlas.errors import AtlasError
from atlas.models.architectures import decoder_stack, input_device, logit_scaling, unembedding
from atlas.models.finite import require_finite
from atlas.models.transfers import fetched

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

    # lp, mu, sigma (fp32, nats) and rank (int32) of each token
    Statistics = tuple[
        Float[Tensor, " tokens"], Float[Tensor, " tokens"], Float[Tensor, " tokens"], Int[Tensor, " tokens"]
    ]

# Elements of the chunk x vocabulary block of logits: for each, the whole unembedding is read once.
_BLOCK = {"cpu": 2**23, "cuda": 2**26}
# Elements of the rows of a block that go through the statistics together, a dozen passes: second-level cache. Each row
# is summed on its own.
_PIECE = {"cpu": 2**17}
# Models whose logits are more than the unembedding's -> an output of their stack, as `check_head` has seen.
_OWN: weakref.WeakKeyDictionary[PreTrainedModel, Any] = weakref.WeakKeyDictionary()
_NEVER = -1e4  # exp of it is 0 in fp32: a token that is masked out by a logit of -inf weighs nothing


def chunk_rows(vocabulary: int, device: str = "cpu") -> int:
    """Positions whose logits are held at once."""
    return max(8, _BLOCK.get(device, _BLOCK["cuda"]) // vocabulary)


def token_statistics(
    model: PreTrainedModel,
    states: Float[Tensor, "tokens width"],
    targets: Int[Tensor, " tokens"],
    chunk: int | None = None,
) -> Statistics:
    """lp, mu, sigma, rank of each target token, in one pass over the vocabulary per chunk of positions.

    states: (N, d) last hidden states after the final norm, targets: (N,) token ids that came next. Returns four tensors
    of shape (N,) on the CPU: lp = log p(target); mu and sigma the mean and standard deviation of log p under p itself
    (fp32, nats); rank = number of tokens with a larger logit (int32, 0: the target is the most likely one).
    At most `chunk` x V logits exist at a time. Raises AtlasError where the logits are NaN or infinite.
    """
    head = unembedding(model)
    # A tied unembedding lies where the embedding does, which may be another device than that of the last layer.
    states, targets = states.to(head.weight.device), targets.to(head.weight.device)
    chunk = chunk or chunk_rows(head.weight.shape[0], states.device.type)
    # Written into from the start: small results kept between large blocks would keep the allocator from reusing these.
    lp, mu, sigma = (torch.empty(len(states), device=states.device) for _ in range(3))
    rank = torch.empty(len(states), dtype=torch.int32, device=states.device)
    rows = max(1, _PIECE[states.device.type] // head.weight.shape[0]) if states.device.type in _PIECE else chunk
    for begin in range(0, len(states), chunk):
        block = logits_of(model, states[begin : begin + chunk])
        for first in range(0, len(block), rows):
            logits = scaled(model, block[first : first + rows].float())
            part = slice(begin + first, begin + first + len(logits))
            for kept, value in zip((lp, mu, sigma, rank), distribution_statistics(logits, targets[part]), strict=True):
                kept[part] = value
        del block
    lp, mu, sigma, rank = fetched([lp, mu, sigma, rank])
    if not all(bool(torch.isfinite(value).all()) for value in (lp, mu, sigma)):
        raise AtlasError("the model's logits contain NaN or infinite values; check its weights and dtype.")
    return lp, mu, sigma, rank


def distribution_statistics(logits: Float[Tensor, "tokens vocabulary"], targets: Int[Tensor, " tokens"]) -> Statistics:
    """lp, mu, sigma, rank (as in token_statistics) from logits (N, V) fp32, which are overwritten; targets (N,)."""
    came = logits.gather(1, targets[:, None])
    # As fp32, which counts exactly below 2**24: comparisons that write booleans take five times as long on a CPU.
    rank = torch.gt(logits, came, out=torch.empty_like(logits)).sum(1).to(torch.int32)
    top = logits.amax(1, keepdim=True)
    came = (came - top).squeeze(1)
    shifted = logits.sub_(top).clamp_(min=_NEVER)
    weight = shifted.exp()
    total = weight.sum(1)
    mean = torch.linalg.vecdot(weight, shifted) / total
    # From deviations, not from E[x^2] - E[x]^2, which cancels.
    variance = torch.linalg.vecdot(weight, shifted.sub_(mean[:, None]).square_()) / total
    return came - total.log(), mean - total.log(), variance.sqrt(), rank


def logits_of(model: PreTrainedModel, states: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens vocabulary"]:
    """Logits of last hidden states (N, d), before `scaled`.

    By the unembedding; of a family that does more than that (a layer before it, factors and caps of other names) by the
    model's own forward around a stack that hands out `states`, as `check_head` has seen.
    """
    if (template := _OWN.get(model)) is None:
        return unembedding(model)(states)
    stack, given = decoder_stack(model), copy.copy(template)
    given.last_hidden_state = states[None]
    before = stack.__dict__.get("forward")
    stack.__dict__["forward"] = lambda *args, **kwargs: given
    try:
        ids = torch.zeros(1, len(states), dtype=torch.long, device=input_device(model))
        return model(input_ids=ids, use_cache=False).logits[0]
    finally:
        stack.__dict__.pop("forward")
        if before is not None:  # accelerate keeps its hooks there
            stack.__dict__["forward"] = before


def scaled(model: PreTrainedModel, logits: Float[Tensor, "tokens vocabulary"]) -> Float[Tensor, "tokens vocabulary"]:
    """`logits_of` with the factor and the soft cap that the configuration names; in place where there is no graph."""
    if model in _OWN:
        return logits
    factor, cap = logit_scaling(model.config)
    graph = logits.requires_grad
    if factor != 1.0:
        logits = logits * factor if graph else logits.mul_(factor)
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap if graph else torch.tanh_(logits.div_(cap)).mul_(cap)
    return logits


def check_head(model: PreTrainedModel) -> None:
    """Compare with the model's own logits on a few tokens, so that no family is measured with a head of another form.

    Where the unembedding alone gives others, `logits_of` goes through the model's own forward from now on. Raises
    AtlasError if that differs too by more than rounding.
    """
    _OWN.pop(model, None)
    device = input_device(model)
    vocabulary = unembedding(model).weight.shape[0]
    ids = torch.arange(1, 9, device=device)[None] % vocabulary
    with torch.no_grad():
        own = model(input_ids=ids, use_cache=False).logits[0].float()
        output = decoder_stack(model)(input_ids=ids, use_cache=False)
        states = output.last_hidden_state[0]
        require_finite(states, model, ids.tolist(), "the last hidden state")
        targets = ids[0].roll(-1)
        expected = own.log_softmax(-1).gather(1, targets[:, None])[:, 0].cpu()
        tolerance = 1e-3 if own.dtype == next(model.parameters()).dtype else 5e-2

        def follows() -> bool:
            lp, _, _, _ = token_statistics(model, states, targets)
            return torch.allclose(lp, expected, rtol=tolerance, atol=tolerance)

        alone = follows()
        if not alone:
            _OWN[model] = output
            alone = follows()
    if not alone:
        del _OWN[model]
        raise AtlasError(
            f"Family {model.config.model_type!r} computes its logits in a way that the log-probabilities of this "
            "workflow do not follow; it is not supported by Min-K%."
        )
