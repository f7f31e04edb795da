"""A batch that does not fit on a GPU is halved and run again; the numbers are those of a GPU with room for all."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from atlas.analyses.mink import extract as mink
from atlas.analyses.safety_heads import extract as safety_heads
from atlas.analyses.safety_heads.head_groups import search
from atlas.analyses.saliency import hidden_states
from atlas.analyses.sinks.extract import column_means
from atlas.attention import checked
from atlas.errors import AtlasError
from atlas.models.architectures import mlp_states, read_config, read_shape
from atlas.models.batches import Batches, memory_named
from atlas.models.loading import load_model, load_tokenizer
from atlas.models.task import ModelTask
from atlas.planning.batches import for_gpus
from atlas.planning.estimates import Job, Size
from atlas.planning.resources import CONTEXT_MB, MB_PER_GB, gpu_mb
from atlas.planning.resources import STAGES as STAGE_RECORDS
from device_stages import ABLATIONS, BARE, PREFIX, QUERIES, RANKS, SAMPLES, STAGES
from pretend_gpu import pretend_gpus
from tiny_models import save_folder

# Where nothing else is said a stage of ablations makes its batches as large as the memory that is free.
FIXED = {"max_rows": 12}
HALVED = {stage: run for stage, run in STAGES.items() if stage != "head mappings"} | {
    "head ablations": lambda folder, model, _: safety_heads.extract(
        model, QUERIES, ablations=ABLATIONS, epsilon=1e-5, **FIXED
    ),
    "head groups": lambda folder, model, _: dict(
        search(model, QUERIES, RANKS, ablations=ABLATIONS, epsilon=1e-5, rank=1, candidates=4, size=2, **FIXED)
        .select_dtypes("number")
        .items()
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp("llama") / "model", "llama")


def run(folder, stage, room=None, stages=HALVED):
    """(arrays, bytes of the weights, the most that was held) on a GPU with `room` bytes beside the weights."""
    with pretend_gpus(1, roots=("scripts/atlas",)) as gpus:
        model, tokenizer = checked(load_model(folder, dtype="float32", device="cuda")), load_tokenizer(folder)
        weights = gpus.live["cuda:0"]
        gpus.peak.clear()
        gpus.room = None if room is None else weights + room
        found = stages[stage](folder, model, tokenizer)
        return {name: np.asarray(array) for name, array in found.items()}, weights, gpus.peak["cuda:0"]


@pytest.mark.parametrize("stage", HALVED)
def test_results_do_not_depend_on_the_memory(folder, stage, caplog):
    expected, weights, peak = run(folder, stage)
    assert "halved" not in caplog.text
    room = int(0.65 * (peak - weights))
    found, _, held = run(folder, stage, room)
    assert "does not fit on the GPU (CUDA out of memory. Tried to allocate" in caplog.text
    assert held <= weights + room < peak
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if array.dtype.kind == "f":
            scale = np.nanmax(np.abs(array), initial=0)
            # Halves have other shapes, whose products are rounded otherwise: 2.2e-6 in sums of hundreds of pairs.
            near = 5e-6 if stage == "saliency between spans" else 2e-6
            np.testing.assert_allclose(found[name], array, rtol=0, atol=near * scale, err_msg=name)
        else:
            assert (found[name] == array).all(), name


@pytest.mark.parametrize(
    ("stage", "option"),
    [("sinks", "batch_tokens"), ("saliency of the answer", "batch_tokens"), ("answers", "batch_size")],
)
def test_a_single_text_that_does_not_fit_is_a_sentence_with_the_option(folder, stage, option):
    _, weights, peak = run(folder, stage)
    said = []
    for share in (0.3, 0.2, 0.1, 0.001):
        try:
            with memory_named():
                run(folder, stage, int(share * (peak - weights)))
        except AtlasError as error:
            said.append(str(error))
    assert any(f"whatever {option} is (CUDA out of memory" in sentence for sentence in said)
    assert all("smaller dtype, more GPUs with device_map: auto" in sentence for sentence in said)


def test_heads_that_do_not_fit_are_mapped_in_smaller_numbers(tmp_path, caplog):
    """A vocabulary whose products with each head weigh more than what else there is."""
    wide = {"vocab_size": 30_000, "hidden_size": 384, "head_dim": 64}
    folder = save_folder(tmp_path / "model", "llama", **wide)
    expected, weights, peak = run(folder, "head mappings", stages=STAGES)
    found, *_ = run(folder, "head mappings", int(0.75 * (peak - weights)), stages=STAGES)
    assert "a smaller memory_mb spares the attempt" in caplog.text
    for name, array in expected.items():
        assert (found[name] == array).all(), name


def no_memory(limit, calls):
    def work(items):
        calls.append(list(items))
        if len(items) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
        return sum(items)

    return work


@pytest.mark.parametrize(("limit", "sizes"), [(9, [9]), (8, [9, 4, 5]), (4, [9, 4, 5, 2, 3]), (1, None)])
def test_parts_are_halves_in_order(limit, sizes):
    calls, items = [], list(range(9))
    found = Batches("batch_size").run(no_memory(limit, calls), items)
    assert sum(found) == sum(items)
    assert [item for call in calls if len(call) <= limit for item in call] == items
    if sizes is not None:
        assert [len(call) for call in calls] == sizes


def test_later_batches_do_not_try_what_did_not_fit():
    calls, fitted = [], Batches("batch_size")
    fitted.run(no_memory(4, calls), range(8))
    calls.clear()
    assert fitted.run(no_memory(4, calls), range(8)) == [6, 22]
    assert fitted.run(no_memory(4, calls), range(1)) == [0]
    assert fitted.run(no_memory(4, calls), []) == []
    assert [len(call) for call in calls] == [4, 4, 1]


@pytest.mark.parametrize("text", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling", "else"])
def test_what_the_libraries_say_counts_and_nothing_else(text):
    def work(items):
        if len(items) > 1:
            raise RuntimeError(text)
        return list(items)

    if text == "else":
        with pytest.raises(RuntimeError, match="else"):
            Batches("batch_size").run(work, range(2))
    else:
        assert Batches("batch_size").run(work, range(2)) == [[0], [1]]


def test_what_a_failed_batch_held_is_free_for_its_halves():
    """Also where a graph and hooks held it."""
    with pretend_gpus(1, memory=100 << 10) as gpus:

        def work(items):
            kept = [torch.zeros(len(items), 1024, device="cuda", requires_grad=True)]
            for _ in range(4):
                kept.append(kept[-1] * 2)
            return float(kept[-1].sum().detach().cpu())

        assert Batches("batch_size").run(work, range(8)) == [0.0] * 2
        assert gpus.live["cuda:0"] == 0


def at_once(folder, stage, options, card):
    """What `auto` is for a stage of this model on cards of so many GB, and the MB that its job asks for on each."""
    config = read_config(folder)
    with pretend_gpus(1):
        parameters = load_model(folder, dtype="float32", device="cuda").num_parameters()
    size = Size.of(read_shape(config), {"parameters": parameters, "dtype": "float32"}, mlp_states(config))
    options = STAGE_RECORDS[stage].batch.on_a_cpu(options)
    job = Job(size, options, gpu=True, dtype="float32", gpu_memory_gb=card)
    number = for_gpus(stage, job)
    return number, gpu_mb(stage, replace(job, options=STAGE_RECORDS[stage].batch.put(options, number)))


@pytest.mark.parametrize("stage", ["extract_sinks", "extract_hidden_states", "extract_token_logprobs"])
def test_what_a_larger_card_runs_at_once_fits_what_is_asked_for_and_finds_the_same(folder, stage):
    """Of cards that have next to no room and of such as have some: other batches, the same numbers."""
    sequences = np.array([[5 + (7 * i + j) % 190 for j in range(24)] for i in range(48)])
    samples = [replace(SAMPLES[i % 6], number=i) for i in range(48)]
    texts = [replace(BARE[i % 6], number=i) for i in range(48)]
    told = {"batch_tokens": "auto", "inputs": ["natural"], "length": 24, "sequences": 48, "samples": 48}
    runs = {
        "extract_sinks": lambda model, number: column_means(model, sequences, batch_tokens=number),
        "extract_hidden_states": lambda model, number: hidden_states.extract(
            model, samples, PREFIX, batch_tokens=number
        ),
        "extract_token_logprobs": lambda model, number: mink.extract(model, {"answer": texts}, batch_tokens=number),
    }
    found, numbers = [], []
    for card in (0.675, 1.0):
        number, asked = at_once(folder, stage, told, card)
        numbers.append(number)
        with pretend_gpus(1, roots=("scripts/atlas",)) as gpus:
            model = checked(load_model(folder, dtype="float32", device="cuda"))
            found.append(runs[stage](model, number))
            assert gpus.peak["cuda:0"] / 1e6 + CONTEXT_MB <= asked <= card * MB_PER_GB + 1
    assert numbers[0] < sum(map(len, sequences)) < numbers[1]
    for name, array in found[0].items():
        scale = np.nanmax(np.abs(array), initial=0)
        np.testing.assert_allclose(found[1][name], array, rtol=0, atol=2e-6 * scale, err_msg=name)


@pytest.mark.parametrize("room", [True, False])
def test_float32_is_not_read_where_it_has_no_room(tmp_path, caplog, room):
    """Of a model in half precision: under device_map: auto the rest of it would go to main memory."""
    folder = save_folder(tmp_path / "model", "llama", hidden_size=96)
    runtime = {"dtype": "bfloat16", "device": "cuda", "device_map": "auto"}
    log = logging.getLogger("atlas")
    task = ModelTask({"model": folder}, {"runtime": runtime}, {"model": "m"}, 1, log, None, None)
    with pretend_gpus(2, memory=80 << 30) as gpus:
        weights = sum(parameter.numel() for parameter in task.model.parameters())
        if not room:
            gpus.room = (gpus.live["cuda:0"] + gpus.live["cuda:1"]) // 2 + weights // 2
        wide = task.reloaded("float32")
        assert (wide is not None) == room
        assert task.held == {}
    assert ("not measured again in float32: its weights take" in caplog.text) != room
