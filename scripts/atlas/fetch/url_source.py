"""Sources of kind `url`: one file with its sha256, or several files below one address, each with its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from atlas.fetch.allowed_files import allowed
from atlas.fetch.entries import public_url
from atlas.fetch.files import below, is_plain_path, plain_name
from atlas.fetch.url import download_url
from atlas.results.provenance import NAME as PROVENANCE


def url_files(options: Mapping[str, Any]) -> dict[str, str]:
    """{name to store under, which may have folders: sha256} of a url source."""
    if options.get("files"):
        return dict(options["files"])
    return {options.get("file") or public_url(options["url"]).rsplit("/", 1)[-1]: options["sha256"]}


def download_url_source(options: Mapping[str, Any], folder: Path) -> list[Path]:
    """Brings the files of a url source into `folder`, one after the other; returns their paths.

    An interrupted download goes on at the file, and at the byte, where it stopped. Raises AtlasError.
    """
    several = options.get("files")
    files = url_files(options)
    places = {name: _placed(folder, name, several) for name in files}  # all looked at before anything is asked for
    return [
        download_url(_address(options["url"], name) if several else options["url"], sha256, places[name])
        for name, sha256 in files.items()
    ]


def url_problems(options: Mapping[str, Any], model: bool) -> Iterator[str]:
    """What is wrong in the options of a url source, as ends of sentences that begin with its place.

    model: whether it is of a model and not of a data set.
    """
    files = options.get("files")
    if not files:
        if not options.get("sha256"):
            yield ": nothing pins it; give sha256, or for several files files: {path below the url: sha256}."
        return
    for key in ("sha256", "file"):
        if options.get(key):
            yield f".{key}: it is of a single file; leave it out, each of files has its own."
    if urlsplit(options["url"]).query or urlsplit(options["url"]).fragment:
        yield ".url: it is the address of a folder here, which files stand below; leave out ? and # and what follows."
    for name in files:
        if name == PROVENANCE:
            yield f".files: {name!r} is the name of the record that is kept with the files; it would be overwritten."
        elif not allowed(name, model) or not is_plain_path(name):
            yield f".files: {name!r} is no plain path of a file of a type that is taken (docs/adding.md)."
        elif model and "/" in name:
            yield f".files: {name!r} has a folder; give the address of the folder that the model's files stand in."


def _placed(folder: Path, name: str, several: object) -> Path:
    """Where a file goes; a single one has no folders."""
    what = "the file of the url source"
    return below(folder, name if several else plain_name(name, what), what)


def _address(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/{quote(name)}"
