"""Makes the library and the shared test helpers importable."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
sys.path.append(str(ROOT / "benchmarks"))
