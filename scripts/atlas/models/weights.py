"""Weights of one layer at a time straight from safetensors, in the layout the analyses speak of.

No model is built: what is read is mapped from the file, so a 70B model needs the memory of one layer and of its
unembedding. Orientation everywhere: row vectors, x W_V (width, value_width), z W_O (value_width, width).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.errors import AtlasError
from atlas.models.architectures import Norm, auto_config, family_of, read_config, read_shape
from atlas.models.checkpoint import read_checkpoint, vocabulary_roles
from atlas.models.folder import check_model_folder
from atlas.models.safetensors_files import DTYPE_NAMES, ITEM_BYTES, Tensor, read_bytes

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped

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
        content = read_config(folder)
        self.model_type = content["model_type"]
        self.family = family_of(self.model_type, purpose=purpose)
        self.config = auto_config(folder)
        for key, assumed, meaning in self.family.conditions:
            if getattr(self.config, key) != assumed:
                raise AtlasError(
                    f"Model {folder}: {self.model_type} with {key}: {getattr(self.config, key)} ({meaning}) is not "
                    f"supported by {purpose}."
                )
        self.shape = read_shape(self.config)
        self._files = read_checkpoint(self.folder, content)
        self._embedding, self._unembedding = vocabulary_roles(
            self._files, self.family, bool(self.config.tie_word_embeddings)
        )
        if self._embedding not in self._files:
            name = self.family.prefixes[0] + self.family.embedding
            raise AtlasError(f"Model {folder} holds no tensor {name!r}; is config.json from another model?")

    def embedding_rows(self, ids: Int[torch.Tensor, " n"]) -> Float[torch.Tensor, "n width"]:
        """(n, width): rows of the input embedding as stored (no position, no multiplier)."""
        table = self._tensor(self._embedding, (None, self.shape.width), checked=False)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
            raise AtlasError(f"Token {int(ids.max())} is outside the {len(table)} embeddings of model {self.folder}.")
        rows = table[ids.cpu()].to(self.device)
        return self._finite(rows, self._embedding)

    def unembedding(self) -> Float[torch.Tensor, "vocabulary width"]:
        """(vocabulary, width): the matrix that makes logits; the input embedding where the two are tied."""
        if self._unembedding not in self._files:
            raise AtlasError(
                f"Model {self.folder} holds no tensor {self._unembedding!r}, though its embeddings are not tied."
            )
        return self._tensor(self._unembedding, (None, self.shape.width)).to(self.device)

    def value_weights(self, layer: int) -> Float[torch.Tensor, "kv_heads width value_width"]:
        """(kv_heads, width, value_width): W_V of each value head."""
        shape, layout = self.shape, self.family.value_layout
        heads, rows = shape.kv_heads, shape.kv_heads * shape.value_width
        name = self._layer(layer) + self.family.value + ".weight"
        if layout == "linear":
            weight = self._tensor(name, (rows, shape.width))
        elif layout == "fused_rows":
            total = shape.heads * shape.head_width + shape.kv_heads * shape.head_width + rows
            weight = self._tensor(name, (total, shape.width))[-rows:]
        elif layout == "interleaved":
            weight = self._tensor(name, (3 * rows, shape.width)).view(heads, 3, shape.value_width, shape.width)[:, 2]
        elif layout == "conv1d":
            weight = self._tensor(name, (shape.width, 3 * rows))[:, -rows:].T
        else:
            raise ValueError(layout)
        return weight.reshape(heads, shape.value_width, shape.width).transpose(1, 2).to(self.device)

    def output_weights(self, layer: int) -> Float[torch.Tensor, "heads value_width width"]:
        """(heads, value_width, width): W_O of each query head."""
        shape = self.shape
        columns = shape.heads * shape.value_width
        name = self._layer(layer) + self.family.output + ".weight"
        weight = self._linear(name, columns, shape.width)
        return weight.reshape(shape.heads, shape.value_width, shape.width).to(self.device)

    def first_mlp(self, rows: Float[torch.Tensor, "n width"]) -> Float[torch.Tensor, "n width"]:
        """(n, width) -> (n, width): what layer 0's MLP adds to the residual, MLP_0(norm_0(rows)), biases included.

        Where the family norms the MLP's output before adding it (Gemma 2 and 3, OLMo 2), that norm is applied.
        """
        family, prefix, dtype = self.family, self._layer(0), rows.dtype
        if family.mlp is None:
            raise AtlasError(
                f"Model {self.folder}: {self.model_type} has no dense first MLP (it is a mixture of experts); "
                "set first_mlp: false."
            )
        from transformers.activations import ACT2FN

        mlp, act = family.mlp, ACT2FN[getattr(self.config, family.mlp.activation)]
        x = self._norm(family.norm, rows)
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
        return self._norm(family.mlp_out_norm, out)

    def _norm(self, norm: Norm | None, x: Float[torch.Tensor, "n width"]) -> Float[torch.Tensor, "n width"]:
        if norm is None:
            return x
        eps = 1e-5 if norm.eps is None else getattr(self.config, norm.eps)
        name = self._layer(0) + norm.name
        if norm.kind == "layernorm":
            x = x - x.mean(-1, keepdim=True)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
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
        name = record.name
        if record.dtype not in DTYPE_NAMES:
            raise AtlasError(f"Model {self.folder}: tensor {name!r} is quantised ({record.dtype}); convert it first.")
        tensor = _mapped(path, record)
        if tensor.dim() != len(size) or any(
            want not in (None, have) for want, have in zip(size, tensor.shape, strict=True)
        ):
            expected = " x ".join("any" if n is None else str(n) for n in size)
            raise AtlasError(
                f"Model {self.folder}: tensor {name!r} has the shape {' x '.join(map(str, tensor.shape))} where "
                f"config.json implies {expected}."
            )
        return self._finite(tensor, name) if checked else tensor

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


def _mapped(path: Path, record: Tensor) -> Shaped[torch.Tensor, "*size"]:
    """A tensor whose bytes stay in the file (copy on write): memory holds only the pages in use, and may drop them."""
    kind, item = getattr(torch, DTYPE_NAMES[record.dtype]), ITEM_BYTES[record.dtype]
    if record.begin % item or not record.size:
        raw = read_bytes(path, record).view(f"<i{item}")
    else:
        raw = np.memmap(path, dtype=f"<i{item}", mode="c", offset=record.begin, shape=(record.size,))
    return torch.from_numpy(raw).view(kind).view(record.shape)
