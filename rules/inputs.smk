"""Helpers of the rules: what the jobs of single analyses, and of figures, are given."""

import itertools


# ----------------------------------------------------------------------------------------------------------- saliency
def qa_samples(wildcards):
    """The answers with their exact tokens that a model is measured on."""
    return gathered("qa_samples", "parquet").format(
        model=answers_from(wildcards.model), dataset=wildcards.dataset
    )


def saliency_file(option):
    """Input function: a file that an option of this analysis names."""
    return lambda wildcards: handed_in(for_model("saliency", option, wildcards.model))


def saliency_content(*options):
    """Param function: what stands in the files that these options name."""
    return lambda wildcards: [
        content_of(for_model("saliency", option, wildcards.model)) for option in options
    ]


# ------------------------------------------------------------------------------------------------------------- Min-K%
def judge_options(wildcards):
    """The judge's kind and the options of that kind alone."""
    judge = ANALYSES["mink"]["judge"]
    return {key: value for key, value in judge.items() if key in ("kind", judge["kind"])}


def reference_of(model):
    """The reference model of a model's membership scores; an empty text where there is none, or for itself."""
    reference = for_model("membership", "reference", model)
    return "" if reference in (None, model) else reference


def reference_logprobs(wildcards):
    """Input function: its log-probabilities of the same texts."""
    model = reference_of(wildcards.model)
    if not model:
        return {}
    file = gathered("membership_logprobs").format(model=model, dataset=wildcards.dataset)
    return {"reference": file}


def answers_input(wanted):
    """Input function: the answers (of the base of a control), where an analysis needs them."""

    def inputs(wildcards):
        model, dataset = answers_from(wildcards.model), wildcards.dataset
        return (
            {"answers": gathered("answers", "parquet").format(model=model, dataset=dataset)}
            if wanted()
            else {}
        )

    return inputs


def context_input(wildcards):
    """Input function: answers to questions behind those that they build on, where such are asked for."""
    if ANALYSES["mink"]["prompts"] == ["zero_shot"]:
        return {}
    return {
        "context": gathered("context_answers", "parquet").format(
            model=answers_from(wildcards.model), dataset=wildcards.dataset
        )
    }


# ----------------------------------------------------------------------------------------- all analyses, head by head
def joined(wildcards):
    """{analysis: its tables of single heads} of those that cover a model, in the order of their columns."""
    return {
        analysis: list(registry.ANALYSES[analysis].head_tables)
        for analysis in ANALYSES["heads"]["datasets"]
        if wildcards.model in ANALYSES[analysis]["models"]
    }


def joined_files(wildcards):
    """Their files for the one data set that analyses.heads names."""
    return {
        table: metric(table).format(
            model=wildcards.model, dataset=ANALYSES["heads"]["datasets"][analysis]
        )
        for analysis, tables in joined(wildcards).items()
        for table in tables
    }


def head_libraries(*modules):
    """A library with what each analysis says of single heads."""
    told = [
        f"{analysis}.head_columns" for analysis in ANALYSES.get("heads", {}).get("datasets", ())
    ]
    return library("compute", *modules, *told)


# ------------------------------------------------------------------------------------------------------------- claims
def claims_told(model):
    """{analysis: its data sets, the relatives of a model there, and its options} of those that cover it."""
    return {
        analysis: {
            "datasets": datasets_of(ANALYSES[analysis]),
            "relatives": relatives(
                model, {key: MODELS[key] for key in ANALYSES[analysis]["models"]}
            ),
            "options": {
                option: for_model(analysis, option, model)
                for option in registry.CLAIMS[folder].reads[analysis]["options"]
            },
        }
        for analysis, folder in registry.CLAIM_FOLDERS.items()
        if analysis in ANALYSES and model in ANALYSES[analysis]["models"]
    }


def claims_files(model):
    """{(model, table or extraction, data set): its file} that claims on a model look at, its relatives' among them."""
    found = {}
    for analysis, told in claims_told(model).items():
        reads = registry.CLAIMS[registry.CLAIM_FOLDERS[analysis]].reads[analysis]
        stored = {name: gathered(name) for name in reads["activations"]}
        stored |= {name: metric(name, "safetensors") for name in reads["metrics"]}
        everything = [*reads["tables"], *stored]
        looked_at = [(model, name) for name in everything]
        looked_at += [
            (key, name)
            for relative, key in told["relatives"].items()
            for name in reads["of"].get(relative, [])
        ]
        for (key, name), dataset in itertools.product(looked_at, told["datasets"]):
            if name in stored:
                found[key, name, dataset] = stored[name].format(model=key, dataset=dataset)
            else:
                for file in metric_files(name, [key], [dataset]):
                    found[key, name, dataset] = file
    return {place: file for place, file in found.items() if made(file)}


def claims_inputs(wildcards):
    """Those files, and the claims of the model's control where they are computed too."""
    control = control_of(wildcards.model)
    listed = control if control in ANALYSES["claims"]["models"] else ""
    file = f"{METRICS}/claims.parquet".format(model=control)
    return {
        "files": list(claims_files(wildcards.model).values()),
        **({"control": file} if listed and made(file) else {}),
    }


def claim_libraries(*modules):
    """A library with what each analysis claims, and how it is measured."""
    folders = registry.CLAIMS
    return library(
        "compute",
        *modules,
        *(f"{folder}.claims" for folder in folders),
        files=[f"atlas/analyses/{folder}/claims.yaml" for folder in folders],
    )


def own_ranks(wildcards):
    """Input function: the heads of every prompt in order, where answers are given without each prompt's own heads."""
    own = for_model("ablation_effect", "own_heads", wildcards.model)
    return {"own": PROMPT_RANKS.format(**wildcards)} if own else {}


def control_of(model):
    """The first control of a model; an empty text where it has none."""
    return relatives(model, MODELS).get("control", "")


def claims_subject(wildcards):
    """Who a model is, and why analyses have nothing to say of it."""
    told = claims_told(wildcards.model)
    absent = {
        analysis: (
            f"analyses.{analysis} does not cover this model"
            if analysis in ANALYSES
            else f"analyses.{analysis} is not in the configuration"
        )
        for analysis in registry.CLAIM_FOLDERS
        if analysis not in told
    }
    entry = MODELS[wildcards.model]
    return {
        "repo": repo_of(entry),
        "is_control": "control" in entry["source"],
        "control": control_of(wildcards.model),
        "absent": absent,
    }


# ------------------------------------------------------------------------------------------------------------ figures
def figures_of(plot):
    """Wildcard constraint: the configured figures that use this plot."""
    return any_of([key for key, figure in FIGURES.items() if figure["plot"] == plot])


def formats(figure):
    return ["html"] if registry.PLOTS[FIGURES[figure]["plot"]].page else FORMATS


def figure_files(reproducible=False):
    """All figures, or those whose bytes are the same on every machine."""
    return [
        f"{DRAWN}/{key}.{extension}"
        for key, figure in FIGURES.items()
        if not (reproducible and registry.PLOTS[figure["plot"]].measures_machine)
        for extension in formats(key)
    ]


def figure_output(plot):
    """The three files of a figure (or its page), each in the report, and the caption."""
    category, page = registry.PLOTS[plot].category, registry.PLOTS[plot].page
    files = {
        extension: in_report(f"{DRAWN}/{{figure}}.{extension}", category)
        for extension in (["html"] if page else FORMATS)
    }
    return {**files, "caption": f"{OWN}/captions/{{figure}}.txt"}


def caption_file(wildcards):
    """A Path, so that the report's template can read the text that the plot job wrote (it states the true n)."""
    return Path(f"{OWN}/captions/{wildcards.figure}.txt")


def drawn_tables(plot):
    """The tables that a plot can read: its own, and those beside them whose analysis is configured."""
    record = registry.PLOTS[plot]
    known = registry.TABLE_ANALYSES | registry.JOINED_TABLES
    return [*record.tables, *(table for table in record.beside if known[table] in ANALYSES)]


def shown_tables(figure):
    """Those of them that this figure reads: what stands beside its own may be asked for by an option."""
    asked_by = registry.PLOTS[figure["plot"]].asked_by
    return [
        table
        for table in drawn_tables(figure["plot"])
        if table not in asked_by or figure[asked_by[table]]
    ]


def figure_datasets(figure, table):
    """The data sets that a figure shows by a table; None: those of its analysis."""
    option = registry.PLOTS[figure["plot"]].datasets_of.get(table, "dataset")
    return figure.get("datasets") or ([figure[option]] if option in figure else None)


def figure_inputs(wildcards):
    """{table: files} of the models and data sets that a figure shows, and of no others; and fonts that are handed in."""
    figure = FIGURES[wildcards.figure]
    listed = registry.PLOTS[figure["plot"]].models_of

    def files(table):
        models = {*shown_models(figure, figure[listed.get(table, "models")])}
        return list(filter(made, metric_files(table, models, figure_datasets(figure, table))))

    fonts = list(map(handed_in, CONFIG["fonts"]))
    tables = {
        table: f"{OWN}/tables/costs.parquet" if table == "costs" else files(table)
        for table in shown_tables(figure)
    }
    return {**tables, **({"fonts": fonts} if fonts else {})}


def empty_tables(wildcards):
    """Tables of which the figure shows no model, so that they have no rows here."""
    figure = FIGURES[wildcards.figure]
    return [
        table
        for table, option in registry.PLOTS[figure["plot"]].models_of.items()
        if not figure[option]
    ]


def own_options(figure, models):
    """{label: what these models have otherwise than the analyses that a figure shows}."""
    analysis = registry.PLOT_ANALYSES[figure["plot"]]
    if analysis is None:
        return {}
    record = registry.ANALYSES[analysis]
    shown = (
        [analysis, *([record.starts_from] if record.starts_from else [])]
        if record.kind
        else [name for name in registry.JOINED_FROM[analysis] if name in ANALYSES]
    )
    said = {
        label_of("models", model, figure, CONFIG): told_options(shown, model, CONFIG)
        for model in models
    }
    return {label: ", ".join(lines) for label, lines in said.items() if lines}


def docs_apart():
    """Whether figures/ stands elsewhere than beside the project's docs/: in another working directory, behind a prefix or
    in a storage. No more of where it is stands among a figure's params."""
    stored = workflow.storage_settings.default_storage_provider is not None
    return stored or placed(DRAWN) != DRAWN or PROJECT.resolve() != Path.cwd().resolve()


def figure_params(wildcards):
    """A figure's own options, and the labels of what it shows."""
    figure = dict(FIGURES[wildcards.figure])
    asked = dict.fromkeys([*figure["models"], *figure.get("kde_models", [])])
    for key in {"models", "kde_models"} & figure.keys():
        figure[key] = shown_models(figure, figure[key])
    shown = dict.fromkeys([*figure["models"], *figure.get("kde_models", [])])
    gone = [label_of("models", model, figure, CONFIG) for model in asked if model not in shown]
    beside = [
        table for table in shown_tables(figure) if table in registry.PLOTS[figure["plot"]].beside
    ]
    lost = missing_of(
        f for table in beside for f in metric_files(table, shown, figure_datasets(figure, table))
    )
    own = own_options(figure, shown)
    found = {
        **figure,
        **({"not_shown": gone} if gone else {}),
        **({"not_made": lost} if lost else {}),
        **({"own_options": own} if own else {}),
        **labels_in(figure, list(shown), CONFIG),
        **({"docs_apart": True} if figure["plot"] == "explorer" and docs_apart() else {}),
    }
    if registry.PLOT_ANALYSES[figure["plot"]] == "heads":
        # Figures of the joined table: what its options were.
        found |= {key: ANALYSES["heads"][key] for key in ("bootstrap", "confidence", "datasets")}
    return found


def plot_library(plot):
    """What draws this plot; figures of the joined table ask each analysis how its columns are told."""
    told = []
    if registry.PLOT_ANALYSES[plot] == "heads":
        told = [
            f"{analysis}.head_columns" for analysis in ANALYSES.get("heads", {}).get("datasets", ())
        ]
    folder = registry.PLOT_FOLDERS[plot]
    beside = [f"atlas/analyses/{folder}/{file}" for file in registry.PLOTS[plot].files]
    return library("plot", f"{folder}.plot_{plot}", *told, files=beside)


def overview_inputs():
    """What the page about the whole run reads, by name; figures and tables come beside it."""
    claims = f"{OWN}/tables/claims.parquet"
    models, datasets = analysed()
    return {
        "models": [MODEL.format(model=model) for model in models],
        "datasets": [DATASET.format(dataset=dataset) for dataset in datasets],
        "captions": [f"{OWN}/captions/{figure}.txt" for figure in FIGURES],
        "pictures": [f"{DRAWN}/{figure}.png" for figure in FIGURES if "png" in formats(figure)],
        **({"claims": claims} if claims in table_files() else {}),
    }


def overview_params():
    """What it is told of the configuration: labels, sources, options, and each figure's heading."""
    models, datasets = analysed()
    return {
        "models": {key: MODELS[key]["label"] for key in models},
        "datasets": {
            key: {name: DATASETS[key][name] for name in ("label", "kind", "source")}
            for key in datasets
        },
        "analyses": dict(ANALYSES),
        "figures": {
            key: registry.PLOTS[figure["plot"]].category for key, figure in FIGURES.items()
        },
    }
