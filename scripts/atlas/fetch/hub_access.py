"""How a model hub is reached: its address, the user's cache and login, and one sentence for each way it refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError

_LOG_IN = "set HF_TOKEN to a token of that account, or log in (hf auth login) and allow that by `hub_login: true`"
_TOLD = {"cache": "ATLAS_HUB_CACHE", "login": "ATLAS_HUB_LOGIN"}


@dataclass(frozen=True)
class HubAccess:
    """What of the user's own a download may use; results are the same with and without.

    cache: the hub library's cache (HF_HUB_CACHE, or HF_HOME): files that lie there are linked, new ones are put there.
    login: the token of the hub's own command (`hf auth login`), where HF_TOKEN is not set.
    """

    cache: bool = False
    login: bool = False

    @classmethod
    def announced(cls) -> HubAccess:
        """As the configuration of this run has it (`announce`)."""
        return cls(**{name: os.environ.get(variable) == "1" for name, variable in _TOLD.items()})

    def token(self) -> str | bool:
        """The token to send; False (none) keeps the library from looking for one in the home directory."""
        return _own_token() or (self._stored() if self.login else "") or False

    def logged_in(self) -> bool:
        """Whether `token` is that of a login, and not of HF_TOKEN."""
        return self.login and not _own_token() and bool(self._stored())

    def cache_folder(self) -> Path | None:
        """The cache to use; None where none may be used."""
        if not self.cache:
            return None
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)

    @staticmethod
    def _stored() -> str:
        from huggingface_hub import get_token

        return _plain_token(get_token() or "", "the login of the hub's own command", "log in again (hf auth login)")


def announce(config: Mapping[str, Any]) -> dict[str, str]:
    """Variables of the environment that tell the jobs of a run what `HubAccess.announced` then says.

    Not params: where bytes lie, and whose licence they go by, is no reason to repeat a job.
    """
    return {variable: str(int(config[f"hub_{name}"])) for name, variable in _TOLD.items()}


def _own_token() -> str:
    return _plain_token(os.environ.get("HF_TOKEN") or "", "HF_TOKEN", "set it anew")


def _plain_token(token: str, place: str, remedy: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AtlasError(f"{place} holds a space, a line break or other signs that no token has: {remedy}.")
    return token


def endpoint() -> str | None:
    """The hub of HF_ENDPOINT; None for the library's own."""
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


def _reason(error: Exception) -> str:
    return str(error).split(". ")[0].rstrip(".")


@contextmanager
def hub_errors(what: str, revision: str | None, file: str | None) -> Iterator[None]:
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
            f"on its page and {_LOG_IN}."
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
    return f"{what} is gated or private and may not be read: accept its licence on its page and {_LOG_IN}."
