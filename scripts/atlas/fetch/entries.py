"""A source entry of the configuration: {kind: options}, its one key, and what of it may be written down."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from atlas.errors import AtlasError


def single_source(source: dict, kinds: tuple[str, ...]) -> tuple[str, Any]:
    """(kind, options) of a source entry. Raises AtlasError unless it has exactly one key, out of `kinds`."""
    if not isinstance(source, dict) or len(source) != 1 or next(iter(source)) not in kinds:
        keys = ", ".join(source) if isinstance(source, dict) else repr(source)
        raise AtlasError(f"a source must have exactly one of the keys {', '.join(kinds)}, not: {keys or 'none'}.")
    return next(iter(source.items()))


# Kinds of sources that are made of another model of the configuration, and what messages call such a model.
MADE = {"control": "a control", "ablated": "an ablated model"}


def made_of(source: Any) -> str | None:
    """The key of the model that this source's is made of on this machine; None for what comes from elsewhere."""
    if not isinstance(source, dict):  # a list of mirrors
        return None
    return next((str(source[kind]["of"]) for kind in MADE if kind in source), None)


def made_as(source: dict[str, Any]) -> str:
    """What a model of such a source is called: "a control"."""
    return next(name for kind, name in MADE.items() if kind in source)


def public_url(url: str) -> str:
    """The URL without user name, password, query and fragment: they may be secret and reach no file and no log."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def describe_source(source: dict) -> dict:
    """The source entry of the config without what may be secret (logins and queries in URLs)."""
    kind, options = next(iter(source.items()))
    if kind == "url":
        return {"url": {**options, "url": public_url(options["url"])}}
    return {kind: options}


def describe_served(source: dict, logged_in: Callable[[], bool]) -> dict:
    """The record's entries on where the files came from: the source, and its revision or version.

    logged_in: whether a login of the user's was sent to a hub, which is said, and nothing of it.
    """
    kind, options = next(iter(source.items()))
    pin = {"hub": "revision", "package": "version"}.get(kind)
    login = {"login": "that of the hub's own command was used"} if kind == "hub" and logged_in() else {}
    return {"source": describe_source(source)} | ({pin: options.get(pin)} if pin else {}) | login
