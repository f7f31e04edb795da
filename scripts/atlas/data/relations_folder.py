"""A relations data set of several files, one for each relation.

Either relations.csv lists the relations and there is one CSV file for each, or the configuration lists them
(`relations: {name: {file, category}}`), for files of any format under any name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from atlas.data.readers import Row, iterate_rows
from atlas.data.suffixes import DATA_SUFFIXES
from atlas.errors import AtlasError
from atlas.fetch.files import plain_name
from atlas.names import closest
from atlas.results.provenance import NAME as PROVENANCE

INDEX = "relations.csv"
_ABOUT = ("LICENSE", "LICENCE", "NOTICE", "README")  # text files that are no data


def is_relations_folder(path: Path) -> bool:
    """Whether `path` is a folder with relations.csv."""
    return path.is_dir() and (path / INDEX).is_file()


def relations_files(folder: Path, encoding: str = "utf-8") -> list[Path]:
    """relations.csv and the relations' files, in its order."""
    return [folder / INDEX, *[folder / f"{row.values['relation']}.csv" for row in _index(folder, encoding)]]


def iterate_relations(folder: Path, categories: list[str], encoding: str = "utf-8") -> Iterator[Row]:
    """The pairs of every relation as rows (relation, category, source, target), in the order of relations.csv.

    relations.csv has the columns relation, category, description; <relation>.csv has source, target.
    Raises AtlasError: a listed relation without a file or with a category other than `categories`, a file that is not
    listed, a missing column.
    """
    index = _index(folder, encoding)
    names = [row.values["relation"] for row in index]
    for file in sorted(folder.glob("*.csv")):
        if file.name != INDEX and file.stem not in names:
            raise AtlasError(
                f"{file} is not listed in {INDEX}{closest(file.stem, names)}: add a line for it or remove it."
            )
    number = 0
    for row in index:
        name, category = row.values["relation"], row.values["category"]
        file = folder / f"{name}.csv"
        if category not in categories:
            raise AtlasError(f"{row.place}: category {category!r} is not one of {', '.join(categories)}.")
        if not file.is_file():
            raise AtlasError(f"{row.place} lists relation {name!r}, but {file.name} does not exist: add the file.")
        for pair in iterate_rows(file, "csv", encoding):
            _need(pair, ("source", "target"))
            yield Row(number, pair.place, {**pair.values, "relation": name, "category": category})
            number += 1


def listed_files(raw: Path, listed: Mapping[str, Mapping[str, str]]) -> list[Path]:
    """The file of each relation that the configuration lists, in its order.

    raw: the folder that they stand in, or the one file itself.
    Raises AtlasError: a file that is not there or stands for two relations, a data file that no relation names.
    """
    root = raw if raw.is_dir() else raw.parent
    there = (
        {file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()}
        if raw.is_dir()
        else {raw.name}
    )
    relation_of: dict[str, str] = {}
    for name, entry in listed.items():
        file = entry["file"]
        if file not in there:
            raise AtlasError(f"relation {name!r} has the file {file!r}, which the source lacks{closest(file, there)}.")
        if file in relation_of:
            raise AtlasError(f"relations {relation_of[file]!r} and {name!r} have the same file {file!r}; correct one.")
        relation_of[file] = name
    for file in sorted(there - relation_of.keys()):
        name = Path(file).name
        if name.endswith(DATA_SUFFIXES) and not name.upper().startswith(_ABOUT) and file != PROVENANCE:
            raise AtlasError(f"{file} belongs to no relation of the configuration: list it under `relations`.")
    return [root / file for file in relation_of]


def iterate_listed(
    raw: Path,
    listed: Mapping[str, Mapping[str, str]],
    format: str = "auto",
    encoding: str = "utf-8",
    records: str | None = None,
) -> Iterator[Row]:
    """The rows of every file with the columns relation and category from the configuration, in its order."""
    number = 0
    for file, (name, entry) in zip(listed_files(raw, listed), listed.items(), strict=True):
        for pair in iterate_rows(file, format, encoding, records):
            yield Row(number, pair.place, {**pair.values, "relation": name, "category": entry["category"]})
            number += 1


def _index(folder: Path, encoding: str = "utf-8") -> list[Row]:
    rows = list(iterate_rows(folder / INDEX, "csv", encoding))
    seen: dict[str, str] = {}
    for row in rows:
        _need(row, ("relation", "category"))
        name = row.values["relation"]
        plain_name(f"{name}.csv" if name else "", f"{row.place}: relation {name!r}")
        if name in seen:
            raise AtlasError(f"{row.place} lists relation {name!r}, as {seen[name]} does already; keep one.")
        seen[name] = row.place
    return rows


def _need(row: Row, columns: tuple[str, ...]) -> None:
    for column in columns:
        if column not in row.values:
            names = list(row.values)
            raise AtlasError(
                f"{row.place} has no column {column!r}; the columns are: {', '.join(names)}{closest(column, names)}."
            )
