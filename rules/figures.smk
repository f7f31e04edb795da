"""plot: each figure as pdf, svg and png from one job, and the checksums of all of them."""


rule plot_saliency_density:
    input:
        saliency="results/tables/saliency.parquet",
        mixture="results/tables/saliency_mixture.parquet",
        auroc="results/tables/probe_auroc.parquet",
        library=library("plot_saliency_density"),
    output:
        **figure_output("Saliency of question-to-answer flow"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("saliency_density"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_saliency_density.py"


rule plot_saliency_by_layer:
    input:
        layers="results/tables/saliency_layers.parquet",
        library=library("plot_saliency_by_layer"),
    output:
        **figure_output("Saliency of question-to-answer flow"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("saliency_by_layer"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_saliency_by_layer.py"


rule plot_probe_auroc:
    input:
        auroc="results/tables/probe_auroc.parquet",
        library=library("plot_probe_auroc"),
    output:
        **figure_output("Saliency of question-to-answer flow"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("probe_auroc"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_probe_auroc.py"


rule plot_attention_sinks:
    input:
        weights="results/tables/attention_weights.parquet",
        effect="results/tables/meaningless_effect.parquet",
        library=library("plot_attention_sinks"),
    output:
        **figure_output("Attention with meaningless tokens"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("attention_sinks"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_attention_sinks.py"


rule plot_sink_rates:
    input:
        heads="results/tables/sinks.parquet",
        rates="results/tables/sink_rates.parquet",
        library=library("plot_sink_rates"),
    output:
        **figure_output("Attention sinks"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("sink_rates"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_sink_rates.py"


rule plot_head_categories:
    input:
        categories="results/tables/head_categories.parquet",
        pairs="results/tables/relation_pairs.parquet",
        library=library("plot_head_categories"),
    output:
        **figure_output("Head categories"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("head_categories"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_head_categories.py"


rule plot_category_share:
    input:
        categories="results/tables/head_categories.parquet",
        pairs="results/tables/relation_pairs.parquet",
        library=library("plot_category_share"),
    output:
        **figure_output("Head categories"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("category_share"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_category_share.py"


rule plot_mink_depth:
    input:
        mink="results/tables/mink.parquet",
        mink_graphs="results/tables/mink_graphs.parquet",
        mink_trend="results/tables/mink_trend.parquet",
        score_gap="results/tables/score_gap.parquet",
        discrepancy="results/tables/discrepancy.parquet",
        depth_accuracy="results/tables/depth_accuracy.parquet",
        library=library("plot_mink_depth"),
    output:
        **figure_output("Depthwise memorisation"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("mink_depth"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_mink_depth.py"


rule plot_safety_heads:
    input:
        table="results/tables/safety_heads.parquet",
        library=library("plot_safety_heads"),
    output:
        **figure_output("Safety heads"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("safety_heads"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_safety_heads.py"


# The search for groups is an analysis of its own; where it is configured, the caption names what it found.
GROUPS_TABLE = {"groups": "results/tables/head_groups.parquet"} if "head_groups" in ANALYSES else {}


rule plot_safety_effect:
    input:
        unpack(lambda wildcards: GROUPS_TABLE),
        table="results/tables/ablation_effect.parquet",
        library=library("plot_safety_effect"),
    output:
        **figure_output("Safety heads"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("safety_effect"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_safety_effect.py"


# The report's category of what joins all analyses.
HEADS = "All analyses, head by head"


rule plot_head_overlap:
    input:
        table="results/tables/head_overlap.parquet",
        library=library("plot_head_overlap"),
    output:
        **figure_output(HEADS),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("head_overlap"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=heads_params,
        caption=caption_file,
    script:
        "../scripts/plot_head_overlap.py"


# What the explorer shows beside the table heads, where its analysis is configured.
EXPLORER_TABLES = {
    table: f"results/tables/{table}.parquet"
    for table in ("head_relations", "attention_weights")
    if TABLE_ANALYSES[table] in ANALYSES
}


rule plot_explorer:
    input:
        **EXPLORER_TABLES,
        heads="results/tables/heads.parquet",
        page=[
            in_project(f"scripts/atlas/analyses/heads/page/explorer.{part}")
            for part in ("html", "css", "js")
        ],
        library=library("plot_explorer"),
    output:
        html=in_report("figures/{figure}.html", HEADS),
        caption="results/captions/{figure}.txt",
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("explorer"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=heads_params,
        caption=caption_file,
    script:
        "../scripts/plot_explorer.py"


rule plot_costs:
    input:
        table="results/tables/costs.parquet",
        library=library("plot_costs"),
    output:
        **figure_output("Costs"),
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure=figures_of("costs"),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        figure=figure_params,
        caption=caption_file,
    script:
        "../scripts/plot_costs.py"


# What two runs of one configuration must agree on: all figures but those of costs, which measure the machine.
rule manifest:
    input:
        figures=figure_files(reproducible=True),
        library=library("write_manifest"),
    output:
        "figures/manifest.sha256",
    log:
        "results/logs/manifest.log",
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    script:
        "../scripts/write_manifest.py"


# `snakemake figures/NAME` asks for NAME in all formats.
for figure in FIGURES:

    rule:
        name:
            f"figures/{figure}"
        input:
            [f"figures/{figure}.{extension}" for extension in formats(figure)],
