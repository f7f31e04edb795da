"""A source that is a list: the same files in several places, tried in order until one gives them.

What the files are is said by hashes, not by places: each entry that states hashes must state the same ones, and what
arrives is compared with them and stored under the names of the first such entry. So a table does not depend on which
mirror was up. This module knows what entries state; fetching is the business of whoever calls `first_that_serves`.
"""

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from atlas.checksums import sha256_file
from atlas.errors import AtlasError
from atlas.fetch.entries import public_url, single_source
from atlas.fetch.files import below, link_or_copy
from atlas.fetch.url_source import url_files

KINDS = ("package", "hub", "url", "path")
CHOSEN = "chosen"  # the folder below `staging` that the files lie in


def each_source(source: dict | list[dict]) -> list[dict]:
    """The entries of a source: itself, or those of a list."""
    return source if isinstance(source, list) else [source]


def stated_files(source: dict) -> dict[str, str]:
    """{name to store under: sha256} as far as an entry states it; a path or a whole repository states nothing."""
    kind, options = next(iter(source.items()))
    if kind == "package":
        return {PurePosixPath(member).name: sha256 for member, sha256 in options["files"].items()}
    if kind == "url" and (options.get("files") or options.get("sha256")):
        return url_files(options)
    if kind == "hub" and options.get("files"):
        return dict(options["files"])
    if kind == "hub" and options.get("file") and options.get("sha256"):
        return {options["file"]: options["sha256"]}
    return {}


def shared_files(sources: list[dict]) -> dict[str, str]:
    """{name: sha256} of the files that every entry of a list stands for, by the first entry that states them.

    Raises AtlasError if none states them, or if two state different files.
    """
    stated = [(number, files) for number, source in enumerate(sources, 1) if (files := stated_files(source))]
    if not stated:
        raise AtlasError(
            "no entry of the list says which files these are; give sha256 with one (hub: files: {name: sha256})."
        )
    first, files = stated[0]
    for number, other in stated[1:]:
        if sorted(other.values()) != sorted(files.values()):
            raise AtlasError(
                f"entries {first} and {number} of the list have different sha256, but mirrors hold the same files; "
                "correct one, or make two sources of it."
            )
    return files


def first_that_serves(
    sources: list[dict], staging: Path, fetch: Callable[[dict, Path], list[Path]], log: Callable[[str], None]
) -> tuple[dict, dict, list[Path]]:
    """Tries each entry until one gives the files that the list stands for.

    fetch: (entry, staging folder of its own) -> the files it brought; raises AtlasError where it cannot.
    Returns the entry that served; {"number", "of"} for the provenance; the files, under the names of `shared_files` in
    a folder below `staging`. Raises AtlasError naming each try if all fail.
    """
    for source in sources:
        single_source(source, KINDS)
    wanted = shared_files(sources)
    failed: dict[int, str] = {}
    for number, source in enumerate(sources, 1):
        place = describe(source)
        try:
            brought = fetch(source, staging / f"mirror-{number}")
            files = _chosen(brought, wanted, staging / CHOSEN, linked="path" not in source)
        except AtlasError as error:
            failed[number] = f"{place}: {str(error).rstrip('.')}"
            log(f"source {number} of {len(sources)} does not serve ({failed[number]})")
            continue
        return source, {"number": number, "of": len(sources)}, files
    tries = "; ".join(f"({number}) {reason}" for number, reason in failed.items())
    raise AtlasError(f"none of the {len(sources)} sources gives the files: {tries}.")


def describe(source: dict) -> str:
    """A few words for an entry, without what may be secret."""
    kind, options = next(iter(source.items()))
    if kind == "package":
        return f"package {options['name']}=={options['version']}"
    return f"{kind} {options if kind == 'path' else public_url(options['url']) if kind == 'url' else options['repo']}"


def _chosen(brought: list[Path], wanted: dict[str, str], folder: Path, linked: bool) -> list[Path]:
    """Exactly the files of `wanted`, found among `brought` by their hash and put into `folder` under their names.

    linked: whether hard links will do; the user's own files may be edited in place later.
    """
    found = {sha256_file(path): path for path in brought}
    for name, sha256 in wanted.items():
        if sha256.lower() not in found:
            same = next((digest for digest, path in found.items() if path.name == PurePosixPath(name).name), None)
            has = f"{name} has sha256 {same}" if same else f"it has no file like {name}"
            raise AtlasError(f"{has}, not the pinned {sha256}")
    shutil.rmtree(folder, ignore_errors=True)
    files = []
    for name, sha256 in wanted.items():
        target = below(folder, name, "a file of the list of sources")
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(found[sha256.lower()], target) if linked else shutil.copyfile(found[sha256.lower()], target)
        files.append(target)
    return files
