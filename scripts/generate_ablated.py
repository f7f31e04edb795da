"""Greedy answers with the strongest heads ablated, and with random heads ablated as control."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.analyses.safety_heads.ablation_effect import answers_frame, variants
from atlas.analyses.safety_heads.queries import build_queries
from atlas.models.architectures import read_shape
from atlas.models.folder import check_model_folder
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_frame
from atlas.results.tables import read_table
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options, folder = snakemake.params.options, snakemake.input.model
    drawn = {key: options[key] for key in ("ablations", "rank", "draws", "seed")}
    sets = variants(read_table(snakemake.input.ranks, "safety_heads"), numbers=options["heads"], **drawn)
    tokenizer, rows = load_tokenizer(folder), read_frame(snakemake.input.dataset)
    context = read_shape(folder).context
    room = None if context is None else context - options["new_tokens"]
    template = "analyses.ablation_effect.template"
    prompts, report = build_queries(tokenizer, rows, options["template"], room, template)
    model = load_model(folder, **snakemake.params.runtime)
    log.info("%s", describe_runtime(model))
    texts = answers(
        model,
        tokenizer,
        prompts,
        list(zip(sets["ablation"], sets["heads"], strict=True)),
        epsilon=options["epsilon"],
        new_tokens=options["new_tokens"],
        max_rows=options["max_rows"],
        progress=progress("ablated answers", "batch"),
    )
    document = provenance(
        model=check_model_folder(Path(folder)),
        dataset=read_provenance(snakemake.input.dataset)["dataset"],
        options=options,
        runtime=describe_runtime(model),
        samples=report,
    )
    write_frame(snakemake.output[0], answers_frame(sets, texts, report["ids"]), document)
