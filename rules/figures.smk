"""plot: each figure as pdf, svg and png from one job, and the checksums of all of them."""


def figure_output(category):
    """The three files of a figure, each in the report under its caption, and the caption itself."""
    files = {
        extension: report(
            f"figures/{{figure}}.{extension}",
            caption="../report/figure.rst",
            category=category,
            labels={"figure": "{figure}", "format": extension},
        )
        for extension in FORMATS
    }
    return {**files, "caption": "results/captions/{figure}.txt"}


def caption_file(wildcards):
    """A Path, so that the report's template can read the text that the plot job wrote (it states the true n)."""
    return Path(f"results/captions/{wildcards.figure}.txt")


rule plot_attention_sinks:
    input:
        weights="results/tables/attention_weights.parquet",
        effect="results/tables/meaningless_effect.parquet",
        library=library("plot_attention_sinks"),
    output:
        **figure_output("Attention with meaningless tokens"),
    params:
        figure=figure_params,
        caption=caption_file,
    log:
        "results/logs/plot/{figure}.log",
    conda:
        "../envs/atlas.yaml"
    wildcard_constraints:
        figure=figures_of("attention_sinks"),
    script:
        "../scripts/plot_attention_sinks.py"


rule plot_sink_rates:
    input:
        heads="results/tables/sinks.parquet",
        rates="results/tables/sink_rates.parquet",
        library=library("plot_sink_rates"),
    output:
        **figure_output("Attention sinks"),
    params:
        figure=figure_params,
        caption=caption_file,
    log:
        "results/logs/plot/{figure}.log",
    conda:
        "../envs/atlas.yaml"
    wildcard_constraints:
        figure=figures_of("sink_rates"),
    script:
        "../scripts/plot_sink_rates.py"


rule manifest:
    input:
        figures=figure_files(),
        library=library("write_manifest"),
    output:
        "figures/manifest.sha256",
    log:
        "results/logs/manifest.log",
    conda:
        "../envs/atlas.yaml"
    script:
        "../scripts/write_manifest.py"


# `snakemake figures/NAME` asks for NAME in all formats.
for figure in FIGURES:

    rule:
        name:
            f"figures/{figure}"
        input:
            [f"figures/{figure}.{extension}" for extension in FORMATS],
