"""Write the page that says what was run, on what, and what came out; the first page of the report."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.overview import Drawn, Run, page
from atlas.results.documents import PACKAGES
from atlas.results.files import read_frame, read_provenance, replacing
from atlas.results.provenance import read_provenance as read_record
from atlas.results.versions import package_versions
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    told, given = snakemake.params, snakemake.input
    models = dict(zip(told.models, given.models, strict=True))
    rows = dict(zip(told.datasets, given.get("datasets", []), strict=True))
    pictures = {Path(file).stem: Path(file) for file in given.get("pictures", [])}
    captions = dict(zip(told.figures, given.captions, strict=True))
    run = Run(
        {key: {"label": label, "record": read_record(Path(models[key]))} for key, label in told.models.items()},
        {key: {**facts, "record": read_provenance(rows[key])} for key, facts in told.datasets.items()},
        told.analyses,
        [
            Drawn(key, category, pictures.get(key), Path(captions[key]).read_text(encoding="utf-8").strip())
            for key, category in told.figures.items()
        ],
        read_frame(given.claims) if given.get("claims") else None,
        package_versions("snakemake", *PACKAGES),
    )
    with replacing(snakemake.output[0]) as temporary:
        temporary.write_text(page(run), encoding="utf-8")
