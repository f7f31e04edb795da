"""Downloads from a model hub, pinned to a commit or to a file's sha256; never anything that could run code."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.checksums import CHUNK, check_sha256, has_sha256, sha256_file
from atlas.disk import disk_errors
from atlas.errors import AtlasError
from atlas.fetch.allowed_files import WEIGHTS, is_about
from atlas.fetch.files import below
from atlas.fetch.hub_access import HubAccess, endpoint, hub_errors
from atlas.fetch.hub_choice import choose_files, choose_rows, read_card

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

COMMIT = re.compile(r"[0-9a-f]{40}")
CARD = "README.md"
# What the system says of a cache that may be read and not written, or is no folder.
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@dataclass(frozen=True)
class _Repository:
    """What files come from. what: how messages name it. log: takes progress messages."""

    repo: str
    revision: str
    repo_type: str
    what: str
    access: HubAccess
    log: Callable[[str], None]


def download_hub(
    repo: str,
    revision: str | None,
    folder: Path,
    file: str | None = None,
    sha256: str | None = None,
    files: dict[str, str] | None = None,
    repo_type: str = "model",
    patterns: list[str] | None = None,
    split: str | None = None,
    config: str | None = None,
    access: HubAccess | None = None,
    before_weights: Callable[[list[str], list[Path]], None] | None = None,
    log: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Brings a repository, or some files of it, into `folder`; an interrupted download goes on where it stopped.

    The hub is the one of HF_ENDPOINT, the token that of HF_TOKEN, or of a login where `access` allows it.
    revision: commit of 40 hex digits; may be left out (None) if `file` and its `sha256` are given.
    file: only this file, and with safetensors weights of a model its configuration and tokenizer too.
    files: {path in the repository: sha256}, exactly these; they need no `revision` either.
    repo_type: 'model' or 'dataset'. patterns, split, config: which data files of a data set (hub_choice.choose_rows).
    access: the user's cache and login, by default neither. With the cache, files of `folder` are links into it.
    before_weights: called with names of the repository's files and with the small files, before the weights come; it
        raises AtlasError if they need not.
    Returns the files' paths below `folder`, sorted. Every file is checked against the hash in the hub's listing.
    Raises AtlasError.
    """
    what = f"{'data set' if repo_type == 'dataset' else 'model'} {repo} of the hub"
    pins = dict(files or {}) | ({file: sha256} if file and sha256 else {})
    _check_pinned(what, revision, pins, file if repo_type == "model" else None)
    for name in [*pins, *([file] if file else [])]:
        below(folder, name, f"a file of {what}")
    source = _Repository(repo, revision or "main", repo_type, what, access or HubAccess(), log)
    if revision is None and all(_is_here(source, folder / name, digest) for name, digest in pins.items()):
        return [folder / name for name in sorted(pins)]
    with hub_errors(what, revision, file):
        listing = _listing(source)
        if patterns or split or config:
            card = _fetch(source, CARD, folder, listing[CARD]) if split and CARD in listing else None
            told = read_card(card, what) if card else {}
            names = choose_rows(list(listing), what, told, patterns=patterns, split=split, config=config)
            names += [name for name in listing if "/" not in name and is_about(name)]
        else:
            names = [
                name
                for wanted in files or [file]
                for name in choose_files(list(listing), what, file=wanted, repo_type=repo_type)
                if not files or name == wanted
            ]
        small = [name for name in names if not name.endswith(WEIGHTS)]
        paths = [_fetch(source, name, folder, listing[name]) for name in small]
        if before_weights is not None:
            others = [] if file or files else [n for n in listing if not n.endswith(WEIGHTS) and "/" not in n]
            before_weights([*names, *others], paths)
        paths += [_fetch(source, name, folder, listing[name]) for name in names if name not in small]
    for name, digest in pins.items():
        check_sha256(folder / name, digest, f"{name} of {what}")
    return sorted(paths)


def _check_pinned(what: str, revision: str | None, pins: Mapping[str, str], weights: str | None) -> None:
    """weights: the one file of a model that is asked for. Raises AtlasError."""
    if revision is None and not pins:
        raise AtlasError(
            f"{what} is not pinned: give `revision` (a commit of 40 hex digits), or `file` and its `sha256`."
        )
    if revision is not None and not COMMIT.fullmatch(revision):
        raise AtlasError(
            f"{what}: revision {revision!r} is not a commit of 40 hex digits; a branch or tag can change, so look up "
            "its commit on the repository's page."
        )
    if weights and revision is None and weights.endswith(".safetensors"):
        raise AtlasError(f"{what}: {weights} needs the repository's configuration and tokenizer too; give `revision`.")


def pin(source: dict, repo_type: str = "model", access: HubAccess | None = None) -> dict:
    """A hub source marked `unpinned` with the commit that its main branch has now; any other source as it is.

    Only a configuration with `allow_unpinned: true` marks sources so. Raises AtlasError.
    """
    hub = source.get("hub")
    if not hub or not hub.get("unpinned"):
        return source
    from huggingface_hub import HfApi

    what = f"{'data set' if repo_type == 'dataset' else 'model'} {hub['repo']} of the hub"
    token = (access or HubAccess()).token()
    with hub_errors(what, None, None):
        commit = HfApi(endpoint=endpoint(), token=token).repo_info(hub["repo"], repo_type=repo_type).sha
    if not COMMIT.fullmatch(commit or ""):
        raise AtlasError(f"{what} names no commit of its main branch: look it up on its page and give `revision`.")
    return {"hub": {**{key: value for key, value in hub.items() if key != "unpinned"}, "revision": commit}}


def _listing(source: _Repository) -> dict[str, RepoFile]:
    """path -> huggingface_hub RepoFile (size, blob_id, lfs) of every file of the repository at this commit."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import get_session

    # One request without the library's retries, so that a missing network is reported at once and not after a minute.
    get_session().head(f"{endpoint() or constants.ENDPOINT}/api/{source.repo_type}s/{source.repo}", timeout=15)
    api = HfApi(endpoint=endpoint(), token=source.access.token())
    tree = api.list_repo_tree(source.repo, recursive=True, revision=source.revision, repo_type=source.repo_type)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _is_here(source: _Repository, target: Path, sha256: str) -> bool:
    """Whether a pinned file lies in its place, or can be linked there from the cache, where hashes are names."""
    from huggingface_hub.file_download import repo_folder_name

    if has_sha256(target, sha256):
        return True
    cache = source.access.cache_folder()
    if cache is None:
        return False
    repository = repo_folder_name(repo_id=source.repo, repo_type=source.repo_type)
    found = cache / repository / "blobs" / sha256.lower()
    if not has_sha256(found, sha256):
        return False
    source.log(f"{target.name} lies in the hub's cache")
    _link(found, target)
    return True


def _fetch(source: _Repository, name: str, folder: Path, entry: RepoFile) -> Path:
    """One file in `folder`, checked against the listing; a damaged one is fetched anew once, and not by way of a cache:
    what lies there is not ours to mend."""
    what = f"{name} of {source.what}"
    target = below(folder, name, f"a file of {source.what}")
    if entry.lfs is None and not COMMIT.fullmatch(entry.blob_id or ""):
        raise AtlasError(f"{what} is listed without a hash, so that nothing pins its content: use another hub.")
    cache = source.access.cache_folder()
    for again in (False, True):
        if again:
            source.log(f"{what} is damaged{f' in {cache}' if cache else ''} and is fetched anew")
        _bring(source, name, folder, None if again else cache, again)
        if _matches(target, entry):
            return target
    raise AtlasError(f"{what} arrives damaged (its hash is not the one that the hub lists): try again later.")


def _bring(source: _Repository, name: str, folder: Path, cache: Path | None, again: bool) -> None:
    """Puts one file into `folder`: a link into the cache, or where there is none to write to the file itself."""
    from huggingface_hub import hf_hub_download

    target = folder / name

    def ask(cache_dir: Path | None = None, local_dir: Path | None = None) -> Path:
        found = hf_hub_download(
            source.repo, name, revision=source.revision, repo_type=source.repo_type, endpoint=endpoint(),
            token=source.access.token(), force_download=again, cache_dir=cache_dir, local_dir=local_dir,
        )  # fmt: skip
        return Path(found)

    if cache:
        try:
            _link(ask(cache_dir=cache), target)
            return
        except OSError as error:
            if error.errno not in _CLOSED:
                with disk_errors(cache):
                    raise
            source.log(
                f"the hub's cache {cache} cannot be written ({os.strerror(error.errno)}): {name} comes without it"
            )
    if target.is_symlink():
        target.unlink()
    with disk_errors(target):
        ask(local_dir=folder)


def _link(found: Path, target: Path) -> None:
    """A symbolic link to a file of the cache, which whoever puts it in place makes a hard one where that can be."""
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(found.resolve())


def _matches(path: Path, entry: RepoFile) -> bool:
    """Whether a file is the one of the hub's listing: by sha256 for large files, by its git blob hash for others."""
    if path.stat().st_size != entry.size:
        return False
    if entry.lfs is not None:
        return sha256_file(path) == entry.lfs.sha256
    digest = hashlib.sha1(b"blob %d\0" % entry.size, usedforsecurity=False)  # git's own object hash
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == entry.blob_id
