"""One way to load a model and a tokenizer: local, safetensors only, no remote code, ready for measuring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import AtlasError, reason
from atlas.models.architectures import auto_config, read_config
from atlas.models.auto_classes import attention_implementation
from atlas.models.checkpoint import read_checkpoint
from atlas.models.devices import choose_device, refuse_spilling
from atlas.models.memory import keep_freed_memory
from atlas.models.precision import chosen_dtype, keep_products_exact, products, stored_dtype
from atlas.models.structure import from_pretrained, refuse_difference
from atlas.models.tokenizer_files import choose, chosen_for

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    DeviceMap = str | dict[str, int | str | torch.device]


def load_model(
    folder: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    device_map: DeviceMap | None = None,
    attn_implementation: str = "auto",
) -> PreTrainedModel:
    """The decoder language model in `folder` (Hugging Face layout), in evaluation mode, parameters frozen.

    dtype: as `precision.chosen_dtype` reads it ("auto": float32 on the CPU, on a GPU bfloat16 where that is safe,
    "bfloat16_if_faster": where a short measurement finds its products faster); device "auto" is the GPU where there is
    one; device_map "auto" spreads a large model over the visible devices (then `device` only says which dtype "auto"
    means);
    attn_implementation "auto" is the fused attention where the family has it, else its own eager function.
    Raises AtlasError for anything a user can act on: an unsuitable folder, dtype, device or family, tensors that are
    missing, are none of the model, have another shape or hold NaN or infinite values, a GPU that torch cannot use, and
    a model that does not fit the GPUs.
    """
    import torch

    folder = Path(folder)
    stored = _check_folder(folder)
    keep_freed_memory()
    device = choose_device(device)
    torch_dtype = chosen_dtype(dtype, device, stored)
    if device != "cpu":
        keep_products_exact()
    config = auto_config(folder)
    attention = attention_implementation(config)
    if device_map is None and device != "cpu":
        device_map = {"": device}  # straight to the GPU, without a copy in main memory
    try:
        model, report = from_pretrained(
            folder,
            config=config,
            dtype=torch_dtype,
            device_map=device_map,
            attn_implementation=attention if attn_implementation == "auto" else attn_implementation,
        )
    except torch.OutOfMemoryError:
        raise AtlasError(
            f"Model {folder} does not fit on {device}; use a smaller dtype, device_map: auto, or device: cpu."
        ) from None
    refuse_spilling(model, folder, device)
    refuse_difference(report, folder)
    _check_finite(model, folder)
    _contiguous_before_the_head(model)
    return model.eval().requires_grad_(False)


def _contiguous_before_the_head(model: PreTrainedModel) -> None:
    """Copy what the unembedding reads where it has strides, in half precision.

    transformers hands it the last state of each row as a view, and torch on a CPU then expands the whole matrix for
    every row: 21 GB for a model of half a billion parameters, and 200 times the time.
    """
    import torch

    head = model.get_output_embeddings()
    if isinstance(head, torch.nn.Module) and next(model.parameters()).dtype != torch.float32:
        head.register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, without network or remote code. Raises AtlasError.

    Where tokenizer.json and transformers' class of the family disagree, the folder's record says which is meant.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AtlasError(f"Tokenizer folder {folder} does not exist; download the model first.")
    try:
        tokenizer = choose(folder, chosen_for(folder))
    except AtlasError as error:
        raise AtlasError(f"The tokenizer in {folder}: {error}.") from error
    except Exception as error:
        raise AtlasError(f"The tokenizer in {folder} cannot be loaded: {reason(error, 600)}.") from error
    if len(tokenizer) == 0:
        raise AtlasError(f"The tokenizer in {folder} has no vocabulary; copy tokenizer.json next to the weights.")
    return tokenizer


def set_threads(n: int) -> None:
    """Use `n` CPU threads inside torch's operators. Raises AtlasError unless `n` is a positive integer."""
    import torch

    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise AtlasError(f"threads must be a positive integer, not {n!r}.")
    torch.set_num_threads(n)


def describe_runtime(model: PreTrainedModel | None = None) -> dict[str, str]:
    """Versions, device, dtype, attention implementation and, on a GPU, TF32, for provenance (plain strings)."""
    import torch
    import transformers

    runtime = {"torch": torch.__version__, "transformers": transformers.__version__}
    if model is None:
        return {**runtime, "device": choose_device("auto"), "dtype": ""}
    parameter = next(model.parameters())
    device = parameter.device.type
    if device == "cuda":
        device = f"cuda ({torch.cuda.get_device_name(parameter.device)})"
        runtime |= products()
    dtype = str(parameter.dtype).removeprefix("torch.")
    return {**runtime, "device": device, "dtype": dtype, "attention": model.config._attn_implementation}


def _check_folder(folder: Path) -> str:
    """The dtype of the weights of a folder that passes: against its record, if the workflow made it, and by headers."""
    if not folder.is_dir():
        raise AtlasError(f"Model folder {folder} does not exist; download the model first.")
    if (folder / "provenance.json").is_file():
        from atlas.models.folder import check_model_folder

        check_model_folder(folder)
    return stored_dtype(tensor for _, tensor in read_checkpoint(folder, read_config(folder)).values())


def _check_finite(model: PreTrainedModel, folder: Path) -> None:
    """One pass over the weights: a sum is finite unless an entry is not (or it overflows: then look closely)."""
    import torch

    for name, parameter in model.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point():
            continue
        parts = parameter.detach().flatten().split(1 << 26)  # small copies where the sum changes the dtype
        if all(torch.isfinite(part.sum(dtype=torch.float32)) for part in parts):
            continue
        bad = sum(int((~torch.isfinite(part)).sum()) for part in parts)
        if bad:
            raise AtlasError(
                f"Model {folder}: tensor {name} holds {bad} NaN or infinite values"
                f"{_layer(name)}; download it again or choose another dtype."
            )


def _layer(name: str) -> str:
    index = next((part for part in name.split(".") if part.isdigit()), None)
    return "" if index is None else f" (layer {index})"
