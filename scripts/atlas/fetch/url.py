"""Downloads of one file by URL: streamed, resumed, retried, checked, put in place in one step."""

import time
from pathlib import Path
from urllib.parse import urlsplit

from atlas.checksums import has_sha256, sha256_file, wrong_hash
from atlas.disk import disk_errors
from atlas.errors import AtlasError
from atlas.fetch.entries import public_url

RETRIES = 4
BACKOFF = 1.0  # seconds before the first retry; doubled at each further one
PIECE = 1 << 16  # bytes written at once; when a connection breaks, at most this much of what came is lost
TIMEOUT = (15, 60)  # seconds to connect, seconds between two packets
REFUSALS = {
    401: "asks for a login (401): download the file yourself and use a path source",
    403: "may not be read (403): check that the link is public and has not expired",
    404: "does not exist (404): check the URL for typing errors or a moved file",
    410: "is gone (410): find where the file has moved to",
}


class _Transient(Exception):
    """A failure worth another try: reset connections, cut answers, overloaded servers."""


def download_url(
    url: str, sha256: str, target: Path, *, retries: int | None = None, backoff: float | None = None
) -> Path:
    """Downloads `url` to `target` and checks its sha256.

    Bytes go to `<target>.part`; a later call goes on from there by an HTTP range request. If the server ignores
    ranges, or what was resumed does not have the right hash, the download starts again from the first byte.

    retries: further tries after a server error (5xx, 429) or a lost connection; each try that brings new bytes
        starts the count anew.
    backoff: seconds before the first retry, doubled each time.
    Returns target. Raises AtlasError: not an http(s) URL, refused (401, 403, 404, ...), no connection, wrong hash.
    """
    where = public_url(url)
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise AtlasError(f"{where} is not an http or https address: use a path source for files of this machine.")
    if has_sha256(target, sha256):
        return target
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    resumed = part.exists() and part.stat().st_size > 0
    found = _fetch(url, part, retries, backoff)
    if found != sha256.lower() and resumed:  # the old bytes may be those of another version
        part.unlink()
        found = _fetch(url, part, retries, backoff)
    if found != sha256.lower():
        part.unlink()
        raise wrong_hash(where, sha256, found)
    part.replace(target)
    return target


def _fetch(url: str, part: Path, retries: int | None, backoff: float | None) -> str:
    """Completes `part` from `url`, retrying what is worth it. Returns its sha256."""
    allowed = RETRIES if retries is None else retries
    wait = BACKOFF if backoff is None else backoff
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _stream(url, part, before)
            return sha256_file(part)
        except _Transient as error:
            if part.exists() and part.stat().st_size > before:
                failures = 0
            failures += 1
            if failures > allowed:
                raise AtlasError(
                    f"{public_url(url)} could not be downloaded after {allowed + 1} tries ({error}): check the network "
                    "connection and run again; what has arrived is kept and the download goes on from there."
                ) from error
            time.sleep(wait * 2 ** (failures - 1))


def _stream(url: str, part: Path, have: int) -> None:
    """One request; appends to `part` from byte `have`, or rewrites it if the server sends everything."""
    import requests
    from tqdm import tqdm

    # identity: a compressed answer would make ranges count bytes of another representation
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            status = answer.status_code
            if status == 416 and have:  # nothing after byte `have`: complete, or too long; the hash decides
                return
            if status in REFUSALS:
                raise AtlasError(f"{public_url(url)} {REFUSALS[status]}.")
            if status == 429 or status >= 500:
                raise _Transient(f"the server answered {status}")
            if status not in {200, 206}:
                raise AtlasError(
                    f"{public_url(url)} answered with HTTP status {status}, not with the file: check the URL."
                )
            resume = status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if status == 206 and not resume:
                part.unlink(missing_ok=True)
                raise _Transient("the server sent another part of the file than was asked for")
            length = answer.headers.get("Content-Length")
            start = have if resume else 0
            with (
                disk_errors(part),
                part.open("ab" if resume else "wb") as stream,
                tqdm(
                    desc=part.name.removesuffix(".part"),
                    total=start + int(length) if length else None,
                    initial=start,
                    unit="B",
                    unit_scale=True,
                    mininterval=1,
                ) as bar,
            ):
                for chunk in answer.iter_content(PIECE):
                    stream.write(chunk)
                    bar.update(len(chunk))
    except requests.exceptions.SSLError as error:
        raise AtlasError(
            f"{public_url(url)} has a certificate that cannot be verified: check the clock and the certificates "
            "(REQUESTS_CA_BUNDLE) of this machine."
        ) from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Transient(_reason(error)) from error
    except requests.RequestException as error:
        raise AtlasError(f"{public_url(url)} cannot be requested ({type(error).__name__}): check the URL.") from error


def _reason(error: Exception) -> str:
    """A few words for a lost connection; requests' own text nests objects and repeats the URL with its secrets."""
    import requests

    text = str(error)
    if "Connection refused" in text:
        return "connection refused"
    if "resolve" in text or "Name or service not known" in text:
        return "the host name cannot be resolved"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return "the connection was lost"
