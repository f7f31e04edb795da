"""The project with one figure: what its jobs put in place, stage by stage, on the way to it."""

import hashlib

KEEP = "keep"
FIGURE, TABLE = "figures/sink_rates.pdf", "results/tables/sinks.parquet"
TARGETS = (FIGURE, TABLE)
SHARD = "results/activations/tiny/sinks/passages/{}-of-2.safetensors"
# stage -> what its job puts in place for model `tiny`, and what is made from that on the way to the figure
CHAIN = {
    "download": "results/models/tiny",
    "extract": SHARD.format(1),
    "gather": "results/activations/tiny/sinks/passages.safetensors",
    "metrics": "results/metrics/tiny/sinks/passages.parquet",
    "aggregate": TABLE,
    "plot": FIGURE,
}


def results(project):
    """sha256 of every result but logs."""
    paths = [path for name in ("results", "figures") for path in sorted((project.folder / name).rglob("*"))]
    return {
        str(path.relative_to(project.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
        and not {"logs", "benchmarks"} & set(path.parts)
        and path.name not in (KEEP, ".snakemake_timestamp")
    }


def forget(project, stage):
    """Delete what this stage makes, and all that follows from it."""
    stages = list(CHAIN)
    for name in stages[stages.index(stage) :]:
        project.remove(CHAIN[name])
        if name == "extract":
            project.remove(SHARD.format(2))
