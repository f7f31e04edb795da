"""The sizes of a model whose files are here before it is brought in, or since an earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.fetch.entries import describe_source
from atlas.models.architectures import Shape, read_config, read_shape
from atlas.results.provenance import read_provenance


def shape_here(source: Any, folder: Path, project: Path) -> Shape | None:
    """The Shape in a model's config.json: where a `path` source lies, or in `folder`, if it was made of `source`.

    source: of its entry, one place or several; no model that is made of another. project: where relative paths begin.
    None where there is no such file, it is that of another source, or transformers alone could read it, which takes
    too long for a plan.
    """
    try:
        if isinstance(source, dict) and "path" in source:
            folder = project / Path(source["path"]).expanduser()
        else:
            places = source if isinstance(source, list) else [source]
            if read_provenance(folder)["source"] not in [describe_source(place) for place in places]:
                return None
        return read_shape(read_config(folder))
    except AtlasError:
        return None
