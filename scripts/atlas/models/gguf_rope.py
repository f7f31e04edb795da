"""Rotary positions of a GGUF as `rope_parameters`: scaling by keys, and by tensors of factors.

Meanings as in llama.cpp: `linear` divides positions by the factor, and is meant where a factor has no type; `yarn` is
Peng et al. 2023 (2309.00071); the tensors `rope_freqs` (Llama 3) and `rope_factors_long`, `rope_factors_short` (Phi-3)
divide each frequency by a number of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

    from atlas.models.gguf_file import GgufFile

Parameters = dict[str, Any]
FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
# Llama 3.1 and later: frequencies whose wave is longer than 8192 / 1 tokens are divided by the factor, those shorter
# than 8192 / 4 are not, between them it is interpolated.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def rope_parameters(file: GgufFile, base: float, rotated: int, context: int) -> Parameters:
    """`rope_parameters` of transformers from all rope.scaling keys and tensors of factors.

    base: of the rotation. rotated: dimensions of a head that are rotated. context: the file's context length.
    Raises AtlasError: a type or a combination that transformers has no form for.
    """
    kind = file.take("rope.scaling.type")
    factor = float(file.take("rope.scaling.factor") or file.take("rope.scale_linear") or 1.0)
    file.take("rope.scale_linear")
    file.take("rope.scaling.finetuned")  # says how the model was trained, nothing about how it computes
    original = int(file.take("rope.scaling.original_context_length") or context)
    attention = file.take("rope.scaling.attn_factor")
    plain: Parameters = {"rope_type": "default", "rope_theta": base}
    factors = {name: _factors(file, name, rotated) for name in FACTORS if name in file.tensors}
    if kind not in (None, "none", "linear", "yarn", "longrope"):
        raise file.refuse(f"its rotary scaling of the type {kind!r} has no form in transformers")
    if kind not in ("yarn", "longrope") and not set(factors) & set(FACTORS[1:]) and attention not in (None, 1.0):
        raise file.refuse(
            f"the metadata key 'rope.scaling.attn_factor' ({attention}) has no form with its rotary scaling "
            f"({kind or 'none'})"
        )
    if kind == "yarn":
        if factors:
            raise file.refuse(f"yarn scaling together with the tensor {next(iter(factors))!r} has no form")
        return plain | _yarn(file, factor, original, attention)
    if FACTORS[0] in factors:
        if len(factors) > 1 or factor != 1.0 or kind == "longrope":
            raise file.refuse(f"the tensor {FACTORS[0]!r} beside other rotary scaling has no form in transformers")
        return plain | _divided(factors[FACTORS[0]], base, rotated, context)
    if factors or kind == "longrope":
        if len(factors) != 2 or kind == "linear":
            raise file.refuse(f"its longrope scaling is incomplete or mixed (tensors: {', '.join(factors) or 'none'})")
        return plain | _longrope(factors[FACTORS[1]], factors[FACTORS[2]], original, context, attention)
    if kind == "none" or factor == 1.0:
        return plain
    return plain | {"rope_type": "linear", "factor": factor}


def _yarn(file: GgufFile, factor: float, original: int, attention: float | None) -> Parameters:
    for key in ("yarn_ext_factor", "yarn_attn_factor"):
        if (value := file.take(f"rope.scaling.{key}")) not in (None, 1.0):
            raise file.refuse(f"the metadata key 'rope.scaling.{key}' ({value}) has no form in transformers")
    found: Parameters = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    for key in ("beta_fast", "beta_slow"):
        if (value := file.take(f"rope.scaling.yarn_{key}")) is not None:
            found[key] = float(value)
    # llama.cpp multiplies the file's factor with the one that follows from the scaling.
    found["attention_factor"] = (attention or 1.0) * (0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0)
    return found


def _divided(factors: Float[np.ndarray, " half"], base: float, rotated: int, context: int) -> Parameters:
    """Each frequency divided by its own factor: as Llama 3 states it where that gives the same, else one by one."""
    largest = float(factors.max())
    if largest > 1.0 and np.allclose(factors, llama3_factors(largest, base, rotated), rtol=1e-5, atol=0):
        return {"rope_type": "llama3", "factor": largest, **_LLAMA3}
    values = [float(value) for value in factors]
    return _longrope(factors, factors, context, context, 1.0) if any(value != 1.0 for value in values) else {}


def llama3_factors(factor: float, base: float, rotated: int) -> Float[np.ndarray, " half"]:
    """What Llama 3.1 and later divide each frequency by; float64, in the order of the frequencies."""
    waves = 2 * math.pi * base ** (np.arange(0, rotated, 2) / rotated)
    low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
    smooth = np.clip((_LLAMA3["original_max_position_embeddings"] / waves - low) / (high - low), 0.0, 1.0)
    return 1.0 / ((1.0 - smooth) / factor + smooth)


def _longrope(
    long: Float[np.ndarray, " half"],
    short: Float[np.ndarray, " half"],
    original: int,
    context: int,
    attention: float | None,
) -> Parameters:
    if attention is None:
        scale = context / original
        attention = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    return {
        "rope_type": "longrope",
        "long_factor": [float(value) for value in long],
        "short_factor": [float(value) for value in short],
        "original_max_position_embeddings": original,
        "factor": max(1.0, context / original),
        "attention_factor": float(attention),
    }


def _factors(file: GgufFile, name: str, rotated: int) -> Float[np.ndarray, " half"]:
    from gguf import dequantize

    tensor = file.tensors[name]
    values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float64).ravel()
    if len(values) != rotated // 2 or not (np.isfinite(values) & (values > 0)).all():
        raise file.refuse(f"the tensor {name!r} is no list of {rotated // 2} positive factors")
    return values
