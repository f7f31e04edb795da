"""What a configuration may say, and one clear sentence for each thing it may not.

The JSON schema (schemas/config.schema.yaml) says which keys and types there are; this module turns its findings into
sentences, checks what a schema cannot (references between sections), and replaces `all` by the keys it stands for.
"""

import copy

from atlas.config.analyses import ANALYSIS_KINDS, RANKED, analysis_problems, ranked_problems
from atlas.config.figures import PAGES, PLOTS, figure_problems
from atlas.config.heads import heads_problems
from atlas.config.problems import raise_all
from atlas.config.schema import check_schema
from atlas.config.sources import duplicate_labels, package_key, packages, source_problems

__all__ = ["ANALYSIS_KINDS", "PAGES", "PLOTS", "check_schema", "checked", "clean", "package_key", "packages", "resolve"]


def checked(raw, project):
    """The configuration with its defaults, checked; `project` is the folder (Path) of schemas/ and of relative paths.

    Raises AtlasError with one sentence for each thing that is wrong.
    """
    import yaml
    from snakemake.utils import validate

    schema = project / "schemas" / "config.schema.yaml"
    cleaned = clean(raw)
    check_schema(cleaned, yaml.safe_load(schema.read_text()))
    validate(cleaned, str(schema))
    return resolve(cleaned, project)


def clean(config):
    """A copy of `config` without entries that a later file set to null to remove them."""
    config = copy.deepcopy(dict(config))
    for section in ("models", "datasets", "analyses", "figures"):
        entries = config.get(section)
        if isinstance(entries, dict):
            config[section] = {key: entry for key, entry in entries.items() if entry is not None}
    for section in ("models", "datasets"):
        for entry in (config.get(section) or {}).values():
            if isinstance(entry, dict) and isinstance(entry.get("source"), dict):
                entry["source"] = {kind: value for kind, value in entry["source"].items() if value is not None}
            if isinstance(entry, dict) and isinstance(entry.get("source"), list) and len(entry["source"]) == 1:
                entry["source"] = entry["source"][0]  # a list of one is no list
    for figure in (config.get("figures") or {}).values():
        heads = figure.get("heads") if isinstance(figure, dict) else None
        if isinstance(heads, dict) and set(heads) - {"auto", "layer"}:
            # Heads listed per model were merged over an inherited {auto, layer}: the list is what was asked for.
            figure["heads"] = {model: value for model, value in heads.items() if model not in ("auto", "layer")}
    return config


def resolve(config, base):
    """The configuration with `all` spelled out, labels and plots filled in, and every reference checked.

    Expects a configuration that passed the schema, with its defaults filled in. `base` is the folder (Path) that
    relative paths of sources start from.
    """
    config = {
        section: {key: _sorted_keys(entry) for key, entry in entries.items()} if isinstance(entries, dict) else entries
        for section, entries in config.items()
    }
    models, datasets = config["models"], config["datasets"]
    for section in (models, datasets):
        for key, entry in section.items():
            entry.setdefault("label", key)
            if entry.get("sample"):
                entry["sample"].setdefault("seed", 0)
    problems = [
        *duplicate_labels("models", models),
        *duplicate_labels("datasets", datasets),
        *source_problems(models, datasets, base, config["allow_unpinned"]),
        *(
            problem
            for name, block in config["analyses"].items()
            if name != "heads"
            for problem in analysis_problems(name, block, config)
        ),
    ]
    raise_all(problems)
    raise_all(
        [
            problem
            for name in RANKED
            if name in config["analyses"]
            for problem in ranked_problems(name, config["analyses"])
        ]
    )
    if "heads" in config["analyses"]:
        raise_all(list(heads_problems(config["analyses"]["heads"], config)))
    raise_all(
        [problem for key, figure in config["figures"].items() for problem in figure_problems(key, figure, config)]
    )
    return config


def _sorted_keys(value):
    """A deep copy with every mapping's keys in order, so that moving a line in the file re-runs nothing."""
    if isinstance(value, dict):
        return {key: _sorted_keys(value[key]) for key in sorted(value, key=str)}
    return [_sorted_keys(item) for item in value] if isinstance(value, list) else copy.deepcopy(value)
