"""LLM Internals Atlas: analyses of what goes on inside decoder language models, every figure a tracked target."""

from snakemake.utils import min_version

min_version("9.0")


# The project's own, wherever the run works (--directory) and whoever includes this file; rules/common.smk looks for
# another one in the working directory.
configfile: workflow.current_basedir.join("config.yaml").get_path_or_uri(secret_free=True)


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/partial.smk"
include: "rules/resources.smk"
include: "rules/one_load.smk"
include: "rules/models.smk"
include: "rules/datasets.smk"
include: "rules/cache.smk"
include: "rules/stages.smk"
include: "rules/saliency.smk"
include: "rules/span_saliency.smk"
include: "rules/meaningless_tokens.smk"
include: "rules/sinks.smk"
include: "rules/head_types.smk"
include: "rules/head_categories.smk"
include: "rules/mink.smk"
include: "rules/membership.smk"
include: "rules/safety_heads.smk"
include: "rules/heads.smk"
include: "rules/claims.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/targets.smk"


# On a machine with a network, for a run on one without.
rule downloads:
    input:
        brought_in(),


# A rule without output, by intention: a file of this name would look up to date after one figure was deleted.
rule figures_all:
    name:
        "figures/all"
    default_target: True
    input:
        figure_files(),
        f"{DRAWN}/manifest.sha256",
        table_files(),
