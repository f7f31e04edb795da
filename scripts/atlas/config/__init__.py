"""What a configuration may say, and one clear sentence for each thing it may not.

The JSON schema (schemas/config.schema.yaml, made from the options of the analyses by `make config`) says which keys and
types there are and what is left out; here its findings become sentences, what a schema cannot check is checked
(references between sections), `all` is replaced by the keys it stands for, and analyses are switched off.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from atlas import yaml_text
from atlas.config import by_model, figure_labels
from atlas.config.analyses import check_analyses
from atlas.config.chat import chat_notes, chat_problems, dates_as_text, template_problems
from atlas.config.figures import figure_problems
from atlas.config.problems import key_problems, raise_all, size_problems
from atlas.config.schema import check_schema, fill_defaults
from atlas.config.sources import label_problems, package_key, packages, ranking_problems, source_problems
from atlas.config.switches import switched
from atlas.config.unused import unused_notes
from atlas.plots.labels import font_problem

__all__ = ["check_schema", "checked", "clean", "package_key", "packages", "resolve"]

Config = dict[str, Any]


def checked(raw: Mapping[str, Any], project: Path) -> Config:
    """The configuration with its defaults, checked; `project` is the folder of schemas/ and of relative paths.

    `notes` in it are sentences on what it leaves out, for whoever started the run.
    Raises AtlasError with one sentence for each thing that is wrong.
    """
    schema = _schema((project / "schemas" / "config.schema.yaml").read_text(encoding="utf-8"))
    raise_all(size_problems(raw))
    raise_all(key_problems(raw))
    config = clean(raw)
    notes = switched(config)
    raise_all([*by_model.form_problems(config), *figure_labels.form_problems(config)])
    check_schema(config, schema)
    fill_defaults(config, schema, schema)
    by_model.complete(config, schema)
    resolved = resolve(config, project)
    resolved["notes"] = [*notes, *resolved["notes"]]
    return resolved


@cache
def _schema(text: str) -> Config:
    return yaml_text.load(text)


def clean(raw: Mapping[str, Any]) -> Config:
    """A copy of `raw` without entries that a later file set to null to remove them (but for analyses: `switched`)."""
    config = dates_as_text(copy.deepcopy(dict(raw)))
    for section in ("models", "datasets", "figures"):
        entries = config.get(section)
        if isinstance(entries, dict):
            config[section] = {key: entry for key, entry in entries.items() if entry is not None}
    for section in ("models", "datasets"):
        for entry in _entries(config, section):
            if isinstance(entry, dict) and isinstance(entry.get("source"), dict):
                entry["source"] = {kind: value for kind, value in entry["source"].items() if value is not None}
            if isinstance(entry, dict) and isinstance(entry.get("source"), list) and len(entry["source"]) == 1:
                entry["source"] = entry["source"][0]  # a list of one is no list
            if isinstance(entry, dict) and section == "models" and "options" in entry:
                own = entry["options"] or {}
                kept = {name: one for name, one in own.items() if one is not None} if isinstance(own, dict) else own
                entry["options"] = kept
    for figure in _entries(config, "figures"):
        heads = figure.get("heads") if isinstance(figure, dict) else None
        if isinstance(heads, dict) and set(heads) - {"auto", "layer"}:
            # Heads listed per model were merged over an inherited {auto, layer}: the list is what was asked for.
            figure["heads"] = {model: value for model, value in heads.items() if model not in ("auto", "layer")}
    return config


def _entries(config: Config, section: str) -> list[Any]:
    """What stands in a section; nothing where it is no mapping, which the schema will refuse."""
    entries = config.get(section)
    return list(entries.values()) if isinstance(entries, dict) else []


def resolve(config: Config, base: Path) -> Config:
    """The configuration with `all` spelled out, labels and plots filled in, and every reference checked.

    Expects a configuration that passed the schema, with its defaults filled in. `base` is the folder that relative
    paths of sources start from.
    """
    config = {
        section: {key: _sorted_keys(entry) for key, entry in entries.items()} if isinstance(entries, dict) else entries
        for section, entries in config.items()
    }
    config["notes"] = []
    models, datasets = config["models"], config["datasets"]
    for section in (models, datasets):
        for key, entry in section.items():
            entry.setdefault("label", key)
            if entry.get("sample"):
                entry["sample"].setdefault("seed", 0)
    named = {font: base / os.path.expanduser(font) for font in config["fonts"]}
    bad_fonts = {font: problem for font, file in named.items() if (problem := font_problem(file))}
    fonts = tuple(file for font, file in named.items() if font not in bad_fonts)
    problems = [
        *(f"fonts: {font} {problem}." for font, problem in bad_fonts.items()),
        *label_problems("models", models, fonts),
        *label_problems("datasets", datasets, fonts),
        *source_problems(models, datasets, base, config["allow_unpinned"]),
        *chat_problems(config),
    ]
    check_analyses(config, problems)
    config["notes"] += [*unused_notes(config), *by_model.notes(config), *chat_notes(config)]
    raise_all([*ranking_problems(config), *template_problems(config, base)])
    raise_all(
        problem for key, figure in config["figures"].items() for problem in figure_problems(key, figure, config, fonts)
    )
    return config


def _sorted_keys(value: Any) -> Any:
    """A deep copy with every mapping's keys in order, so that moving a line in the file re-runs nothing."""
    if isinstance(value, dict):
        return {key: _sorted_keys(value[key]) for key in sorted(value, key=str)}
    return [_sorted_keys(item) for item in value] if isinstance(value, list) else copy.deepcopy(value)
