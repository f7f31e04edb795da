"""GGUF to plain Hugging Face layout, once: dequantised to float32 safetensors, so that later loads map the file."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.errors import AtlasError

_UNQUANTISED = {"F32", "F16", "BF16", "F64"}


def gguf_quantisation(path: Path) -> str:
    """The tensor type that holds most of a GGUF file's numbers, such as 'Q4_1' or 'F16'.

    Raises AtlasError: not a GGUF file, cut off, or one piece of several.
    """
    from gguf import GGUFReader

    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise AtlasError(f"{path.name} is not a GGUF file (it does not begin with 'GGUF'): check the source.")
    try:
        reader = GGUFReader(path)
        counts: Counter[str] = Counter()
        for tensor in reader.tensors:
            counts[tensor.tensor_type.name] += int(tensor.n_elements)
        split = reader.fields.get("split.count")
        pieces = int(split.contents()) if split is not None else 1
    except (ValueError, IndexError, OSError, KeyError) as error:
        raise AtlasError(f"{path.name} is a damaged or cut-off GGUF file ({error}): download it again.") from error
    if pieces > 1:
        raise AtlasError(f"{path.name} is one of {pieces} pieces of a model: merge them with gguf-split first.")
    if not counts:
        raise AtlasError(f"{path.name} holds no tensors: it is a vocabulary or an empty file, not a model.")
    return counts.most_common(1)[0][0]


def convert_gguf(path: Path, folder: Path) -> str:
    """Writes config, tokenizer and float32 safetensors of a GGUF file into `folder`.

    Returns a note for the provenance, such as 'dequantised from Q4_1 to float32': the weights are those of the
    quantised model, not of the original. Raises AtlasError for damaged files and architectures without a converter.
    """
    quantisation = gguf_quantisation(path)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    with _one_sentence(path):
        model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **options)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
    # What is saved is plain float32; these marks would have it read as quantised again.
    setattr(model, "hf_quantizer", None)  # noqa: B010 - typed as a module in nn.Module
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder, max_shard_size="5GB")
    tokenizer.save_pretrained(folder)
    if quantisation in _UNQUANTISED:
        return f"converted from GGUF {quantisation} to float32"
    return f"dequantised from {quantisation} to float32"


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """What transformers raises for a GGUF that it cannot read, as one sentence."""
    try:
        yield
    except Exception as error:  # the tokenizers library raises bare Exceptions
        reason = str(error).strip().split("\n")[0][:200].rstrip(".")
        raise AtlasError(
            f"{path.name} cannot be converted ({reason}): use the model's safetensors through a hub or path source."
        ) from error
