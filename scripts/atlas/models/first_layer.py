"""The first decoder layer as transformers builds it, alone: what its MLP, or its experts, make of a state.

For families whose first MLP no record describes, and for mixtures of experts. The layer is run with nothing from its
attention (or other mixer), so that what it adds to a state is the contribution of its MLP: MLP_0(norm_0(x)), with
whatever norms, factors and routers the family has there. That it adds, and does nothing else, is checked each time.
In the same way a layer shows what its heads make of one token, for families without a record (unlisted.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.utils import logging

from atlas.errors import AtlasError
from atlas.models.architectures import auto_config, decoder_layers
from atlas.models.structure import from_pretrained

if TYPE_CHECKING:
    from jaxtyping import Float

# The mixer of a layer by its name, and the module of it that writes to the residual.
_MIXERS = (
    "self_attn", "attn", "attention", "self_attention", "linear_attn", "mamba", "conv", "temporal_block", "mixer",
    "multi_head_attention",
)  # fmt: skip
_OUTPUTS = ("o_proj", "out_proj", "c_proj", "dense", "linear_out")
_MLPS = ("mlp", "feed_forward", "ffn", "mlp_block", "block_sparse_moe", "shared_mlp", "fc1", "fc2")
_TOKENS = 1024  # states handled at once
_ADDS = 1e-5  # relative: a layer without its MLP hands its state on, but for rounding


class _Done(Exception):
    """The first layer has run; what follows is not needed."""


class FirstLayer:
    """Layer `index` of the model in `folder`, in float32 on `device`; of the layers above it no tensor is read.

    Raises AtlasError: an architecture or checkpoint that transformers cannot load, tensors that the checkpoint lacks.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu", *, index: int = 0) -> None:
        self.folder, self.device = Path(folder), device
        config = auto_config(folder)
        config.get_text_config().num_hidden_layers = index + 1
        with _without_report():  # it would list the tensors of all other layers as unexpected
            self.model, report = from_pretrained(
                self.folder,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager",
                experts_implementation="eager",
            )
        self.model.eval().requires_grad_(False)
        self.layer: nn.Module = decoder_layers(self.model)[index]
        inside = next(name for name, module in self.model.named_modules() if module is self.layer)
        if missing := sorted(name for name in report["missing_keys"] if name.startswith(f"{inside}.")):
            raise AtlasError(f"Model {folder} lacks the tensor {missing[0]!r}; download it again.")

    @torch.no_grad()
    def first_mlp(self, rows: Float[torch.Tensor, "n width"], *, mean: bool = False) -> Float[torch.Tensor, "n width"]:
        """(n, width) -> (n, width): what the MLP of layer 0 adds to the residual of each token, by float32.

        mean: all experts in equal parts of the weight that the router gives to those it chooses; otherwise those that
        the router chooses for this very token. Raises AtlasError: a layer that does more than to add its attention and
        its MLP; a mixture whose experts are not given their tokens in the common way.
        """
        self._to_device()
        with contextlib.ExitStack() as hooks:
            hooks.enter_context(_silent(self._mixer_outputs()))
            self._check_sum(rows[:1].float())
            if mean:
                hooks.enter_context(_evenly(self.layer, self.folder))
            added = [self.run(part) - part for part in rows.float().split(_TOKENS)]
        return torch.cat(added).to(rows.dtype)

    def _to_device(self) -> None:
        model: nn.Module = self.model
        model.to(self.device)

    @torch.no_grad()
    def run(self, rows: Float[torch.Tensor, "n width"]) -> Float[torch.Tensor, "n width"]:
        """What the layer makes of each row, as a text of one token."""
        found: list[torch.Tensor] = []

        def enter(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
            if given:
                return (rows[:, None], *given[1:]), named
            return given, {**named, "hidden_states": rows[:, None]}

        def leave(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
            found.append(out[0] if isinstance(out, tuple | list) else out)
            raise _Done

        before = self.layer.register_forward_pre_hook(enter, with_kwargs=True)
        after = self.layer.register_forward_hook(leave)
        try:
            self.model(torch.zeros(len(rows), 1, dtype=torch.long, device=self.device), use_cache=False)
        except _Done:
            pass
        finally:
            before.remove()
            after.remove()
        return found[0][:, 0]

    def heads(
        self, rows: Float[torch.Tensor, "n width"], value: str, output: str
    ) -> tuple[Float[torch.Tensor, "n width"], Float[torch.Tensor, "n columns"]]:
        """What the modules `value` and `output` of the layer read of each row, as a text of one token.

        Such a token's heads attend to nothing else, so what `output` reads is what they made of what `value` read.
        """
        read: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Any:
            return lambda module, given: read.update({name: given[0].reshape(len(rows), -1)})

        try:
            modules = {name: self.layer.get_submodule(name) for name in (value, output)}
        except AttributeError:
            raise self._unknown("its layers differ in the names of their modules") from None
        handles = [module.register_forward_pre_hook(keep(name)) for name, module in modules.items()]
        self._to_device()
        try:
            self.run(rows.float())
        finally:
            for handle in handles:
                handle.remove()
        return read[value], read[output]

    def _mixer_outputs(self) -> list[nn.Module]:
        """The modules through which the layer's attention, and other mixers, write. Raises AtlasError."""
        mixers = [module for name in _MIXERS if (module := getattr(self.layer, name, None)) is not None]
        found = [_within(mixer, _OUTPUTS) for mixer in mixers]
        outputs = [module for module in found if module is not None]
        if not mixers or len(outputs) < len(mixers):
            raise self._unknown("its attention has no output projection under a known name")
        return outputs

    def _check_sum(self, row: Float[torch.Tensor, "1 width"]) -> None:
        """Without attention and MLP the layer must hand a state on (or nothing, where its MLP adds the residual)."""
        mlps = [module for name in _MLPS if (module := getattr(self.layer, name, None)) is not None]
        with _silent(mlps):
            left = self.run(row)
        bound = _ADDS * float(row.abs().max())
        if left.shape != row.shape or min(float((left - row).abs().max()), float(left.abs().max())) > bound:
            raise self._unknown("the layer does more than to add them")

    def _unknown(self, why: str) -> AtlasError:
        return AtlasError(
            f"Model {self.folder}: what the MLP of its first layer writes cannot be told from what its attention does "
            f"({why}); set first_mlp: false."
        )


@contextlib.contextmanager
def _without_report() -> Iterator[None]:
    """Inside the block transformers logs errors alone."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _within(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    """The submodule of the first of `names` that there is, also deeper inside (as in GPT-Neo's attention)."""
    inside = {path.rpartition(".")[2]: submodule for path, submodule in module.named_modules()}
    return next((inside[name] for name in names if name in inside), None)


@contextlib.contextmanager
def _silent(modules: list[nn.Module]) -> Iterator[None]:
    """Inside the block the modules give zeros."""

    def zeros(module: nn.Module, given: tuple[Any, ...], out: Any) -> Any:
        if isinstance(out, tuple | list):
            return (torch.zeros_like(out[0]), *out[1:])
        return torch.zeros_like(out)

    handles = [module.register_forward_hook(zeros) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _evenly(layer: nn.Module, folder: Path) -> Iterator[None]:
    """Inside the block every expert of `layer` works on every token, with an equal part of the router's weight."""
    unknown = AtlasError(
        f"Model {folder}: the experts of its first layer are not given tokens and weights in the common way; take "
        "first_experts: routed or embedding."
    )
    stacked = [
        module
        for module in layer.modules()
        if any(p.dim() == 3 for p in module.parameters(recurse=False)) and not isinstance(module, nn.Conv1d)
    ]
    experts = [module for module in stacked if not any(module in other.children() for other in stacked)]
    if len(experts) != 1:
        raise unknown

    def spread(module: nn.Module, given: tuple[Any, ...]) -> Any:
        if len(given) != 3 or given[1].is_floating_point() or not given[2].is_floating_point():
            raise unknown
        states, _, weights = given
        number = next(int(p.shape[0]) for p in module.parameters() if p.dim() == 3)
        every = torch.arange(number, device=states.device).expand(len(weights), number)
        return states, every, (weights.sum(-1, keepdim=True) / number).expand(len(weights), number)

    handle = experts[0].register_forward_pre_hook(spread)
    try:
        yield
    finally:
        handle.remove()
