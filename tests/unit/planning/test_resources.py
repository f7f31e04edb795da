"""What jobs ask for: the formulas, their growth, and the table in docs/clusters.md."""

import sys

import pytest
import yaml

from atlas.models.architectures import Shape
from atlas.planning.estimates import Job, Size
from atlas.planning.resources import (
    STAGES,
    download_mb,
    download_minutes,
    gpu_mb,
    gpus,
    light_mb,
    memory_mb,
    runtime_minutes,
    stage_options,
)
from places import ROOT

SMALL = Size(134_515_008, 30, 270, 64, 192, 576, 49_152, file_bytes=4, inner=4_608)
LARGE = Size(70_553_706_496, 80, 5_120, 128, 1_024, 8_192, 128_256, inner=86_016)
OPTIONS = {"batch_tokens": 4096, "inputs": ["natural", "random"], "length": 64, "sequences": 64}


def test_memory_on_a_cpu_holds_the_weights_as_stored_and_as_loaded():
    # 1200 + 538 MB mapped + 538 MB in float32 + 4096 tokens x (4608 + 5 x 576) x 4 bytes
    # + 2 tiles of 2**21 scores + sums of 270 heads and 4 norms of 30 layers
    working = 122.683 + 16.777 + 6.390
    assert memory_mb("extract_sinks", Job(SMALL, OPTIONS)) == round(1200 + 2 * 538.060 + working + 0.5)
    half = memory_mb("extract_sinks", Job(SMALL, OPTIONS, dtype="bfloat16"))
    working = 122.683 / 2 + 16.777 + 4.194 + 6.390  # the scores as they come, too
    assert half == round(1200 + 538.060 + 269.030 + working + 0.5)


def test_memory_with_a_gpu_is_bounded_by_what_is_staged():
    assert memory_mb("extract_sinks", Job(LARGE, OPTIONS, gpu=True)) == 1200 + 3000 + 10_000
    assert memory_mb("extract_sinks", Job(SMALL, OPTIONS, gpu=True)) == round(4200 + 538.060 + 0.5)


@pytest.mark.parametrize("stage", [*STAGES, "a_stage_of_its_own"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_attempts_ask_for_as_much_again(stage, size, defaults):
    job = Job(size, stage_options(stage, defaults.__getitem__))
    for ask in (memory_mb, runtime_minutes):
        once = ask(stage, job)
        for attempt in (2, 3):
            assert (once - 1) * attempt < ask(stage, job, attempt) <= once * attempt
    assert memory_mb(stage, job) >= 1500 or stage == "a_stage_of_its_own"


@pytest.mark.parametrize("stage", STAGES)
def test_larger_models_ask_for_more(stage, defaults):
    options = stage_options(stage, defaults.__getitem__)
    small, large = Job(SMALL, options), Job(LARGE, options)
    assert memory_mb(stage, large) > 2 * memory_mb(stage, small)
    # Beside the ten that every job has.
    assert runtime_minutes(stage, large) - 10 > 10 * (runtime_minutes(stage, small) - 10)


def test_whole_models_fit_and_weights_read_by_layers_need_less(defaults):
    asked = {stage: memory_mb(stage, Job(LARGE, stage_options(stage, defaults.__getitem__))) for stage in STAGES}
    weights = LARGE.parameters * 4 / 1e6
    assert all(number > weights for stage, number in asked.items() if stage != "extract_head_mappings")
    assert asked["extract_head_mappings"] < weights / 10


def test_gpus_are_counted_from_memory_only_under_a_device_map():
    job = {"size": LARGE, "options": OPTIONS}
    assert gpus("extract_sinks", Job(**job)) == 0
    assert gpus("extract_sinks", Job(**job, gpu=True)) == 1
    spread = {**job, "gpu": True, "device_map": "auto"}
    assert gpus("extract_sinks", Job(**spread)) == 2  # 141 GB, and 1.7 GB each, into 77 GB each
    assert gpus("extract_sinks", Job(**spread, gpu_memory_gb=24)) == 7
    assert gpus("extract_sinks", Job(**spread, dtype="float32")) == 4
    assert gpus("extract_head_mappings", Job(LARGE, {"memory_mb": 1024}, gpu=True, device_map="auto")) == 1
    assert gpus("extract_sinks", Job(**spread, gpu_memory_gb=1)) == LARGE.layers  # no more than can have a layer
    assert gpus("extract_sinks", Job(SMALL, OPTIONS, gpu=True, device_map="auto")) == 1


def test_memory_of_a_gpu_holds_its_context_its_part_of_the_weights_and_the_work():
    working = STAGES["extract_sinks"].memory(Job(LARGE, OPTIONS, gpu=True))
    assert working.single * 1e6 == pytest.approx(4096 * (86_016 + 5 * 8_192) * 2 + 4096 * 64 * 64 * (4 + 6))
    assert working.spread * 1e6 == pytest.approx(4096 * (5_120 + 4 * 80) * 4)
    assert gpu_mb("extract_sinks", Job(LARGE, OPTIONS)) == 0
    one = gpu_mb("extract_sinks", Job(LARGE, OPTIONS, gpu=True))
    assert one == pytest.approx((650 + 141_107.4 + working.spread + working.single) / 0.9, abs=1)
    two = gpu_mb("extract_sinks", Job(LARGE, OPTIONS, gpu=True, device_map="auto"))
    assert two == pytest.approx((650 + (141_107.4 + working.spread) / 2 + working.single) / 0.9, abs=1)


@pytest.mark.parametrize("stage", STAGES)
def test_further_attempts_ask_for_more_gpu_memory_or_more_gpus(stage, defaults):
    options = stage_options(stage, defaults.__getitem__)
    whole = Job(LARGE, options, gpu=True)
    asked = [gpu_mb(stage, whole, attempt) for attempt in (1, 2, 3)]
    assert asked[0] < asked[1] < asked[2]
    assert [gpus(stage, whole, attempt) for attempt in (1, 2, 3)] == [1, 1, 1]
    spread = [gpus(stage, Job(LARGE, options, gpu=True, device_map="auto"), attempt) for attempt in (1, 2, 3)]
    assert spread[0] < spread[1] < spread[2] or stage == "extract_head_mappings"
    assert [gpus(stage, Job(LARGE, options), attempt) for attempt in (1, 2)] == [0, 0]


def test_log_probabilities_hold_blocks_of_logits_and_not_all():
    options = {"batch_tokens": 8192, "texts": ["answer"]}
    job = Job(LARGE, options, gpu=True, device_map="auto")
    assert STAGES["extract_token_logprobs"].memory(job).total == pytest.approx(2_080, rel=0.02)
    assert gpus("extract_token_logprobs", job) == 2
    wide = Job(SMALL, options, gpu=True)  # 2**26 logits as they come, in float32, and two more arrays
    assert STAGES["extract_token_logprobs"].memory(wide).total == pytest.approx(2**26 * 14 / 1e6 + 18.9, rel=0.01)


def test_shards_and_threads_divide_the_work_not_the_start():
    size, options = LARGE, OPTIONS
    whole = runtime_minutes("extract_sinks", Job(size, options))
    start = runtime_minutes("extract_sinks", Job(size, options), shards=10**9)
    assert runtime_minutes("extract_sinks", Job(size, options), shards=4) - start == pytest.approx(
        (whole - start) / 4, abs=1
    )
    assert runtime_minutes("extract_sinks", Job(size, options, threads=4)) == pytest.approx(
        runtime_minutes("extract_sinks", Job(size, options), shards=4), abs=1
    )


def test_a_hint_gives_a_shape_near_the_real_one():
    for size in (SMALL, LARGE):
        guess = Size.guess(size.parameters)
        for field in ("layers", "heads", "width"):
            assert 1 / 4 < getattr(guess, field) / getattr(size, field) < 4


def test_sizes_of_a_downloaded_model():
    shape = Shape(
        layers=2, heads=4, kv_heads=2, group=2, head_width=8, value_width=8, width=32, vocabulary=200, context=64
    )
    size = Size.of(shape, {"parameters": 1000, "dtype": "bfloat16"})
    assert size == Size(1000, 2, 8, 8, 16, 32, 200, file_bytes=2, stored="bfloat16")


def test_downloads_and_jobs_without_a_model():
    assert download_mb(SMALL, convert=True) == round(1200 + 8 * 134.515 + 0.5)
    assert download_mb(LARGE, convert=False) < 20_000 < download_mb(LARGE, convert=True)
    assert download_minutes(LARGE, 2) > download_minutes(LARGE) > 120
    assert (light_mb(270), light_mb(270, 2)) == (1635, 3270)


def test_tables_in_the_docs_are_what_the_code_says():
    sys.path.insert(0, str(ROOT / "docs"))
    from resource_table import TABLES, render

    pages = {page: (ROOT / "docs" / page).read_text() for page in TABLES}
    for page, text in pages.items():
        assert render(page, text) == text, "run python docs/resource_table.py"
    assert all(f"`{stage}`" in pages["clusters.md"] for stage in STAGES)


def test_containers_install_the_locks_with_their_versions():
    lock = (ROOT / "requirements.lock").read_text()
    torch = next(line for line in lock.splitlines() if line.startswith("torch=="))
    recipes = {path.name: path.read_text() for path in (ROOT / "containers").iterdir()}
    assert set(recipes) == {"Dockerfile", "atlas.def"}
    for text in recipes.values():
        pinned = [word for word in text.split() if "==" in word and not word.startswith("'^")]
        assert pinned == [torch]
        for name in ("requirements.txt", "requirements-cluster.lock"):
            assert f"--no-deps --require-hashes -r /opt/atlas/{name}" in text
        assert "python:3.11-" in text  # the version that the lock was resolved for


def test_cluster_lock_agrees_with_the_lock_and_is_hashed():
    sys.path.insert(0, str(ROOT / "envs"))
    from from_lock import pins

    lock, cluster = ((ROOT / f"requirements{part}.lock").read_text() for part in ("", "-cluster"))
    main = {pin.split("==")[0]: pin for pin in pins(lock)}
    shared = [pin for pin in pins(cluster) if pin.split("==")[0] in main]
    assert len(shared) > 10
    for pin in shared:
        assert pin.split(" ;")[0] == main[pin.split("==")[0]].split(" ;")[0]
    for block in cluster.replace("\\\n", "").splitlines():
        assert "--hash=sha256:" in block, block
    wanted = [line for line in (ROOT / "requirements-cluster.in").read_text().splitlines() if "==" in line]
    assert set(wanted) <= set(pins(cluster))
    assert len(wanted) == 5


@pytest.fixture(scope="module")
def defaults():
    """The analyses of config.yaml."""
    return yaml.safe_load((ROOT / "config.yaml").read_text())["analyses"]
