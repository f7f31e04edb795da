"""LLM Internals Atlas: the library behind the workflow. It knows nothing of Snakemake."""
