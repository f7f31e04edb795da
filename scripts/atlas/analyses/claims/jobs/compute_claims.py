"""Put every claim to one model, and every published value of it beside the measured one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.claims.said import read
from atlas.analyses.claims.table import Subject, claims_table, evidences, published_table
from atlas.results.documents import provenance
from atlas.results.files import read_provenance

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    """params.folders: with claims. subject, told: as in Subject and evidences. places: [model, table or extraction,
    data set] of each of the input `files`, in order."""
    params, options = task.params, task.options
    paths = task.inputs.get("files", [])
    paths = [paths] if isinstance(paths, str) else list(paths)
    files = {tuple(place): path for place, path in zip(params["places"], paths, strict=True)}
    subject = Subject(model=task.wildcards["model"], **params["subject"])
    said = {folder: read(folder) for folder in params["folders"]}
    known = evidences(subject, params["told"], files, options)
    claims = claims_table(said, subject, known, options, task.optional_frame("control"))
    published = published_table(said, subject, known, claims)
    counts = claims.drop_duplicates(["claim", "dataset"])["claim_verdict"].value_counts()
    task.log.info("claims: %s", ", ".join(f"{verdict} {n}" for verdict, n in counts.items()))
    sources = {path: read_provenance(path) for path in paths}
    return {"claims": claims, "published": published}, provenance(options=options, sources=sources)
