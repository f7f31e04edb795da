"""Which files of a data set's repository are one split of one of its configurations, and which fit glob patterns.

As the hub describes it (https://huggingface.co/docs/hub/datasets-data-files-configuration): what the card in README.md
says comes first, else what the names say. No code of a repository is run. What more than one reading fits is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from atlas.errors import AtlasError
from atlas.fetch.files import is_plain_path
from atlas.names import closest

SHARD = re.compile(r"(.*?)[-_.](\d{3,5})-of-(\d{3,5})")
# Words that name a split in names of folders and files, as the hub's page lists them.
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def matching(names: Iterable[str], patterns: Iterable[str], what: str) -> list[str]:
    """The names that fit any of the glob patterns, sorted: `*` stays within a folder, `**/` stands for any folders.

    Raises AtlasError for a pattern that none fits: it would be left out without a word.
    """
    names, found = list(names), set()
    for pattern in patterns:
        parts = pattern.split("/")
        if any("**" in part and part != "**" for part in parts):
            raise AtlasError(f"{what}: {pattern!r} is no glob pattern; write `**` as a folder of its own.")
        fitting = [name for name in names if _fits(name.split("/"), parts)]
        if not fitting:
            raise AtlasError(f"{what} has no data file like {pattern!r}{closest(pattern, names)}: correct the pattern.")
        found.update(fitting)
    return sorted(found)


def _fits(parts: list[str], pattern: list[str]) -> bool:
    """Whether a path fits, part by part: a regular expression of many `**` (a card's is a stranger's) would hang."""
    reached = {0}  # how many parts of the path what was read of the pattern may stand for
    for place, wanted in enumerate(pattern):
        if wanted == "**":
            last = place == len(pattern) - 1  # which stands for a file at least
            reached = set(range(min(reached) + last, len(parts) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], wanted)}
    return len(parts) in reached


def split_files(names: list[str], card: Mapping[str, Any], config: str | None, split: str, what: str) -> list[str]:
    """The data files of a split, sorted; all shards of it.

    names: the repository's data files. card: the metadata of its README.md ({} where there is none). config: None for
    the only or default one. Raises AtlasError, saying what there is instead.
    """
    listed = card.get("configs")
    if listed:
        found = _by_card(names, listed, config, split, what)
    else:
        start, inner = _below(names, config or "", f"{what} has no configuration {config!r}")
        found = [start + name for name in _by_names(inner, split, what)]
    _check_shards(found, what, split)
    return found


def _by_card(names: list[str], listed: Any, config: str | None, split: str, what: str) -> list[str]:
    entries = listed if isinstance(listed, list) else []
    if not entries or not all(isinstance(one, dict) and isinstance(one.get("config_name"), str) for one in entries):
        raise AtlasError(f"{what} has a card with `configs` that cannot be read: name its files by `patterns`.")
    known = {entry["config_name"]: entry for entry in entries}
    if config is None:
        usual = [name for name, entry in known.items() if entry.get("default") is True or name == "default"]
        if len(known) > 1 and len(usual) != 1:
            raise AtlasError(f"{what} has several configurations ({_some(known)}): give one as `config`.")
        config = usual[0] if usual else next(iter(known))
    if config not in known:
        raise AtlasError(f"{what} has no configuration {config!r}{closest(config, known)}; it has {_some(known)}.")
    entry = known[config]
    folder = entry.get("data_dir") or ""
    if not isinstance(folder, str):
        raise AtlasError(f"{what} has a card with a `data_dir` that cannot be read: name its files by `patterns`.")
    start, inner = _below(names, folder, f"{what} has no folder {folder!r}, which its card names for {config!r}")
    if not (told := _told(entry.get("data_files"), what)):
        return [start + name for name in _by_names(inner, split, what)]
    if split not in told:
        raise AtlasError(f"{what} has no split {split!r} in {config!r}{closest(split, told)}; it has {_some(told)}.")
    return [start + name for name in matching(inner, [_plain(pattern, what) for pattern in told[split]], what)]


def _told(data_files: Any, what: str) -> dict[str, list[str]]:
    """{split: its patterns} of what a card says under `data_files`; a bare pattern is of the split train."""
    if not data_files:
        return {}
    told: dict[str, list[str]] = {}
    parts = [{"split": key, "path": path} for key, path in data_files.items()] if isinstance(data_files, dict) else None
    for part in parts if parts is not None else _as_list(data_files):
        one = part if isinstance(part, dict) else {"split": "train", "path": part}
        paths = _as_list(one.get("path"))
        if not isinstance(one.get("split"), str) or not all(isinstance(path, str) for path in paths):
            raise AtlasError(f"{what} has a card with `data_files` that cannot be read: name its files by `patterns`.")
        told.setdefault(one["split"], []).extend(paths)
    return told


def _plain(pattern: str, what: str) -> str:
    pattern = pattern.removeprefix("./")
    if not is_plain_path(pattern):
        raise AtlasError(
            f"{what} has a card that names {pattern!r}, no path inside it: use `patterns`, or a url source."
        )
    return pattern


def _by_names(names: list[str], split: str, what: str) -> list[str]:
    """By names alone: shards called after the split, a folder of its name, a word for it, or all for `train`."""
    shards = [name for name in names if (found := SHARD.match(name)) and found[1].rpartition("/")[2] == split]
    folder = [name for name in names if split in name.split("/")[:-1]]
    words = {name: _splits_in(name) for name in names}
    for fitting in (shards, folder, [name for name in names if split in words[name]]):
        if fitting:
            return _one_series(fitting, what, split)
    if split == "train" and names and not any(words.values()):
        return _one_series(names, what, split)
    raise _lost(f"{what} has no split {split!r} by the names of its files", names)


def _splits_in(name: str) -> set[str]:
    """The splits that words of a path name."""
    words = set(re.split(r"[^a-z]+", name.rpartition(".")[0].lower()))
    return {split for split, meant in KEYWORDS.items() if words & set(meant)}


def _one_series(names: list[str], what: str, split: str) -> list[str]:
    """Files that differ in their numbers alone are one table in pieces; others may be anything."""
    series = {re.sub(r"\d+", "0", name): name for name in names}
    if len(series) > 1:
        raise AtlasError(
            f"{what} has files of different names for the split {split!r} ({_some(series.values())}): give `config`, "
            "or name the files by `patterns`."
        )
    return sorted(names)


def _check_shards(names: list[str], what: str, split: str) -> None:
    """All shards of each series are there."""
    shards = [found for name in names if (found := SHARD.match(name))]
    for start, total in {(found[1], found[3]) for found in shards}:
        there = sum((found[1], found[3]) == (start, total) for found in shards)
        if there != int(total):
            raise AtlasError(
                f"{what} has {there} of {int(total)} shards of {start} for the split {split!r}: take another revision, "
                "or name the files by `patterns`."
            )


def _below(names: list[str], folder: str, missing: str) -> tuple[str, list[str]]:
    """(what names in a folder begin with, the rest of these names); all names for no folder."""
    folder = folder.removeprefix("./").strip("/")
    start = f"{folder}/" if folder and folder != "." else ""
    found = [name.removeprefix(start) for name in names if name.startswith(start)]
    if not found:
        raise _lost(missing, names)
    return start, found


def _lost(missing: str, names: list[str]) -> AtlasError:
    return AtlasError(f"{missing}; its data files are {_some(names)}. Take one of these with `file`, or `patterns`.")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
