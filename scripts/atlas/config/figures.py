"""Checks of the figures: each draws an analysis of the configuration, with models and data sets of its own."""

from atlas.config.problems import nearest

# plot -> (the analysis it draws, the kind of data set that analysis reads; None: it has none of its own); costs draws
# the run itself
PLOTS = {
    "saliency_density": ("saliency", "qa"),
    "saliency_by_layer": ("saliency", "qa"),
    "probe_auroc": ("saliency", "qa"),
    "attention_sinks": ("meaningless_tokens", "prompts"),
    "sink_rates": ("sinks", "text"),
    "head_categories": ("head_categories", "relations"),
    "category_share": ("head_categories", "relations"),
    "mink_depth": ("mink", "depth"),
    "safety_heads": ("safety_heads", "prompts"),
    "safety_effect": ("ablation_effect", "prompts"),
    "head_overlap": ("heads", None),
    "explorer": ("heads", None),
    "costs": (None, None),
}
# Plots that are one page of HTML; all others are pdf, svg and png.
PAGES = ("explorer",)


def figure_problems(key, figure, config):
    where, models = f"figures.{key}", config["models"]
    figure.setdefault("plot", key)
    if figure["plot"] not in PLOTS:
        yield f"{where}: {key!r} is not a plot; give `plot:`, one of {', '.join(PLOTS)} ({nearest(key, PLOTS)})"
        return
    analysis, _ = PLOTS[figure["plot"]]
    if analysis is not None and analysis not in config["analyses"]:
        yield f"{where}: it draws analyses.{analysis}, which is not in the configuration; add that block."
        return
    block = config["analyses"][analysis] if analysis else {"models": list(models)}
    if figure["models"] in ("all", "trained"):
        figure["models"] = [
            key for key in block["models"] if figure["models"] == "all" or "control" not in models[key]["source"]
        ]
    if figure["plot"] == "mink_depth":
        yield from _mink_depth(where, figure, block)
    for model in figure["models"]:
        if model not in models:
            yield f"{where}.models: there is no model {model!r}; {nearest(model, models)}"
        elif model not in block["models"]:
            yield f"{where}.models: {model!r} is not among analyses.{analysis}.models; add it there."
    if analysis is None:
        if "dataset" in figure:
            yield f"{where}.dataset: {figure['plot']} has none; remove the line."
    elif analysis == "saliency":
        yield from _saliency(where, figure, block)
    elif PLOTS[figure["plot"]][1] is None:
        yield from _heads(where, figure, block)
    else:
        yield from _figure_dataset(where, figure, block)
    for option in ("xlim", "ylim", "xticks", "yticks", "heads"):
        value = figure.get(option)
        if isinstance(value, dict) and not (option == "heads" and "auto" in value):
            for model in value:
                if model not in figure["models"]:
                    yield f"{where}.{option}: {model!r} is not among its models; {nearest(model, figure['models'])}"
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
            yield f"{where}.kde_models: {model!r} is not among analyses.mink.models; {nearest(model, block['models'])}"
    for option, listed in (("k_percent", "k_percent"), ("text", "texts")):
        if figure.get(option) is None:
            figure[option] = block[listed][0]
        elif figure[option] not in block[listed]:
            known = ", ".join(map(str, block[listed]))
            yield f"{where}.{option}: {figure[option]} is not among analyses.mink.{listed} ({known}); add it there."
    figure.setdefault("measure", "mink")
    figure.setdefault("letters", True)
    figure["average"] = block["average"]


def _saliency(where, figure, block):
    """Figures of several data sets."""
    for dataset in figure.setdefault("datasets", list(block["datasets"])):
        if dataset not in block["datasets"]:
            near = nearest(dataset, block["datasets"])
            yield f"{where}.datasets: {dataset!r} is not among the analysis's data sets; {near}"
    if figure["plot"] != "probe_auroc" and figure.setdefault("loss", block["loss"][0]) not in block["loss"]:
        known = ", ".join(block["loss"])
        yield f"{where}.loss: {figure['loss']!r} is not among analyses.saliency.loss ({known}); add it there."
    figure["confidence"] = block["confidence"]


def _heads(where, figure, block):
    """Options of the figures of the joined table; those of the explorer are filled in for it alone."""
    if "dataset" in figure:
        yield f"{where}.dataset: it shows several; analyses.heads.datasets says which."
    if figure.get("metrics") is None:
        figure["metrics"] = list(block["metrics"])
    if figure["plot"] == "explorer":
        figure.setdefault("relations", 5)
        figure.setdefault("curves", 1000)
        figure.setdefault("min_prompts", 10)
        return
    figure.setdefault("alpha", 0.05)
    for metric in figure["metrics"]:
        if metric not in block["metrics"]:
            yield f"{where}.metrics: {metric!r} is not among analyses.heads.metrics; add it there."


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
        near = nearest(figure["dataset"], block["datasets"])
        yield f"{where}.dataset: {figure['dataset']!r} is not among the analysis's data sets; {near}"
