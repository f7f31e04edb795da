"""The two variants of benchmarks/saliency.py, the published way and the workflow's, and the texts that both read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float
    from transformers import PreTrainedModel
    from transformers.models.llama.modeling_llama import LlamaAttention

    from atlas.analyses.saliency.answered_samples import AnsweredSample
    from atlas.analyses.saliency.extract import SampleProbe


class Case(NamedTuple):
    """Texts of `tokens`, the first `shared` of them the same in all; `at_once`: texts of a batch."""

    tokens: int
    shared: int
    texts: int
    at_once: int


CASES = {
    "shared": Case(1024, 960, 4, 1),
    "alone": Case(1024, 960, 1, 1),
    "whole": Case(1024, 0, 1, 1),
    "whole_last": Case(1024, 0, 1, 1),
    "batch": Case(128, 0, 8, 8),
    "batch_last": Case(128, 0, 8, 8),
}


def texts(case: str, vocabulary: int) -> tuple[list[AnsweredSample], tuple[int, ...]]:
    """(samples, shared ids) of a case; ids are random."""
    import torch

    from atlas.analyses.saliency.answered_samples import AnsweredSample

    length, shared, number, _ = CASES[case]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (number, length), generator=draw)
    ids[:, :shared] = ids[0, :shared].clone()
    sets = (shared, shared + 3, shared + 4), (length - 2, length - 1), (shared, shared + 2, shared + 6)
    return [AnsweredSample(n, tuple(row), *sets) for n, row in enumerate(ids.tolist())], tuple(ids[0, :shared].tolist())


def probe_of(samples: Sequence[AnsweredSample], width: int, layer: int) -> SampleProbe:
    """A random probe of the hidden state `layer`."""
    import numpy as np

    from atlas.analyses.saliency.extract import SampleProbe

    rng = np.random.default_rng(0)
    return SampleProbe(
        layer, rng.normal(size=(len(samples), width)).astype(np.float32) / 30, np.zeros(len(samples), np.float32)
    )


def atlas(
    model: PreTrainedModel,
    samples: Sequence[AnsweredSample],
    shared: tuple[int, ...],
    probe: SampleProbe,
    at_once: int,
) -> Float[np.ndarray, "texts layers flows heads"]:
    """Signed sums by the workflow's extraction."""
    from atlas.analyses.saliency.extract import extract

    budget = at_once * (len(samples[0].ids) - len(shared))
    arrays = extract(model, samples, shared, losses=["probe_logit"], sample_probe=probe, batch_tokens=budget)
    return arrays["probe_logit.signed"]


def eager(
    model: PreTrainedModel,
    samples: Sequence[AnsweredSample],
    shared: tuple[int, ...],
    probe: SampleProbe,
    at_once: int,
) -> Float[np.ndarray, "texts layers flows heads"]:
    """The same by masks of ones on stock eager attention."""
    import numpy as np
    import torch
    from transformers.models.llama import modeling_llama

    from atlas.attention import decoder_layers

    kept: list[torch.Tensor] = []
    state: dict[str, torch.Tensor] = {}

    def attention(
        module: LlamaAttention,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        scaling: float,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
        value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
        scores = torch.matmul(query, key.transpose(2, 3)) * scaling + mask
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        ones = torch.ones_like(weights, requires_grad=True)
        kept.append(ones)
        return torch.matmul(weights * ones, value).transpose(1, 2).contiguous(), None

    own, found = modeling_llama.eager_attention_forward, []
    modeling_llama.eager_attention_forward = attention  # type: ignore[assignment]  # narrower: a mask is always given
    model.set_attn_implementation("eager")
    handle = decoder_layers(model)[probe.layer - 1].register_forward_hook(
        lambda module, args, output: state.update(h=output[0] if isinstance(output, tuple) else output)
    )
    try:
        for start in range(0, len(samples), at_once):
            part = samples[start : start + at_once]
            kept.clear()
            model(input_ids=torch.tensor([sample.ids for sample in part], device=model.device), use_cache=False)
            weight = torch.from_numpy(probe.weight[start : start + at_once]).to(model.device)
            (state["h"][:, -1] * weight).sum().backward()
            found.append(np.stack([_flows(ones, part) for ones in kept[: probe.layer]], 1))
    finally:
        handle.remove()
        modeling_llama.eager_attention_forward = own
        model.set_attn_implementation("sdpa")
    return np.concatenate(found)


def _flows(
    ones: Float[torch.Tensor, "texts heads tokens tokens"], samples: Sequence[AnsweredSample]
) -> Float[np.ndarray, "texts flows heads"]:
    """The sums of one layer."""
    import torch

    s, sample = ones.grad, samples[0]  # d loss / d ones = A * d loss / d A
    assert s is not None, "call it after the backward pass"
    flows = []
    for columns in (sample.question, sample.random):
        picked = torch.stack(
            [s[..., column].masked_fill(torch.arange(s.shape[2], device=s.device) <= column, 0) for column in columns]
        )
        picked = picked.sum(0)
        flows += [picked[..., list(sample.answer)].sum(-1), picked.sum(-1)]
    return torch.stack(flows, 1).cpu().numpy()


VARIANTS: dict[str, Callable[..., Float[np.ndarray, "texts layers flows heads"]]] = {"atlas": atlas, "eager": eager}
