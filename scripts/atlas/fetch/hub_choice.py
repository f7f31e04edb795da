"""Which files of a hub's repository are taken: weights and data that cannot run code, and what belongs to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atlas.data.suffixes import DATA_SUFFIXES
from atlas.errors import AtlasError
from atlas.fetch.allowed_files import ADAPTERS, CONFIGS, MERGE, PICKLES, TOKENIZERS, allowed, is_about
from atlas.fetch.files import is_plain_path
from atlas.fetch.hub_splits import matching, split_files
from atlas.names import closest


def choose_files(names: list[str], what: str, *, file: str | None = None, repo_type: str = "model") -> list[str]:
    """Which of a repository's files to take: data and weights that cannot run code, and what belongs to them.

    Raises AtlasError: `file` is not there or of a refused type, only pickled weights, nothing usable.
    """
    model = repo_type == "model"
    if file:
        if file not in names:
            raise AtlasError(f"{what} has no file {file!r}{closest(file, names)}: correct `file`.")
        if not allowed(file, model):
            kinds = "safetensors or GGUF" if model else ", ".join(DATA_SUFFIXES)
            raise AtlasError(f"{what}: {file} is of a type that is not taken (only {kinds}); name another file.")
        extra = (
            [name for name in names if name in CONFIGS + TOKENIZERS] if file.endswith(".safetensors") and model else []
        )
        return sorted({file, *extra} - ({"model.safetensors.index.json"} if extra else set()))
    taken = [name for name in names if allowed(name, model) and (not model or "/" not in name)]
    if not model:
        if not any(name.endswith(DATA_SUFFIXES) for name in taken):
            raise _no_data(what)
        return sorted(taken)
    safetensors = [name for name in taken if name.endswith(".safetensors")]
    ggufs = [name for name in taken if name.endswith(".gguf")]
    if not safetensors and len(ggufs) > 1:
        raise AtlasError(f"{what} has {len(ggufs)} GGUF files: name one under `file`, such as {sorted(ggufs)[0]}.")
    if not safetensors and not ggufs:
        raise no_safe_weights(what, names)
    return sorted(name for name in once(taken) if not (safetensors and name.endswith(".gguf")))


def choose_rows(
    names: list[str],
    what: str,
    card: Mapping[str, Any],
    *,
    patterns: list[str] | None,
    split: str | None,
    config: str | None,
) -> list[str]:
    """The files of a data set that rows are read from, one behind the other, in the order of their names.

    card: the metadata of README.md. Raises AtlasError: nothing fits, or files of several types.
    """
    data = [
        name for name in names if name.endswith(DATA_SUFFIXES) and allowed(name, model=False) and not is_about(name)
    ]
    if not data:
        raise _no_data(what)
    found = matching(data, patterns, what) if patterns else split_files(data, card, config, split or "", what)
    types = {max((suffix for suffix in DATA_SUFFIXES if name.endswith(suffix)), key=len): name for name in found}
    if len(types) > 1:
        raise AtlasError(
            f"{what} has files of several types there ({', '.join(types.values())}): take one by `patterns`."
        )
    return found


def _no_data(what: str) -> AtlasError:
    known = ", ".join(DATA_SUFFIXES)
    return AtlasError(f"{what} has no data file of a known type ({known}): use a url or path source.")


def read_card(readme: Path, what: str) -> Mapping[str, Any]:
    """The metadata of a repository's README.md; {} where it has none. Raises AtlasError where it cannot be read."""
    import yaml
    from huggingface_hub import metadata_load

    try:
        return metadata_load(readme) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AtlasError(
            f"{what} has a card in README.md that cannot be read: name its files by `patterns`."
        ) from error


def hub_problems(options: Mapping[str, Any], model: bool) -> Iterator[str]:
    """What is wrong in the options of a hub source, as ends of sentences that begin with its place.

    model: whether it is of a model and not of a data set.
    """
    told = [key for key in ("config", "split", "patterns") if options.get(key)]
    if told and model:
        yield f".{told[0]}: data sets have it, models do not; take it out, or name one GGUF under file."
    elif told and (other := next((key for key in ("file", "files") if options.get(key)), None)):
        yield f".{told[0]}: {other} says already which files are taken; keep one of the two."
    elif "patterns" in told and len(told) > 1:
        yield f".patterns: {told[0]} says already which files are taken; keep one of the two."
    elif told == ["config"]:
        yield ".config: a configuration has several splits; give split too, such as split: test."
    split = options.get("split") or ""
    if found := re.search(r"[\[+]", split):
        whole = split[: found.start()].strip() or "train"
        if found[0] == "[":
            yield (
                f".split: {split!r} is a part of a split, and splits are taken whole; give split: {whole}, and beside "
                "the source limit: n (its first rows) or sample: {n: n} (rows drawn from all of it)."
            )
        else:
            yield (f".split: {split!r} is several splits; give split: {whole} alone, or name all files by `patterns`.")
    for pattern in options.get("patterns") or ():
        if not is_plain_path(pattern):
            yield f".patterns: {pattern!r} is no plain path; write it without a slash at its beginning, '.' and '..'."


def once(names: list[str]) -> list[str]:
    """Without `consolidated` files where there are others: the same weights once more, in another library's layout."""
    safetensors = [name for name in names if name.endswith(".safetensors")]
    consolidated = [name for name in safetensors if name.startswith("consolidated")]
    return [name for name in names if name not in consolidated or len(consolidated) == len(safetensors)]


def no_safe_weights(what: str, names: list[str]) -> AtlasError:
    """The error for a model without safetensors or GGUF, depending on what is there instead."""
    if adapter := [name for name in ADAPTERS if name in names]:
        return AtlasError(
            f"{what} is a LoRA adapter or another of peft ({adapter[0]}), a change of a base model and no model itself:"
            f" {MERGE}."
        )
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if pickles:
        return AtlasError(
            f"{what} has its weights only as {pickles[0]}, which can run code when it is opened and is never loaded: "
            "use a repository or commit with safetensors, or convert it yourself and use a path source."
        )
    return AtlasError(f"{what} has no weights (*.safetensors or *.gguf): check that it is the right place.")
