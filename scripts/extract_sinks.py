"""Attention received per position for natural, random and repeated input, for one shard of the sequences."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.sinks.extract import column_means, sequences
from atlas.models.folder import check_model_folder
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_arrays
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = snakemake.params.options
    tokenizer = load_tokenizer(snakemake.input.model)
    texts = read_frame(snakemake.input.dataset)["text"].tolist()
    model = load_model(snakemake.input.model, **snakemake.params.runtime)
    log.info("%s", describe_runtime(model))
    arrays, dropped = {}, {}
    for kind in options["inputs"]:
        ids, dropped[kind] = sequences(
            kind,
            tokenizer,
            texts,
            length=options["length"],
            number=options["sequences"],
            bos=options["bos"],
            seed=options["seed"],
        )
        found = column_means(
            model,
            ids,
            batch_tokens=options["batch_tokens"],
            shard=int(snakemake.wildcards.shard),
            shards=int(snakemake.wildcards.shards),
            progress=progress(kind, "batch"),
        )
        arrays.update({f"{kind}.{name}": array for name, array in found.items()})
    write_arrays(
        snakemake.output[0],
        arrays,
        provenance(
            model=check_model_folder(Path(snakemake.input.model)),
            dataset=read_provenance(snakemake.input.dataset)["dataset"],
            options=options,
            runtime=describe_runtime(model),
            samples={"dropped": {"too short": dropped}},
        ),
    )
