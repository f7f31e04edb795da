"""plot: each figure as pdf, svg and png from one job, and the checksums of all of them."""

# plot_saliency_density, plot_sink_rates, ...: one rule for each plot of the records, with one body.
for plot in registry.PLOTS:

    rule:
        name:
            f"plot_{plot}"
        input:
            unpack(figure_inputs),
        output:
            **figure_output(plot),
        log:
            log_of("plot", "{figure}"),
        wildcard_constraints:
            figure=figures_of(plot),
        conda:
            "../envs/atlas.yaml"
        resources:
            **asks_light(),
        params:
            *plot_library(plot),
            *map(content_of, CONFIG["fonts"]),
            plot=f"{registry.PLOT_FOLDERS[plot]}.plot_{plot}",
            tables=columns(*drawn_tables(plot)),
            figure=figure_params,
            empty=empty_tables,
            caption=caption_file,
        script:
            "../scripts/plot.py"


# What two runs of one configuration must agree on: all figures but those of costs, which measure the machine.
rule manifest:
    input:
        figures=figure_files(reproducible=True),
    output:
        f"{DRAWN}/manifest.sha256",
    log:
        f"{OWN}/logs/manifest.log",
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        *library("write_manifest"),
    script:
        "../scripts/write_manifest.py"


# The page that says what was run and what came out, the first one of the report: `snakemake --report report.html overview`.
# No part of figures/all, because it is there again whenever anything is.
rule overview:
    input:
        figure_files(),
        f"{DRAWN}/manifest.sha256",
        table_files(),
        **overview_inputs(),
    output:
        report(f"{OWN}/overview.html", caption="../report/overview.rst", category="What was run"),
    log:
        f"{OWN}/logs/overview.log",
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        *library("write_overview"),
        **overview_params(),
    script:
        "../scripts/write_overview.py"


# `snakemake figures/NAME` asks for NAME in all formats.
for figure in FIGURES:

    rule:
        name:
            f"figures/{figure}"
        input:
            [f"{DRAWN}/{figure}.{extension}" for extension in formats(figure)],
