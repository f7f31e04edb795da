"""A checkpoint's tensors against the model that its config.json describes, as transformers itself pairs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from atlas.errors import AtlasError, reason
from atlas.models.architectures import auto_config, read_config
from atlas.models.auto_classes import auto_class
from atlas.models.checkpoint import CONSTANTS, DEQUANTISED, quantisation, read_checkpoint

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def check_structure(folder: Path) -> None:
    """Every tensor of the checkpoint is one of the model, and the other way round; no weight is read.

    Checkpoints with a quantiser are left to the load: it is the quantiser that says which tensors there are.
    Raises AtlasError: as `read_checkpoint` and `refuse_difference`; an architecture that transformers does not know.
    """
    folder, config = Path(folder), read_config(folder)
    read_checkpoint(folder, config)
    if quantisation(config) is not None:
        return
    _, report = from_pretrained(folder, config=auto_config(folder), device_map={"": "meta"}, dtype="auto")
    refuse_difference(report, folder)


def from_pretrained(folder: Path, **options: Any) -> tuple[PreTrainedModel, dict[str, set[Any]]]:
    """transformers' model of a local folder and its report on tensors. Raises AtlasError for what it cannot load."""
    import torch

    quantised = _dequantise(folder, options)
    try:
        loaded: object = auto_class(auto_config(folder)).from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report, with their names
            **options,
        )
    except (AtlasError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise AtlasError(
            f"Model {folder} cannot be loaded ({reason(error)}): correct its config.json, or get it again."
        ) from error
    model, report = cast("tuple[PreTrainedModel, dict[str, set[Any]]]", loaded)
    if quantised and isinstance(dtype := options.get("dtype"), torch.dtype):
        _one_dtype(model, dtype)
    return model, report


def _dequantise(folder: Path, options: dict[str, Any]) -> bool:
    """Sets `options["config"]` so that quantised weights are loaded as plain ones on every device, where there are any.

    transformers does so by itself only where it finds no kernels for them, which round what they multiply.
    """
    facts = quantisation(read_config(folder))
    if facts is None or facts.get("quant_method") not in DEQUANTISED:
        return False
    config = options.get("config") or auto_config(folder)
    config.quantization_config = {**facts, "dequantize": True}
    options["config"] = config
    return True


def _one_dtype(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Casts what the quantiser left as it was stored, beside weights in `dtype`: products of two dtypes fail.

    What the family keeps in float32 stays so.
    """
    import torch

    kept = [*(model._keep_in_fp32_modules_strict or ())]
    kept += (model._keep_in_fp32_modules or ()) if dtype == torch.float16 else ()
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not any(part in name.split(".") for part in kept):
            parameter.data = parameter.data.to(dtype)


def refuse_difference(report: dict[str, set[Any]], folder: Path) -> None:
    """Raises AtlasError where transformers' report names a tensor that is missing, of another shape, or not used.

    transformers draws the first two at random and drops the last; it only warns.
    """
    for name, stored, wanted in sorted(report["mismatched_keys"]):
        raise AtlasError(
            f"Model {folder}: tensor {name!r} has the shape {' x '.join(map(str, stored))} where config.json implies "
            f"{' x '.join(map(str, wanted))}; get the config.json that belongs to the weights."
        )
    if missing := sorted(report["missing_keys"]):
        raise AtlasError(f"Model {folder} lacks the tensor {missing[0]!r} ({len(missing)} missing); download it again.")
    if spare := sorted(name for name in report["unexpected_keys"] if not name.endswith(CONSTANTS)):
        raise AtlasError(
            f"Model {folder} holds the tensor {spare[0]!r}, which a model of its config.json does not have "
            f"({len(spare)} such): it would be dropped; get the config.json that belongs to the weights, or convert "
            "them to the plain layout of the family first."
        )
