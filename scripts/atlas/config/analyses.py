"""Checks of the analyses: `all` spelled out, references to models and data sets, options that depend on others."""

from atlas.config.problems import nearest

# analysis -> kind of its data sets (heads joins what others have found and reads no data set)
ANALYSIS_KINDS = {
    "saliency": "qa",
    "meaningless_tokens": "prompts",
    "sinks": "text",
    "head_categories": "relations",
    "mink": "depth",
    "safety_heads": "prompts",
    "head_groups": "prompts",
    "ablation_effect": "prompts",
    "heads": None,
}
# Analyses that start from the ranks of safety_heads.
RANKED = ("head_groups", "ablation_effect")


def analysis_problems(name, block, config):
    models, datasets, kind = config["models"], config["datasets"], ANALYSIS_KINDS[name]
    fitting = [key for key, entry in datasets.items() if entry["kind"] == kind]
    if block["models"] in ("all", "trained"):
        block["models"] = [
            key for key, entry in models.items() if block["models"] == "all" or "control" not in entry["source"]
        ]
    for model in block["models"]:
        if model not in models:
            yield f"analyses.{name}.models: there is no model {model!r}; {nearest(model, models)}"
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
            yield f"{where}: there is no data set {dataset!r}; {nearest(dataset, datasets)}"
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
    for option in ("k_by_model", "first_mlp_by_model"):
        for model in block[option]:
            if model not in block["models"]:
                near = nearest(model, block["models"])
                yield f"analyses.head_categories.{option}: {model!r} is none of its models; {near}"


def ranked_problems(name, analyses):
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
