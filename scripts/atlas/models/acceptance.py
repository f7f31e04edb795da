"""Whether a source is a model that can be analysed, from its small files: asked before the weights come in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atlas import json_text
from atlas.errors import AtlasError
from atlas.fetch.allowed_files import ADAPTERS, MERGE
from atlas.models.checkpoint import DEQUANTISED, INDEX, WEIGHTS, choose_weights, quantisation, read_index
from atlas.models.safetensors_files import read_header

# Parts of the names of an adapter's tensors, as peft writes them.
_ADAPTER_TENSORS = (".lora_A.", ".lora_B.", ".lora_embedding_", ".lora_magnitude_vector", ".base_layer.")

# Any of these lets transformers build a tokenizer; a chat template or a list of special tokens alone does not.
_TOKENIZER_SETS = (
    {"tokenizer.json"}, {"tokenizer.model"}, {"spiece.model"}, {"sentencepiece.bpe.model"}, {"vocab.txt"},
    {"vocab.json", "merges.txt"},
)  # fmt: skip

# What the weights are stored as -> the package that reads it.
_PACKAGES = {
    "aqlm": "aqlm", "auto-round": "auto-round", "autoround": "auto-round", "awq": "gptqmodel", "bitnet": "kernels",
    "bitsandbytes": "bitsandbytes", "bitsandbytes_4bit": "bitsandbytes", "bitsandbytes_8bit": "bitsandbytes",
    "compressed-tensors": "compressed-tensors", "eetq": "kernels", "fbgemm_fp8": "fbgemm-gpu",
    "fp_quant": "fp-quant", "gptq": "gptqmodel", "higgs": "flute-kernel", "hqq": "hqq", "modelopt": "nvidia-modelopt",
    "mxfp8": "kernels", "nvfp4": "kernels", "quanto": "optimum-quanto", "quark": "amd-quark", "sinq": "sinq",
    "spqr": "spqr-quant", "torchao": "torchao", "vptq": "vptq",
}  # fmt: skip
# Files in which other tools describe a quantised checkpoint whose config.json says nothing.
_QUANTISED_FILES = {
    "hf_quant_config.json": "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq",
}  # fmt: skip


def check_source(names: Iterable[str], files: Iterable[Path], where: str) -> None:
    """Raises AtlasError unless what a source holds can be a model with plain weights and a tokenizer.

    names: all file names of the source (without folders). files: those that are here already; config.json, the index of
    the shards and headers are read where they are among them. where: how messages name the source. A GGUF file carries
    everything itself and passes.
    """
    known, here = set(names), {path.name: path for path in files}
    _refuse_adapter(known, here, where)
    for name, path in here.items():
        if name.endswith(".safetensors"):
            refuse_adapter_tensors((tensor.name for tensor in read_header(path)), where)
    if not any(name.endswith(".safetensors") for name in known):
        return
    if "config.json" not in known:
        raise AtlasError(f"{where} has no config.json: add the file to the source.")
    if "config.json" in here:
        _refuse_quantised(known, read_json(here["config.json"]), where)
    if "generation_config.json" in here:
        _check_ends(here["generation_config.json"])
    if not any(wanted <= known for wanted in _TOKENIZER_SETS):
        raise AtlasError(f"{where} has no tokenizer files (such as tokenizer.json): add them to the source.")
    index = read_index(here[INDEX]) if INDEX in here else None
    if index is not None or INDEX not in known:
        choose_weights(known, index, where)
    refuse_adapter_tensors(index or (), where)


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file. Raises AtlasError."""
    try:
        content = json_text.load(path.read_bytes())
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise AtlasError(f"{path} is not valid JSON with named values: bring the model in again.")
    return content


def refuse_adapter_tensors(names: Iterable[str], where: str) -> None:
    """Raises AtlasError if a tensor's name is one of a LoRA adapter: its part would be dropped."""
    found = next((name for name in names if any(part in f".{name}" for part in _ADAPTER_TENSORS)), None)
    if found is not None:
        raise AtlasError(f"{where} holds the tensor {found!r} of a LoRA adapter that was not merged: {MERGE}.")


def _refuse_adapter(known: set[str], here: dict[str, Path], where: str) -> None:
    found = next((name for name in ADAPTERS if name in known), None)
    if found is None:
        return
    facts = read_json(here[ADAPTERS[0]]) if ADAPTERS[0] in here else {}
    kind = f"a {facts.get('peft_type', 'LORA')} adapter" if facts else "a LoRA adapter (or another of peft)"
    base = f" of {facts['base_model_name_or_path']}" if facts.get("base_model_name_or_path") else ""
    if WEIGHTS in known or INDEX in known:
        raise AtlasError(
            f"{where} holds {kind}{base} ({found}) beside a model, which would run without it: {MERGE}; or leave the "
            f"adapter's files out to analyse the base model alone (of a hub: `file: {WEIGHTS}`)."
        )
    raise AtlasError(f"{where} is {kind}{base} ({found}), a change of a base model and no model itself: {MERGE}.")


def _refuse_quantised(known: set[str], config: dict[str, Any], where: str) -> None:
    facts = quantisation(config)
    if facts is None:
        found = next((name for name in _QUANTISED_FILES if name in known), None)
        if found is None:
            return
        method, says = _QUANTISED_FILES[found], found
    else:
        method, says = str(facts.get("quant_method") or _bitsandbytes(facts) or "unknown"), "config.json"
    if method in DEQUANTISED:
        if method == "fp8" and str(facts and facts.get("expert_dtype", "fp8")) != "fp8":
            raise AtlasError(
                f"{where} keeps its experts in {(facts or {})['expert_dtype']}, which nothing here reads: save its "
                "weights dequantised to bfloat16 and give that folder."
            )
        return
    package = _PACKAGES.get(method)
    reason = f"which needs the package {package}" if package else "which nothing here reads"
    raise AtlasError(
        f"{where} is quantised ({says}: {method}), {reason}: use the model's unquantised weights, or save them "
        "dequantised to bfloat16 and give that folder."
    )


def _check_ends(path: Path) -> None:
    """Raises AtlasError for end tokens that transformers would pass over, or fail at in the middle of a run."""
    ends = read_json(path).get("eos_token_id")
    for token in ends if isinstance(ends, list) else [ends]:
        if token is not None and (isinstance(token, bool) or not isinstance(token, int)):
            raise AtlasError(f"{path}: eos_token_id {token!r} is no token id: write a whole number or a list of them.")


def _bitsandbytes(facts: dict[str, Any]) -> str | None:
    """Old files of bitsandbytes name no method."""
    return "bitsandbytes" if facts.get("load_in_4bit") or facts.get("load_in_8bit") else None
