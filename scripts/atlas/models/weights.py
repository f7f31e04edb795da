"""Weights of one layer at a time straight from safetensors, in the layout the analyses speak of.

No model is built: what is read is mapped from the file, so a 70B model needs the memory of one layer and of its
unembedding. Orientation everywhere: row vectors, x W_V (width, value_width), z W_O (value_width, width).
"""

from __future__ import annotations

import re
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from atlas.errors import AtlasError
from atlas.models.architectures import auto_config, read_config, read_shape
from atlas.models.checkpoint import quantisation, read_checkpoint, vocabulary_roles
from atlas.models.families import FAMILIES, family_of
from atlas.models.family_record import Family, Mlp, Norm
from atlas.models.folder import check_model_folder
from atlas.models.safetensors_files import DTYPE_NAMES
from atlas.models.stored_tensors import FP8, dequantised, mapped, scale_names
from atlas.models.unreadable import UNREADABLE
from atlas.models.value_layouts import stored_shape, value_heads

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from transformers import PreTrainedConfig

# How the experts of a mixture's first layer are taken, and with "first_mlp" what may stand for a source above layer 0.
FIRST_EXPERTS = ("embedding", "routed", "expert_mean")
# Columns of the MLP's inner layer handled at once; fixed, so that no option changes the order of summation.
_MLP_CHUNK = 1024


class WeightReader:
    """Tensors of the checkpoint in `folder` by their role.

    Tensors come in the stored dtype (views where possible); `first_mlp` computes in the dtype of its input.
    Raises AtlasError for families outside the table, missing tensors, unexpected sizes and non-finite values.
    """

    def __init__(
        self, folder: str | Path, *, device: str | torch.device = "cpu", purpose: str = "head categories"
    ) -> None:
        self.folder, self.device = Path(folder), device
        if (self.folder / "provenance.json").is_file():
            check_model_folder(self.folder)
        content, config = read_config(folder), auto_config(folder)
        self._quantisation = quantisation(content)
        self.config = config.get_text_config()
        self.model_type = self.config.model_type
        self.family = self._record(config, purpose)
        for key, assumed, meaning in self.family.conditions:
            if (found := attrgetter(key)(self.config)) != assumed:
                raise AtlasError(
                    f"Model {folder}: {self.model_type} with {key}: {found} ({meaning}) is not supported by {purpose}."
                )
        self.shape = read_shape(self.config)
        self._files = read_checkpoint(self.folder, content, self.family)
        self._embedding, self._unembedding = vocabulary_roles(
            self._files, self.family, bool(getattr(config, "tie_word_embeddings", False))
        )
        listed = self.model_type in FAMILIES
        if self._embedding not in self._files:
            name = self.family.prefixes[0] + self.family.embedding
            why = "is config.json from another model?" if listed else f"{self.model_type} has no record that names it."
            raise AtlasError(f"Model {folder} holds no tensor {name!r}; {why}")
        if not listed:
            from atlas.models.unlisted import check_heads

            check_heads(self, purpose)

    def _record(self, config: PreTrainedConfig, purpose: str) -> Family:
        """The record of the family, for the names of a multimodal wrapper where the decoder is part of one."""
        if self.model_type in FAMILIES or self.model_type in UNREADABLE:
            family = family_of(self.model_type, purpose=purpose)
        else:
            from atlas.models.unlisted import derived_family

            return derived_family(self.folder, purpose)
        return family if self.config is config else family.in_wrapper()

    def embedding_rows(self, ids: Int[torch.Tensor, " n"]) -> Float[torch.Tensor, "n width"]:
        """(n, width): rows of the input embedding as stored (no position, no multiplier)."""
        table = self._tensor(self._embedding, (None, self.shape.width), checked=False)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
            raise AtlasError(f"Token {int(ids.max())} is outside the {len(table)} embeddings of model {self.folder}.")
        rows = table[ids.cpu()].to(self.device)
        return self._finite(rows, self._embedding)

    def embedded(self, ids: Int[torch.Tensor, " n"], dtype: torch.dtype) -> Float[torch.Tensor, "n width"]:
        """(n, width): W_E of each token in `dtype`; with the norm that is part of some embeddings (Bloom)."""
        return self._norm(self.family.embedding_norm, self.embedding_rows(ids).to(dtype), "")

    def unembedding(self) -> Float[torch.Tensor, "vocabulary width"]:
        """(vocabulary, width): the matrix that makes logits; the input embedding where the two are tied."""
        if self._unembedding not in self._files:
            raise AtlasError(
                f"Model {self.folder} holds no tensor {self._unembedding!r}, though its embeddings are not tied."
            )
        return self._tensor(self._unembedding, (None, self.shape.width)).to(self.device)

    def has_attention(self, layer: int) -> bool:
        """Whether layer `layer` has attention heads; all have them but some of hybrid models."""
        return not self.family.hybrid or self._layer(layer) + self.family.value + ".weight" in self._files

    def value_weights(self, layer: int) -> Float[torch.Tensor, "kv_heads width value_width"]:
        """(value heads, width, value_width): W_V of each value head; query head h reads h // (heads / value heads)."""
        shape, layout, name = self.shape, self.family.value_layout, self._layer(layer) + self.family.value + ".weight"
        if layout == "latent":
            return self._latent_values(layer, name).transpose(1, 2).to(self.device)
        stored = self._tensor(name, stored_shape(layout, shape))
        return value_heads(stored, layout, shape).transpose(1, 2).to(self.device)

    def _latent_values(self, layer: int, name: str) -> Float[torch.Tensor, "heads value_width width"]:
        """Values of a latent: its projection, the gain of its norm, and what each head reads of it, as one matrix."""
        rank, key_width = self.config.kv_lora_rank, self.config.qk_nope_head_dim
        projection, norm = (self._layer(layer) + part + ".weight" for part in self.family.latent)
        down = self._tensor(projection, (rank + self.config.qk_rope_head_dim, self.shape.width))[:rank]
        gain = self._tensor(norm, (rank,))
        read = value_heads(
            self._tensor(name, stored_shape("latent", self.shape, key_width, rank)), "latent", self.shape
        )
        return (read.float() * gain.float()) @ down.float()

    def output_weights(self, layer: int) -> Float[torch.Tensor, "heads value_width width"]:
        """(heads, value_width, width): W_O of each query head, with the gain of a norm right before it (BitNet)."""
        shape, family = self.shape, self.family
        columns = shape.heads * shape.value_width
        weight = self._linear(self._layer(layer) + family.output + ".weight", columns, shape.width)
        if family.inner_norm:
            gain = self._tensor(self._layer(layer) + family.inner_norm + ".weight", (columns,))
            weight = weight.float() * gain.float()[:, None]
        return weight.reshape(shape.heads, shape.value_width, shape.width).to(self.device)

    @cached_property
    def first_mlp_kind(self) -> str:
        """What layer 0 has beside its mixer: "dense" MLP, "mixture" of experts, or "none" (Nemotron-H)."""
        prefix = self._layer(0)
        names = [name.removeprefix(prefix) for name in self._files if name.startswith(prefix)]
        if any("expert" in name or ".router." in name for name in names):
            return "mixture"
        mixer = self.family.value.partition(".")[0]
        matrices = {name.partition(".")[0] for name in names if not {"norm", "bias"} & set(re.split(r"[._]", name))}
        return "dense" if len(matrices - {mixer}) else "none"

    def first_state(self, first_mlp: bool, first_experts: str) -> str:
        """What stands for a source token above layer 0: "first_mlp", or one of FIRST_EXPERTS.

        Raises AtlasError: an unknown `first_experts`; a first layer without an MLP.
        """
        if first_experts not in FIRST_EXPERTS:
            raise AtlasError(f"first_experts must be one of {', '.join(FIRST_EXPERTS)}, not {first_experts!r}.")
        if not first_mlp:
            return "embedding"
        if self.first_mlp_kind == "none":
            raise AtlasError(
                f"Model {self.folder}: the first layer of {self.model_type} has no MLP; set first_mlp: false."
            )
        return "first_mlp" if self.first_mlp_kind == "dense" else first_experts

    def lifted(self, rows: Float[torch.Tensor, "n width"], state: str) -> Float[torch.Tensor, "n width"]:
        """(n, width) -> (n, width): embeddings as the state that `first_state` gives.

        "first_mlp": what layer 0's MLP adds to the residual, MLP_0(norm_0(rows)), biases included; where the family
        norms the MLP's output before adding it (Gemma 2 and 3, OLMo 2), that norm is applied. "routed", "expert_mean":
        the same of a mixture, by the experts that its router chooses for the row, or all in equal parts. Without a
        record of the MLP, and for mixtures, the layer is built and run as transformers does (first_layer.py).
        """
        if state == "embedding":
            return rows
        if state != "first_mlp" or self.family.mlp is None:
            from atlas.models.first_layer import FirstLayer

            return FirstLayer(self.folder, self.device).first_mlp(rows, mean=state == "expert_mean")
        return self._stored_mlp(rows, self.family.mlp)

    def _stored_mlp(self, rows: Float[torch.Tensor, "n width"], mlp: Mlp) -> Float[torch.Tensor, "n width"]:
        from transformers.activations import ACT2FN

        family, prefix, dtype = self.family, self._layer(0), rows.dtype
        fixed = mlp.activation.startswith("=")
        act = ACT2FN[mlp.activation[1:] if fixed else getattr(self.config, mlp.activation)]
        x = self._norm(family.norm, rows, prefix)
        fused = mlp.gate == mlp.up
        up, up_bias = self._matrix(prefix + mlp.up, self.shape.width, None)
        inner = up.shape[1] // 2 if fused else up.shape[1]
        down, down_bias = self._matrix(prefix + mlp.down, inner, self.shape.width)
        gate = gate_bias = None
        if fused:
            gate, up = up[:, :inner], up[:, inner:]
            gate_bias, up_bias = (None, None) if up_bias is None else (up_bias[:inner], up_bias[inner:])
        elif mlp.gate is not None:
            gate, gate_bias = self._matrix(prefix + mlp.gate, self.shape.width, inner)

        out = torch.zeros_like(rows)
        for start in range(0, inner, _MLP_CHUNK):
            part = slice(start, start + _MLP_CHUNK)
            hidden = _affine(x, up, up_bias, part, dtype)
            hidden = act(hidden) if gate is None else act(_affine(x, gate, gate_bias, part, dtype)) * hidden
            out += hidden @ down[part].to(self.device, dtype)
        if down_bias is not None:
            out += down_bias.to(self.device, dtype)
        return self._norm(family.mlp_out_norm, out, prefix)

    def _norm(
        self, norm: Norm | None, x: Float[torch.Tensor, "n width"], prefix: str
    ) -> Float[torch.Tensor, "n width"]:
        if norm is None:
            return x
        eps = getattr(self.config, norm.eps) if isinstance(norm.eps, str) else norm.eps
        name = prefix + norm.name
        if norm.kind == "layernorm":
            x = x - x.mean(-1, keepdim=True)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
        if not norm.name:
            return x
        x = x * (self._tensor(name + ".weight", (self.shape.width,)).to(x) + norm.gain_offset)
        if norm.kind == "layernorm" and name + ".bias" in self._files:
            x = x + self._tensor(name + ".bias", (self.shape.width,)).to(x)
        return x

    def _layer(self, layer: int) -> str:
        return self.family.layer.format(layer=layer)

    def _linear(self, name: str, inputs: int, outputs: int | None) -> Float[torch.Tensor, "inputs outputs"]:
        """(inputs, outputs) view, however it is stored."""
        if self.family.transposed:
            return self._tensor(name, (inputs, outputs))
        return self._tensor(name, (outputs, inputs)).T

    def _matrix(
        self, name: str, inputs: int, outputs: int | None
    ) -> tuple[Float[torch.Tensor, "inputs outputs"], Float[torch.Tensor, " outputs"] | None]:
        """(matrix, bias); the bias is None where the checkpoint has none."""
        bias = self._tensor(name + ".bias", (outputs,)) if name + ".bias" in self._files else None
        return self._linear(name + ".weight", inputs, outputs), bias

    def _tensor(self, name: str, size: tuple[int | None, ...], *, checked: bool = True) -> Float[torch.Tensor, "*size"]:
        """The tensor of the role `name` on the CPU, mapped from its file; `size` is checked where it is not None."""
        if name not in self._files:
            stored = self.family.prefixes[0] + name
            raise AtlasError(f"Model {self.folder} lacks the tensor {stored!r}; download it again.")
        path, record = self._files[name]
        role, name = name, record.name
        if record.dtype in FP8:
            tensor = self._dequantised(role)
        elif record.dtype in DTYPE_NAMES:
            tensor = mapped(path, record)
        else:
            raise AtlasError(f"Model {self.folder}: tensor {name!r} is quantised ({record.dtype}); convert it first.")
        if tensor.dim() != len(size) or any(
            want not in (None, have) for want, have in zip(size, tensor.shape, strict=True)
        ):
            expected = " x ".join("any" if n is None else str(n) for n in size)
            raise AtlasError(
                f"Model {self.folder}: tensor {name!r} has the shape {' x '.join(map(str, tensor.shape))} where "
                f"config.json implies {expected}."
            )
        return self._finite(tensor, name) if checked else tensor

    def _dequantised(self, role: str) -> Float[torch.Tensor, "rows columns"]:
        """A matrix in FP8 as float32. Raises AtlasError where its scales are missing or do not fit."""
        path, record = self._files[role]
        scales = next((self._files[name] for name in scale_names(role) if name in self._files), None)
        known = scales is not None and (scales[1].dtype in DTYPE_NAMES or scales[1].dtype == "U8")
        if scales is None or not known or len(record.shape) != 2:
            raise AtlasError(
                f"Model {self.folder}: tensor {record.name!r} is quantised ({record.dtype}) without scales that can be "
                "read; convert it first."
            )
        block = (self._quantisation or {}).get("weight_block_size")
        try:
            return dequantised(mapped(path, record), mapped(*scales), block, record.name)
        except AtlasError as error:
            raise AtlasError(f"Model {self.folder}: {error}") from None

    def _finite(self, tensor: Float[torch.Tensor, "*size"], name: str) -> Float[torch.Tensor, "*size"]:
        # A sum is finite unless an entry is not, or it overflows: only then look at every entry. Parts keep the copies
        # that sums in another dtype make small.
        for part in tensor.flatten().split(1 << 24):
            if torch.isfinite(part.sum(dtype=torch.float32)) or torch.isfinite(part).all():
                continue
            raise AtlasError(f"Model {self.folder}: tensor {name!r} holds NaN or infinite values; download it again.")
        return tensor


def _affine(
    x: Float[torch.Tensor, "n inputs"],
    weight: Float[torch.Tensor, "inputs outputs"],
    bias: Float[torch.Tensor, " outputs"] | None,
    part: slice,
    dtype: torch.dtype,
) -> Float[torch.Tensor, "n part"]:
    """x @ weight + bias, of the outputs `part` alone, in `dtype` on the device of x."""
    out = x @ weight[:, part].to(x.device, dtype)
    return out if bias is None else out + bias[part].to(x.device, dtype)
