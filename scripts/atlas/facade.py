"""The analyses from Python: each function runs the workflow for one table and gives it as a frame.

    import atlas

    sinks = atlas.sinks("/models/my-model", ["A text.", "Another one."], length=16)
    sinks.attrs["units"]["sink_rate"], sinks.attrs["provenance"]

There is no second way to compute anything: a configuration is written, Snakemake makes the table in `folder` as it
would on a command line, and what is there already is not made again. The options are those of config.yaml.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from atlas.analyses import registry
from atlas.config.problems import nearest
from atlas.errors import AtlasError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["head_categories", "meaningless_tokens", "min_k", "read", "safety_heads", "saliency", "sinks", "table"]

Rows = str | Path | Sequence[str] | Sequence[Mapping[str, Any]]
_COMMIT = re.compile(r"[0-9a-f]{40}")


def sinks(model: str | Path, texts: Rows, **options: Any) -> pd.DataFrame:
    """Attention sinks of every head: table `sinks`. texts: a file, or a list; options: of `table` and analyses.sinks.

    Source: Gu et al. 2025, arXiv 2410.10781.
    """
    return table("sinks", model, texts, **options)


def meaningless_tokens(model: str | Path, prompts: Rows, **options: Any) -> pd.DataFrame:
    """What tokens without meaning take from the others, by head: table `meaningless_effect`.

    Source: Shi et al. 2025, arXiv 2510.01032.
    """
    return table("meaningless_effect", model, prompts, **options)


def saliency(model: str | Path, questions: Rows, **options: Any) -> pd.DataFrame:
    """Saliency from questions to answers: table `saliency`. questions: rows with `question` and `answers` (a list).

    Source: Luo et al. 2026, arXiv 2601.07422.
    """
    return table("saliency", model, questions, **options)


def head_categories(model: str | Path, relations: str | Path | None = None, **options: Any) -> pd.DataFrame:
    """Which relations each head implements by its weights: table `head_relations`. relations: a folder; None: ours.

    Source: Elhelo and Geva 2025, arXiv 2412.11965.
    """
    return table("head_relations", model, relations or project() / "data" / "relations", **options)


def safety_heads(model: str | Path, prompts: Rows, **options: Any) -> pd.DataFrame:
    """Ships of every head on harmful prompts: table `safety_heads`.

    Source: Zhou et al. 2025, arXiv 2410.13708.
    """
    return table("safety_heads", model, prompts, **options)


def min_k(model: str | Path, questions: Rows, **options: Any) -> pd.DataFrame:
    """Min-K% of questions by their depth: table `mink`. questions: rows of kind `depth` (docs/adding.md).

    Source: Shi et al. 2024, arXiv 2310.16789; Ko et al. 2024, arXiv 2406.19502.
    """
    return table("mink", model, questions, **options)


def table(
    name: str,
    model: str | Path,
    data: Rows,
    *,
    folder: str | Path = "atlas",
    cores: int = 1,
    control: bool = False,
    dtype: str = "auto",
    device: str = "auto",
    hub_login: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """The table `name` (docs/tables.md) of one model and data set.

    model: a folder or GGUF file, owner/name@COMMIT of the hub, or a model of config.yaml. data: a file or folder of the
    kind that the analysis takes, a list of texts, a list of rows, or a data set of config.yaml. folder:
    where models, activations and tables are kept and found again.
    control: with the rows of the model's shuffled control. hub_login: a login of `hf auth login` may be used.
    options: those of the analysis in config.yaml.
    attrs of the frame: `units` ({column: unit}), `provenance`, `file`.
    Raises AtlasError with the sentences that the workflow would print.
    """
    if name not in registry.TABLE_ANALYSES:
        raise AtlasError(f"there is no table {name!r} of one model; {nearest(name, registry.TABLE_ANALYSES)}")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    analysis = registry.TABLE_ANALYSES[name]
    config = _configuration(analysis, model, data, folder, options)
    (key,) = (key for key, entry in config["models"].items() if entry)
    (dataset,) = (key for key, entry in config["datasets"].items() if entry)
    config["models"][key] |= {"dtype": dtype, "device": device}
    if hub_login:
        config["hub_login"] = True
    keys = [key]
    if control:
        config["models"][f"{key}-shuffled"] = {"source": {"control": {"of": key, "kind": "shuffled", "seed": 0}}}
        keys.append(f"{key}-shuffled")
    files = [f"results/metrics/{one}/{name}/{dataset}.parquet" for one in keys]
    _run(config, files, folder, cores)
    return _read([folder / file for file in files], name)


def read(name: str, folder: str | Path = ".") -> pd.DataFrame:
    """A table of a finished run, from `results/tables` of `folder` (or of a run with a name: `results/runs/NAME`).

    attrs: `units`, `provenance`, `file`. Raises AtlasError where there is none or it was damaged.
    """
    places = [Path(folder) / "results" / "tables", Path(folder) / "tables"]
    found = [path for place in places if (path := place / f"{name}.parquet").is_file()]
    if not found:
        there = sorted({path.stem for place in places for path in place.glob("*.parquet")})
        raise AtlasError(f"{folder} has no table {name!r}; " + (nearest(name, there) if there else "no run is there."))
    return _read(found[:1], name)


def project() -> Path:
    """The folder of the workflow: that of this checkout, or what was installed with the library."""
    here = Path(__file__).resolve().parent
    for place in (here / "_workflow", here.parents[1]):
        if (place / "Snakefile").is_file():
            return place
    raise AtlasError("the workflow is not beside the library; install it from a clone: pip install --no-deps .")


def _configuration(analysis: str, model: str | Path, data: Rows, folder: Path, options: Mapping[str, Any]) -> Any:
    """What is handed over: one model, one data set, one analysis; everything else of config.yaml switched off."""
    base = yaml.safe_load((project() / "config.yaml").read_text(encoding="utf-8"))
    block = base["analyses"][analysis]
    record = registry.ANALYSES[analysis]
    if record.starts_from:
        raise AtlasError(f"analyses.{analysis} starts from {record.starts_from}: write a configuration for it.")
    kind = str(record.kind)
    key, entry = _model(model, base["models"])
    dataset, listed = _data(data, kind, folder, base["datasets"])
    named = {"dataset": dataset} if "dataset" in block else {"datasets": [dataset]}
    return {
        "models": {**dict.fromkeys(base["models"]), key: entry},
        "datasets": {**dict.fromkeys(base["datasets"]), dataset: listed},
        "analyses": {**dict.fromkeys(base["analyses"]), analysis: {"models": "all", **named, **options}},
        "figures": {figure: {} if figure == "costs" else None for figure in base["figures"]},
    }


def _model(model: str | Path, known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The key of a model, the same for the same place, and its entry."""
    if str(model) in known:
        return str(model), dict(known[str(model)])
    place = Path(model).expanduser()
    if place.exists():
        source: dict[str, Any] = {"path": str(place.resolve())}
        shown = place.resolve().name
    else:
        repo, _, revision = str(model).partition("@")
        if repo.count("/") != 1:
            raise AtlasError(f"{model} is no folder or file, and not owner/name@COMMIT of the hub.")
        if not _COMMIT.fullmatch(revision):
            raise AtlasError(f"{model}: name the commit, {repo}@ and its 40 digits; what a name stands for changes.")
        source, shown = {"hub": {"repo": repo, "revision": revision}}, repo.rpartition("/")[2]
    return f"{_plain(shown)}-{_digest(json.dumps(source))}", {"label": shown, "source": source}


def _data(data: Rows, kind: str, folder: Path, known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The key of a data set and its entry; rows are written to a file that is named by what they hold."""
    if isinstance(data, str) and data in known:
        if (own := known[data]["kind"]) != kind:
            raise AtlasError(f"{data} is a data set of kind {own}; this table is of {kind}.")
        return data, dict(known[data])
    if isinstance(data, (str, Path)):
        place = Path(data).expanduser()
        if not place.exists():
            raise AtlasError(f"{data} is no file or folder; texts of your own go into a list.")
        entry = {"kind": kind, "source": {"path": str(place.resolve())}}
        if place.suffix == ".txt":
            entry["format"] = "lines"
        return f"{_plain(place.stem)}-{_digest(str(place.resolve()))}", entry
    rows = [{"text": row} if isinstance(row, str) else dict(row) for row in data]
    if not rows:
        raise AtlasError("the data has no rows.")
    if kind == "relations":
        raise AtlasError("relations are a folder (docs/adding.md).")
    lines = "".join(
        json.dumps({"id": str(number), **row}, ensure_ascii=False) + "\n" for number, row in enumerate(rows)
    )
    key = f"rows-{_digest(lines)}"
    path = folder / "data" / f"{key}.jsonl"
    path.parent.mkdir(exist_ok=True)
    if not path.is_file():
        path.write_text(lines, encoding="utf-8")
    return key, {"kind": kind, "source": {"path": str(path)}}


def _run(config: Any, files: Iterable[str], folder: Path, cores: int) -> None:
    """Snakemake in `folder`; AtlasError with what it says of an error."""
    text = yaml.safe_dump(config, sort_keys=True)
    written = folder / "configurations" / f"{_digest(text)}.yaml"
    written.parent.mkdir(exist_ok=True)
    written.write_text(text, encoding="utf-8")
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(project() / "Snakefile")),
        *("--directory", str(folder), "--cores", str(cores), "--configfile", str(written), "--", *files),
    ]
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if process.returncode != 0:
        raise AtlasError(_said(process.stdout))


def _said(output: str) -> str:
    """The sentences of an error, or the end of what Snakemake printed where there are none of ours."""
    jobs = re.findall(r"^Error in \w+: (.+)$", output, re.M)
    if jobs:
        return "\n".join(dict.fromkeys(jobs))
    found = re.search(r"^(?:WorkflowError|The configuration has an? error).*", output, re.M | re.S)
    lines = (found[0] if found else output[-3000:]).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("WorkflowError in file", "  File"))).strip()


def _read(files: Sequence[Path], name: str) -> pd.DataFrame:
    import pandas as pd

    from atlas.results.files import read_frame, read_provenance

    frame = pd.concat([read_frame(file) for file in files], ignore_index=True)
    frame.attrs = {
        "units": units(name),
        "provenance": [read_provenance(file) for file in files] if len(files) > 1 else read_provenance(files[0]),
        "file": [str(file) for file in files] if len(files) > 1 else str(files[0]),
    }
    return frame


def units(name: str) -> dict[str, str]:
    """{column: unit} of a table, as docs/tables.md has it; an empty text for a column without one."""
    text = (project() / "docs" / "tables.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(name)}$(.*?)(?=^## |\Z)", text, re.M | re.S)
    found: dict[str, str] = {}
    for line in section[1].splitlines() if section else ():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) > 1 and cells[0].startswith("`"):  # column, unit, meaning; tables of one unit: column, meaning
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[1] if len(cells) == 3 else "")
    return found


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).strip("-.") or "model"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
