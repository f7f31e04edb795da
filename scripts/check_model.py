"""Which analyses a model can have, and why not the others: `.venv/bin/python scripts/check_model.py FOLDER`.

FOLDER is in Hugging Face layout, such as results/models/NAME after a download. Nothing is written. The exit status is 1
where no analysis can use the model.
"""

import argparse
import sys
from pathlib import Path

from atlas.analyses.suitability import suitability
from atlas.errors import AtlasError


def main() -> int:
    """Print a line per analysis; the exit status."""
    parser = argparse.ArgumentParser(description="Which analyses a model can have, and why not the others.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="auto", help="as in the configuration (default: auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    options = parser.parse_args()
    usable = 0
    try:
        for what, refusal in suitability(options.folder, dtype=options.dtype, device=options.device):
            print(f"{what:20} {'yes' if refusal is None else 'no: ' + refusal}", flush=True)
            usable += refusal is None
    except AtlasError as error:
        print(error, file=sys.stderr)
    return 0 if usable else 1


if __name__ == "__main__":
    sys.exit(main())
