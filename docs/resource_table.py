"""Write the tables of what jobs ask for under config.yaml: by stage (docs/clusters.md), by card (docs/gpu.md)."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from atlas.config import checked
from atlas.planning.estimates import Job, Size
from atlas.planning.resources import STAGES, gpu_mb, gpus, memory_mb, runtime_minutes, stage_options
from atlas.planning.rows_at_hand import Rows, planned_rows

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- table: python docs/resource_table.py -->\n", "<!-- end of table -->\n"
# name: (shape, how it is loaded)
MODELS: dict[str, tuple[Size, dict[str, Any]]] = {
    "135M on a CPU": (Size(134_515_008, 30, 270, 64, 192, 576, 49_152, file_bytes=4, inner=4_608), {}),
    "8B on a GPU": (Size(8_030_261_248, 32, 1_024, 128, 1_024, 4_096, 128_256, inner=43_008), {"gpu": True}),
    "70B on GPUs of 80 GB": (
        Size(70_553_706_496, 80, 5_120, 128, 1_024, 8_192, 128_256, inner=86_016),
        {"gpu": True, "device_map": "auto"},
    ),
}

# Stages of options that config.yaml leaves out; what a model takes is told of the default run.
OFF_BY_DEFAULT = {"generate_context_answers"}
# Of docs/gpu.md, with the dtypes that each is shown in.
SIZES: dict[str, tuple[Size, tuple[str, ...]]] = {
    "SmolLM2-135M": (MODELS["135M on a CPU"][0], ("float32", "bfloat16")),
    "GPT-2 XL": (Size(1_557_611_200, 48, 1_200, 64, 1_600, 1_600, 50_257, inner=25_600), ("float32", "bfloat16")),
    "Llama-2-7B": (Size(6_738_415_616, 32, 1_024, 128, 4_096, 4_096, 32_000, inner=33_024), ("float32", "bfloat16")),
    "Llama-3-8B": (MODELS["8B on a GPU"][0], ("float32", "bfloat16")),
    "Pythia-12B": (Size(11_846_072_320, 36, 1_440, 128, 5_120, 5_120, 50_688, inner=40_960), ("bfloat16",)),
    "Llama-3-70B": (MODELS["70B on GPUs of 80 GB"][0], ("bfloat16",)),
}
CARDS = (24, 40, 80)


def rows(config: Mapping[str, Any], block: Mapping[str, Any]) -> Rows:
    """Rows of an analysis's first data set, as far as the configuration tells them."""
    return planned_rows(config["datasets"][block["dataset"] if "dataset" in block else block["datasets"][0]])


def jobs(size: Size, **loaded: Any) -> dict[str, tuple[Job, int]]:
    """{stage: (one of its jobs, shards)} of a model under config.yaml."""
    config = checked(yaml.safe_load((ROOT / "config.yaml").read_text()), ROOT)
    blocks, found = config["analyses"], {}
    for stage, record in STAGES.items():
        options = stage_options(stage, blocks.__getitem__)
        shards = blocks[record.analyses[0]].get("shards", 1) if len(record.analyses) == 1 else 1
        found[stage] = Job(size, options, *rows(config, blocks[record.analyses[-1]]), **loaded), shards
    return found


def stage_table() -> str:
    """One line for each stage: main memory, GPUs and minutes for each of MODELS."""
    lines = ["| stage | " + " | ".join(MODELS) + " |", "| --- |" + " --- |" * len(MODELS)]
    by_model = [jobs(size, **loaded) for size, loaded in MODELS.values()]
    for stage in STAGES:
        cells = []
        for found in by_model:
            job, shards = found[stage]
            number, minutes = gpus(stage, job), runtime_minutes(stage, job, shards=shards)
            cells.append(
                f"{memory_mb(stage, job) / 1000:.1f} GB, " + (f"{number} GPU, " if number else "") + f"{minutes} min"
            )
        lines.append(f"| `{stage}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def one_text(job: Job) -> Job:
    """The same job with batches of one text: the least that cut batches need."""
    small = {"batch_tokens": 64, "batch_size": 1, "max_rows": 1}
    options = {key: small.get(key, value) for key, value in job.options.items()}
    if "predictions" in options:
        options["predictions"] = {**options["predictions"], "batch_size": 1}
    return replace(job, options=options)


def fit_table() -> str:
    """One line for each model and dtype: the memory of its largest job, and how many cards of a size that needs."""
    head = ["model", "dtype", "weights", "one text at a time", "whole batches", "largest in"]
    head += [*(f"{card} GB" for card in CARDS), "minutes"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " --- |" * (len(head) - 1)]
    for name, (size, dtypes) in SIZES.items():
        for dtype in dtypes:
            found = {
                stage: of for stage, of in jobs(size, gpu=True, dtype=dtype).items() if stage not in OFF_BY_DEFAULT
            }
            asked = {stage: gpu_mb(stage, job) for stage, (job, _) in found.items()}
            largest = max(asked, key=asked.__getitem__)
            least = max(gpu_mb(stage, one_text(job)) for stage, (job, _) in found.items())
            spread = [
                [replace(job, device_map="auto", gpu_memory_gb=card) for job, _ in found.values()] for card in CARDS
            ]
            numbers = [max(map(gpus, found, some)) for some in spread]
            minutes = sum(runtime_minutes(stage, job) for stage, (job, _) in found.items())
            weights = size.parameters * found[largest][0].bytes
            sizes = [f"{number / 1e3:.1f} GB" for number in (weights / 1e6, least, asked[largest])]
            lines.append(
                "| " + " | ".join([name, dtype, *sizes, f"`{largest}`", *map(str, numbers), str(minutes)]) + " |"
            )
    return "\n".join(lines) + "\n"


TABLES = {"clusters.md": stage_table, "gpu.md": fit_table}


def render(page: str, text: str) -> str:
    """`text` of a page with what stands between the two marks replaced by its table."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + TABLES[page]() + END + rest.split(END)[1]


if __name__ == "__main__":
    for page in TABLES:
        path = ROOT / "docs" / page
        path.write_text(render(page, path.read_text()))
