"""GGUF to plain Hugging Face layout, once: dequantised to float32 safetensors, so that later loads map the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.disk import disk_errors
from atlas.errors import AtlasError, reason
from atlas.models.gguf_config import carry_over, check_architecture
from atlas.models.gguf_file import GgufFile
from atlas.models.gguf_tensors import check_tensors
from atlas.models.gguf_tokenizer import end_tokens, save_tokenizer
from atlas.models.older_readers import write_old_keys

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_UNQUANTISED = {"F32", "F16", "BF16", "F64"}


def convert_gguf(path: Path, folder: Path) -> str:
    """Writes config, tokenizer and float32 safetensors of a GGUF file into `folder`.

    Every metadata key and every tensor of the file is carried over or refused by name, and the tensors are compared
    with the `gguf` package's own reading. Returns a note for the provenance, such as 'dequantised from Q4_1 to
    float32': the weights are those of the quantised model, not of the original. Raises AtlasError for damaged files,
    architectures without a converter, and what would be dropped.
    """
    file = GgufFile(path)
    check_architecture(file)
    from transformers import AutoConfig, AutoTokenizer

    options: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    with _one_sentence(path), disk_errors(folder):
        config = carry_over(file, AutoConfig.from_pretrained(path.parent, **options))
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
        save_tokenizer(file, tokenizer, folder)
        ends = end_tokens(file)
    file.refuse_unused()
    model = _load(path, config, options)
    check_tensors(file, model)
    if len(ends) > 1 and model.generation_config is not None:
        model.generation_config.eos_token_id = ends
    model.save_pretrained(folder, max_shard_size="5GB")
    write_old_keys(folder, model.config)
    quantisation = file.quantisation()
    if quantisation in _UNQUANTISED:
        return f"converted from GGUF {quantisation} to float32"
    return f"dequantised from {quantisation} to float32"


def _load(path: Path, config: Any, options: dict[str, Any]) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    with _one_sentence(path):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            path.parent, config=config, dtype=torch.float32, **options
        )
    # What is saved is plain float32; these marks would have it read as quantised again.
    setattr(model, "hf_quantizer", None)  # noqa: B010 - typed as a module in nn.Module
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """What is raised for a GGUF that cannot be read, by transformers or for values of a wrong type, as one sentence."""
    try:
        yield
    except AtlasError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise AtlasError(
            f"{path.name} cannot be converted ({reason(error)}): use the model's safetensors through a hub or path "
            "source."
        ) from error
