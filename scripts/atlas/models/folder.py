"""A finished model folder, checked before each load.

Apart from sources.py, so that a change to how models are downloaded does not re-run what reads them.
"""

from pathlib import Path

from atlas.errors import AtlasError
from atlas.fetch_files import sha256_file
from atlas.models.safetensors_files import read_header
from atlas.provenance import read_provenance


def check_model_folder(folder: Path, full: bool = False) -> dict:
    """Checks that a model folder is complete; cheap enough for before every load.

    Every recorded file must be there with its size, and every safetensors header must fit its file. `full` compares the
    sha256 of each file too. Returns the provenance record. Raises AtlasError that names the first bad file.
    """
    folder = Path(folder)
    record = read_provenance(folder)
    again = f"delete {folder} and run again"
    for name, facts in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise AtlasError(f"{path} is missing: {again}.")
        if path.stat().st_size != facts["size"]:
            raise AtlasError(
                f"{path} has {path.stat().st_size} bytes instead of {facts['size']}: it was cut off or "
                f"changed; {again}."
            )
        if path.suffix == ".safetensors":
            read_header(path)
        if full and sha256_file(path) != facts["sha256"]:
            raise AtlasError(f"{path} was changed since it was brought in (its sha256 differs): {again}.")
    return record
