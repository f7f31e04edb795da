"""Write the table of docs/clusters.md: what each stage asks for models of three sizes, under config.yaml."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from atlas.config import checked
from atlas.planning.estimates import ROWS, Job, Size
from atlas.planning.resources import STAGES, gpus, memory_mb, runtime_minutes, stage_options

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- table: python docs/resource_table.py -->\n", "<!-- end of table -->\n"
# name: (shape, how it is loaded)
MODELS: dict[str, tuple[Size, dict[str, Any]]] = {
    "135M on a CPU": (Size(134_515_008, 30, 270, 64, 192, 576, 49_152, file_bytes=4), {}),
    "8B on a GPU": (Size(8_030_261_248, 32, 1_024, 128, 1_024, 4_096, 128_256), {"gpu": True}),
    "70B on GPUs of 80 GB": (
        Size(70_553_706_496, 80, 5_120, 128, 1_024, 8_192, 128_256),
        {"gpu": True, "device_map": "auto"},
    ),
}


def rows(config: Mapping[str, Any], block: Mapping[str, Any]) -> int:
    """Rows of an analysis's first data set, as far as the configuration tells them."""
    entry = config["datasets"][block["dataset"] if "dataset" in block else block["datasets"][0]]
    return (entry["sample"] or {}).get("n") or entry["limit"] or ROWS


def table() -> str:
    """One line for each stage: main memory, GPUs and minutes for each of MODELS."""
    config = checked(yaml.safe_load((ROOT / "config.yaml").read_text()), ROOT)
    lines = ["| stage | " + " | ".join(MODELS) + " |", "| --- |" + " --- |" * len(MODELS)]
    for stage, found in STAGES.items():
        blocks = config["analyses"]
        cells = []
        for size, loaded in MODELS.values():
            job = Job(
                size, stage_options(stage, blocks.__getitem__), rows(config, blocks[found.analyses[-1]]), **loaded
            )
            shards = blocks[found.analyses[0]].get("shards", 1) if len(found.analyses) == 1 else 1
            number, minutes = gpus(stage, job), runtime_minutes(stage, job, shards=shards)
            cells.append(
                f"{memory_mb(stage, job) / 1000:.1f} GB, " + (f"{number} GPU, " if number else "") + f"{minutes} min"
            )
        lines.append(f"| `{stage}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def render(text: str) -> str:
    """`text` with what stands between the two marks replaced by the table."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    path = ROOT / "docs" / "clusters.md"
    path.write_text(render(path.read_text()))
