"""Checks of the joined table of heads: which models, and which data set each analysis gives its columns from."""

from atlas.config.problems import nearest

# Analyses that say something of single heads; each gives columns of the table heads.
HEAD_ANALYSES = ("head_categories", "sinks", "meaningless_tokens", "saliency", "safety_heads")


def heads_problems(block, config):
    """Problems of analyses.heads, once the analyses that it joins are resolved; fills in what is left open."""
    analyses = {name: config["analyses"][name] for name in HEAD_ANALYSES if name in config["analyses"]}
    if not analyses:
        yield f"analyses.heads: it joins {', '.join(HEAD_ANALYSES)}, and none is in the configuration; add one."
        return
    covered = [key for key in config["models"] if any(key in other["models"] for other in analyses.values())]
    if block["models"] in ("all", "trained"):
        block["models"] = [
            key for key in covered if block["models"] == "all" or "control" not in config["models"][key]["source"]
        ]
    for model in block["models"]:
        if model not in covered:
            yield f"analyses.heads.models: no analysis of single heads covers {model!r}; {nearest(model, covered)}"
    yield from _datasets(block, analyses)
    # The variant of a measure: what the analysis computes first, or a named one that it computes.
    for option, analysis in (("rank", "safety_heads"), ("loss", "saliency")):
        computed = analyses.get(analysis, {}).get(option, [])
        if block[option] is None:
            block[option] = computed[0] if computed else None
        elif computed and block[option] not in computed:
            yield f"analyses.heads.{option}: {block[option]} is not among analyses.{analysis}.{option}; add it there."


def _datasets(block, analyses):
    """One data set for each analysis: the given one, or its first."""
    given, block["datasets"] = block["datasets"], {}
    for name, other in analyses.items():
        known = [other["dataset"]] if "dataset" in other else other["datasets"]
        chosen = given.get(name) or known[0]
        if chosen not in known:
            yield f"analyses.heads.datasets.{name}: {chosen!r} is not among its data sets; {nearest(chosen, known)}"
        block["datasets"][name] = chosen
    for name, chosen in given.items():
        if chosen is not None and name not in analyses:
            yield f"analyses.heads.datasets.{name}: analyses.{name} is not in the configuration; add it or remove this."
