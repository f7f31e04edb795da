"""The document that goes with a result: where model and data come from, the options, the versions."""

from atlas.results.versions import package_versions

PACKAGES = ("torch", "transformers", "numpy", "pandas", "pyarrow")


def provenance(
    model: dict | None = None, dataset: dict | None = None, options: dict | None = None, **more: object
) -> dict[str, object]:
    """The provenance document of a result; model and dataset are named where there are any."""
    found = {"options": options, "versions": package_versions(*PACKAGES), **more}
    if model is not None:
        found["model"] = model
    if dataset is not None:
        found["dataset"] = dataset
    return found
