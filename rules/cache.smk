"""`--cache RULE ...`: what workflows of one machine share in Snakemake's own cache of results."""

# Snakemake's cache takes rules with one output, names for all their params, files as inputs, and no measurement: what
# comes out of a cache has taken no time here.
CACHEABLE = ("download_package", "download_model", "download_dataset", "prepare_dataset")

for cached in workflow.workflow_settings.cache or ():
    if cached not in CACHEABLE:
        raise WorkflowError(f"--cache {cached}: only {', '.join(CACHEABLE)} can be cached.")
    workflow.get_rule(cached)._benchmark = None


if from_folders("download_model", MODELS):

    use rule download_model as copy_model with:
        benchmark:
            costs_of("copy_model", "{model}")
        wildcard_constraints:
            model=any_of(from_folders("download_model", MODELS)),


if from_folders("download_dataset", DATASETS):

    use rule download_dataset as copy_dataset with:
        benchmark:
            costs_of("copy_dataset", "{dataset}")
        wildcard_constraints:
            dataset=any_of(from_folders("download_dataset", DATASETS)),
