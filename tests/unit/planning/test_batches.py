"""What `auto` of a batch means: the CPU's number, or what the memory of a model's cards has room for."""

from dataclasses import replace
from itertools import pairwise

import pytest
import yaml

from atlas.planning.batches import MOST, for_gpus, is_auto
from atlas.planning.estimates import Batch, Job, Size
from atlas.planning.resources import FULL, MB_PER_GB, STAGES, gpu_mb, gpus, held_mb, stage_options
from places import ROOT

SMALL = Size(134_515_008, 30, 270, 64, 192, 576, 49_152, file_bytes=4, inner=4_608)
MIDDLE = Size(8_030_261_248, 32, 1_024, 128, 1_024, 4_096, 128_256, inner=43_008)
LARGE = Size(70_553_706_496, 80, 5_120, 128, 1_024, 8_192, 128_256, inner=86_016)
CARDS = (4, 8, 16, 20, 24, 40, 80, 141, 1000)
WITH_BATCHES = [stage for stage, record in STAGES.items() if record.batch]
# What ran before there was `auto`: no number of a default run has changed.
BEFORE = {
    "generate_qa_answers": 64, "extract_exact_answers": 64, "extract_hidden_states": 512, "extract_saliency": 512,
    "extract_attention": 4096, "extract_sinks": 4096, "generate_answers": 64, "extract_token_logprobs": 1024,
    "extract_head_types": 4096, "extract_membership": 1024, "extract_span_saliency": 512,
    "generate_context_answers": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def blocks():
    """The analyses of config.yaml."""
    return yaml.safe_load((ROOT / "config.yaml").read_text())["analyses"]


def job_of(stage, blocks, size=MIDDLE, **more):
    return Job(size, stage_options(stage, blocks.__getitem__), gpu=True, **more)


def settled(stage, job):
    """The job with what its GPUs have room for."""
    return replace(job, options=STAGES[stage].batch.put(job.options, for_gpus(stage, job)))


def test_the_default_is_auto_and_the_number_of_before_on_a_cpu(blocks):
    assert set(BEFORE) == set(WITH_BATCHES)
    for stage, number in BEFORE.items():
        told = {key: value for name in STAGES[stage].analyses for key, value in blocks[name].items()}
        assert is_auto(stage, told)
        on_cpu = STAGES[stage].batch.on_a_cpu(told)
        assert STAGES[stage].batch.of(on_cpu) == number
        assert not is_auto(stage, on_cpu)
        assert {key for key in told if told[key] != on_cpu[key]} <= {"batch_tokens", "batch_size", "predictions"}


def test_a_number_is_left_as_it_is():
    batch = Batch("batch_size", 64, inside="predictions")
    told = {"predictions": {"batch_size": 7, "questions": 3}}
    assert batch.on_a_cpu(told) == told
    assert batch.put(told, 9) == {"predictions": {"batch_size": 9, "questions": 3}}
    assert told["predictions"]["batch_size"] == 7
    assert not is_auto("generate_answers", told)
    assert not is_auto("extract_head_ablations", {"max_rows": None})


@pytest.mark.parametrize("stage", WITH_BATCHES)
@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE])
@pytest.mark.parametrize("device_map", [None, "auto"])
def test_it_is_the_most_that_fits_what_is_asked_for(stage, size, device_map, blocks):
    """Never more than the cards hold, and no power of two more would be; it grows with the cards."""
    found = {}
    batch = STAGES[stage].batch
    for card in CARDS:
        job = job_of(stage, blocks, size, device_map=device_map, gpu_memory_gb=card, dtype="bfloat16")
        number = found[card] = for_gpus(stage, job)
        whole = settled(stage, job)
        room = MB_PER_GB * card
        if number > batch.least:
            assert gpu_mb(stage, whole) <= room + 1
            assert gpus(stage, whole) <= gpus(stage, job)
        if number < MOST * batch.on_cpu:
            double = replace(whole, options=batch.put(job.options, 2 * number))
            assert held_mb(stage, double, 1, gpus(stage, job)) / FULL > room
        assert number == batch.least or (MOST * batch.on_cpu / number).is_integer()
    if device_map is None:
        assert all(less <= more for less, more in pairwise(found.values())), found
        assert found[CARDS[0]] < found[CARDS[-1]] or size is SMALL or found[CARDS[0]] == MOST * batch.on_cpu
    assert found[1000] == MOST * batch.on_cpu


def test_what_a_card_of_24_gb_runs_at_once_of_an_8b(blocks):
    """By hand: 16.1 GB of weights and 0.65 of CUDA's own leave 6.4 of nine tenths, of which a token takes 131 KB."""
    job = job_of("extract_sinks", blocks, gpu_memory_gb=24, dtype="bfloat16")
    room = FULL * 24 * MB_PER_GB - 650 - MIDDLE.parameters * 2 / 1e6
    states, sums = (43_008 + 5 * 4_096) * 2 / 1e6, 1_024 * 4 / 1e6
    tile = (4 + 6) / 1e6

    def held(tokens):
        return tokens * (states + sums) + min(2**27, tokens * 32 * job.options["length"]) * tile

    expected = next(tokens for tokens in (65_536, 32_768, 16_384, 8_192) if held(tokens) <= room)
    assert for_gpus("extract_sinks", job) == expected


def test_older_cards_hold_auto_in_float32(blocks):
    job = job_of("extract_sinks", blocks, gpu_memory_gb=40)
    assert job.bytes == 2
    old = replace(job, gpu_capability=7)
    assert old.bytes == 4
    assert for_gpus("extract_sinks", old) < for_gpus("extract_sinks", job)
    assert replace(old, size=replace(MIDDLE, stored="float16")).bytes == 2
    assert replace(old, dtype="bfloat16").bytes == 2
    assert replace(old, gpu=False).bytes == 4
