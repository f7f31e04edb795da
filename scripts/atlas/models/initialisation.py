"""A model's own initialisation, one part at a time: what `from_config` would draw, in one layer's memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from atlas.errors import AtlasError, reason
from atlas.models.auto_classes import auto_class
from atlas.models.checkpoint import CONSTANTS
from atlas.models.safetensors_files import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

_TORCH_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class FreshWeights:
    """Untrained weights of the architecture in `base`/config.json.

    The model stands on the meta device, without memory. A part of it (a decoder layer, or a module outside the layers)
    gets memory, is initialised by the architecture's own code, and is given up for the next part. Each part has its own
    seed, from `seed` and its name. The layer as a whole is needed because some families scale the initialisation of a
    matrix by its place in the layer (GPT-2's residual projections).
    """

    def __init__(self, base: Path, seed: int, *, tied: bool | None = None) -> None:
        """tied: whether embedding and unembedding are one matrix; None: as config.json says."""
        self.base, self.seed = base, seed
        try:
            config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
            if tied is not None:
                config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = tied
            with torch.device("meta"):
                self.model = auto_class(config).from_config(config, dtype=torch.float32, trust_remote_code=False)
        except (ValueError, KeyError, OSError, ImportError) as error:
            raise AtlasError(
                f"{base}/config.json describes no decoder that can be initialised ({reason(error)})."
            ) from error
        self.spread = getattr(config.get_text_config(), "initializer_range", None) or 0.02
        # Tied parameters are one object under several names; the first name speaks for all, so that ties hold.
        # What a checkpoint holds beside parameters (a router's correction, for one) is part of the model's state too.
        first: dict[int, str] = {}
        self.canonical = {
            name: first.setdefault(id(tensor), name) for name, tensor in self.model.state_dict(keep_vars=True).items()
        }
        transforms = get_model_conversion_mapping(self.model)
        self.renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
        self.converters = [each for each in transforms if isinstance(each, WeightConverter)]
        self.part: str | None = None
        self.drawn: dict[str, Float[torch.Tensor, "*shape"]] = {}

    def shared(self, names: Iterable[str]) -> list[list[str]]:
        """The stored names, of those given, that are one parameter of the model; by parameter, two or more each."""
        groups: dict[str, list[str]] = {}
        for name in names:
            if (parameter := self._parameter(name)) is not None:
                groups.setdefault(parameter, []).append(name)
        return [group for group in groups.values() if len(group) > 1]

    def entries(self, tensor: Tensor) -> np.ndarray | None:
        """New entries for a tensor of the checkpoint, in its dtype; None for one that is not drawn (a constant)."""
        if not tensor.shape or not tensor.is_float or tensor.name.endswith(CONSTANTS):
            return None
        if tensor.dtype not in _TORCH_DTYPES:
            raise AtlasError(f"{self.base}: tensor {tensor.name} is {tensor.dtype}; reinitialise an unquantised model.")
        name = self._parameter(tensor.name)
        if name is not None:
            values = self._drawn(name)
        elif len(tensor.shape) > 1:  # stored in other pieces than the module keeps (experts, for one)
            values = torch.empty(tensor.shape).normal_(0.0, self.spread, generator=self._generator(tensor.name))
        else:
            raise AtlasError(
                f"{self.base}: tensor {tensor.name} is not part of the architecture; it cannot be reinitialised."
            )
        if tuple(values.shape) != tensor.shape:
            stored, implied = (" x ".join(map(str, shape)) for shape in (tensor.shape, values.shape))
            raise AtlasError(
                f"{self.base}: tensor {tensor.name} has the shape {stored}, where config.json implies {implied}; get "
                "the config.json that belongs to the weights."
            )
        values = values.to(_TORCH_DTYPES[tensor.dtype]).contiguous()
        return values.view(torch.int16).numpy() if tensor.dtype == "BF16" else values.numpy()

    def _parameter(self, name: str) -> str | None:
        """The model's name of a checkpoint's tensor; None for a piece of a tensor that transformers puts together.

        Checkpoints of bare models leave the prefix out, others have names that transformers changes while it loads.
        """
        prefix = f"{self.model.base_model_prefix}."
        renamed, piece = rename_source_key(name, self.renamings, self.converters)
        names = (name,) if piece else (name, renamed)
        for candidate in (each for name in names for each in (name, prefix + name, name.removeprefix(prefix))):
            if candidate in self.canonical:
                return self.canonical[candidate]
        return None

    def _drawn(self, name: str) -> Float[torch.Tensor, "*shape"]:
        part = _part(name)
        if part != self.part:
            self.part, self.drawn = part, self._draw(part)
        return self.drawn[name]

    @torch.no_grad()
    def _draw(self, part: str) -> dict[str, Float[torch.Tensor, "*shape"]]:
        """Initialises one part of the model; returns its parameters by their full names."""
        module, owner = self.model.get_submodule(part), self._owner(part)
        module.to_empty(device="cpu")
        for parameter in module.state_dict(keep_vars=True).values():
            if not parameter.is_floating_point():
                continue
            parameter.fill_(float("nan"))  # shows below what the architecture's code does not initialise
            if hasattr(parameter, "_is_hf_initialized"):
                del parameter._is_hf_initialized
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._number(part))
            for member in reversed(list(module.modules())):  # children before parents, as in from_config
                owner._init_weights(member)
        drawn = {f"{part}.{name}": tensor.detach() for name, tensor in module.state_dict(keep_vars=True).items()}
        for name, values in drawn.items():
            if values.isnan().any():
                if values.dim() < 2:
                    raise AtlasError(
                        f"{self.base}: the architecture does not say how {name} is initialised; use `shuffled`."
                    )
                values.normal_(0.0, self.spread, generator=self._generator(name))
        module.to("meta")
        return drawn

    def _owner(self, part: str) -> PreTrainedModel:
        """The innermost model around a part: a vision tower initialises itself otherwise than its wrapper would."""
        names = part.split(".")
        around = (self.model.get_submodule(".".join(names[:length])) for length in range(len(names) - 1, -1, -1))
        return next(module for module in around if isinstance(module, PreTrainedModel))

    def _number(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed} {name}".encode()).digest()[:7], "little")

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(self._number(name))


def _part(name: str) -> str:
    """The part that a parameter belongs to: its numbered layer ('model.layers.3'), or the module that owns it."""
    pieces = name.split(".")
    for place, piece in enumerate(pieces[:-1]):
        if piece.isdigit():
            return ".".join(pieces[: place + 1])
    return ".".join(pieces[:-1])
