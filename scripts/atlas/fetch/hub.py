"""Downloads from a model hub, pinned to a commit or to a file's sha256; never anything that could run code."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.checksums import CHUNK, check_sha256, has_sha256, sha256_file
from atlas.data.suffixes import DATA_SUFFIXES
from atlas.disk import disk_errors
from atlas.errors import AtlasError
from atlas.fetch.allowed_files import ADAPTERS, CONFIGS, MERGE, PICKLES, TOKENIZERS, WEIGHTS, allowed
from atlas.fetch.files import below
from atlas.names import closest

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

COMMIT = re.compile(r"[0-9a-f]{40}")


def download_hub(
    repo: str,
    revision: str | None,
    folder: Path,
    file: str | None = None,
    sha256: str | None = None,
    files: dict[str, str] | None = None,
    repo_type: str = "model",
    patterns: list[str] | None = None,
    before_weights: Callable[[list[str], list[Path]], None] | None = None,
) -> list[Path]:
    """Downloads a repository, or one file of it, into `folder`; an interrupted download goes on where it stopped.

    The hub is the one of HF_ENDPOINT; the token is read from HF_TOKEN and from nowhere else.
    revision: commit of 40 hex digits; may be left out (None) if `file` and its `sha256` are given.
    file: only this file, and with safetensors weights of a model its configuration and tokenizer too.
    files: {path in the repository: sha256}, exactly these; they need no `revision` either.
    repo_type: 'model' or 'dataset'.
    patterns: glob patterns that narrow down what is taken (of the file types that are allowed at all).
    before_weights: called with names of the repository's files and with the small files, before the weights come; it
        raises AtlasError if they need not.
    Returns the files' paths below `folder`, sorted. Every file is checked against the hash in the hub's listing.
    Raises AtlasError.
    """
    what = f"{'data set' if repo_type == 'dataset' else 'model'} {repo} of the hub"
    pins = dict(files or {}) | ({file: sha256} if file and sha256 else {})
    if revision is None and not pins:
        raise AtlasError(
            f"{what} is not pinned: give `revision` (a commit of 40 hex digits), or `file` and its `sha256`."
        )
    if revision is not None and not COMMIT.fullmatch(revision):
        raise AtlasError(
            f"{what}: revision {revision!r} is not a commit of 40 hex digits; a branch or tag can change, so look up "
            "its commit on the repository's page."
        )
    if file and revision is None and file.endswith(".safetensors") and repo_type == "model":
        raise AtlasError(f"{what}: {file} needs the repository's configuration and tokenizer too; give `revision`.")
    for name in [*pins, *([file] if file else [])]:
        below(folder, name, f"a file of {what}")
    if revision is None and all(has_sha256(folder / name, digest) for name, digest in pins.items()):
        return [folder / name for name in sorted(pins)]
    with _hub_errors(what, revision, file):
        listing = _listing(repo, revision or "main", repo_type)
        names = [
            name
            for wanted in files or [file]
            for name in choose_files(list(listing), what, file=wanted, repo_type=repo_type, patterns=patterns)
            if not files or name == wanted
        ]
        fetch = partial(_download, repo, revision or "main", repo_type, folder=folder, what=what)
        small = [name for name in names if not name.endswith(WEIGHTS)]
        paths = [fetch(name, entry=listing[name]) for name in small]
        if before_weights is not None:
            narrowed = file or files or patterns
            others = [] if narrowed else [name for name in listing if not name.endswith(WEIGHTS) and "/" not in name]
            before_weights([*names, *others], paths)
        paths += [fetch(name, entry=listing[name]) for name in names if name not in small]
    for name, digest in pins.items():
        check_sha256(folder / name, digest, f"{name} of {what}")
    return sorted(paths)


def pin(source: dict, repo_type: str = "model") -> dict:
    """A hub source marked `unpinned` with the commit that its main branch has now; any other source as it is.

    Only a configuration with `allow_unpinned: true` marks sources so. Raises AtlasError.
    """
    hub = source.get("hub")
    if not hub or not hub.get("unpinned"):
        return source
    from huggingface_hub import HfApi

    what = f"{'data set' if repo_type == 'dataset' else 'model'} {hub['repo']} of the hub"
    with _hub_errors(what, None, None):
        commit = HfApi(endpoint=_endpoint(), token=_token()).repo_info(hub["repo"], repo_type=repo_type).sha
    if not COMMIT.fullmatch(commit or ""):
        raise AtlasError(f"{what} names no commit of its main branch: look it up on its page and give `revision`.")
    return {"hub": {**{key: value for key, value in hub.items() if key != "unpinned"}, "revision": commit}}


def choose_files(
    names: list[str], what: str, *, file: str | None = None, repo_type: str = "model", patterns: list[str] | None = None
) -> list[str]:
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
    if patterns:
        taken = [name for name in taken if any(fnmatch(name, pattern) for pattern in patterns)]
    if not model:
        if not any(name.endswith(DATA_SUFFIXES) for name in taken):
            raise AtlasError(
                f"{what} has no data file of a known type ({', '.join(DATA_SUFFIXES)}): use a url or path source."
            )
        return sorted(taken)
    safetensors = [name for name in taken if name.endswith(".safetensors")]
    ggufs = [name for name in taken if name.endswith(".gguf")]
    if not safetensors and len(ggufs) > 1:
        raise AtlasError(f"{what} has {len(ggufs)} GGUF files: name one under `file`, such as {sorted(ggufs)[0]}.")
    if not safetensors and not ggufs:
        raise no_safe_weights(what, names)
    return sorted(name for name in once(taken) if not (safetensors and name.endswith(".gguf")))


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


def _token() -> str | bool:
    """The token of HF_TOKEN; False (send none) keeps the library from looking for one in the home directory."""
    token = os.environ.get("HF_TOKEN") or ""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AtlasError("HF_TOKEN holds a space, a line break or other signs that no token has: set it anew.")
    return token or False


def _endpoint() -> str | None:
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


def _listing(repo: str, revision: str, repo_type: str) -> dict[str, RepoFile]:
    """path -> huggingface_hub RepoFile (size, blob_id, lfs) of every file of the repository at this commit."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import get_session

    # One request without the library's retries, so that a missing network is reported at once and not after a minute.
    get_session().head(f"{_endpoint() or constants.ENDPOINT}/api/{repo_type}s/{repo}", timeout=15)
    api = HfApi(endpoint=_endpoint(), token=_token())
    tree = api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=repo_type)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _download(repo: str, revision: str, repo_type: str, name: str, folder: Path, entry: RepoFile, what: str) -> Path:
    """One file, checked against the listing; a damaged one is fetched anew once."""
    from huggingface_hub import hf_hub_download

    target = below(folder, name, f"a file of {what}")
    for force in (False, True):
        with disk_errors(target):
            hf_hub_download(
                repo, name, revision=revision, repo_type=repo_type, local_dir=folder,
                endpoint=_endpoint(), token=_token(), force_download=force,
            )  # fmt: skip
        if _matches(target, entry):
            return target
    raise AtlasError(f"{name} of {what} arrives damaged (its hash is not the one that the hub lists): try again later.")


def _matches(path: Path, entry: RepoFile) -> bool:
    """Whether a file is the one of the hub's listing: by sha256 for large files, by its git blob hash for others."""
    if path.stat().st_size != entry.size:
        return False
    if entry.lfs is not None:
        return sha256_file(path) == entry.lfs.sha256
    if not entry.blob_id or len(entry.blob_id) != 40:
        return True
    digest = hashlib.sha1(b"blob %d\0" % entry.size, usedforsecurity=False)  # git's own object hash
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == entry.blob_id


def _reason(error: Exception) -> str:
    return str(error).split(". ")[0].rstrip(".")


@contextmanager
def _hub_errors(what: str, revision: str | None, file: str | None) -> Iterator[None]:
    """Turns what huggingface_hub raises into one sentence each."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise AtlasError(_gated(what)) from error
    except errors.RevisionNotFoundError as error:
        raise AtlasError(
            f"{what} has no revision {revision or 'main'}: look up the commit on the repository's page."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise AtlasError(
            f"{what} does not exist or is private: check the name, and if it is private or gated accept its licence "
            "on its page and set HF_TOKEN to a token that may read it."
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise AtlasError(f"{what} has no file {file!r} at revision {revision or 'main'}: correct `file`.") from error
    except ImportError as error:
        raise AtlasError(
            f"{what} cannot be downloaded through the proxy that the environment names ({_reason(error)}): unset "
            "ALL_PROXY and its like, or name an http proxy."
        ) from error
    except errors.HFValidationError as error:
        raise AtlasError(f"{what}: this is not a repository name; write it as owner/name.") from error
    except errors.OfflineModeIsEnabled as error:
        raise AtlasError(
            f"{what} cannot be downloaded while HF_HUB_OFFLINE is set: unset it for the download."
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in {401, 403}:
            raise AtlasError(_gated(what)) from error
        raise AtlasError(f"{what} cannot be downloaded (the hub answered {status}): try again later.") from error
    except (httpx2.HTTPError, errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError) and error.__cause__.response.status_code in {401, 403}:
            raise AtlasError(_gated(what)) from error
        raise AtlasError(
            f"{what} cannot be downloaded because the hub is not reachable: check the network connection and "
            "HF_ENDPOINT, or use a path, url or package source."
        ) from error
    except OSError as error:
        if "Consistency check failed" not in str(error):
            raise
        raise AtlasError(f"{what} arrived incomplete: run again, it goes on where it stopped.") from error


def _gated(what: str) -> str:
    return (
        f"{what} is gated or private and may not be read: accept its licence on its page and set HF_TOKEN to a token "
        "of that account."
    )
