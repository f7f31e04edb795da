"""How often the host waits for a GPU, counted and not timed, and into how many tiles attention is cut there."""

import pytest
import torch

import device_stages
from atlas.analyses.head_types.extract import head_scores
from atlas.analyses.meaningless_tokens import extract as meaningless_tokens
from atlas.analyses.mink import extract as mink
from atlas.analyses.safety_heads import extract as safety_heads
from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.analyses.saliency import hidden_states
from atlas.analyses.sinks.extract import column_means
from atlas.attention import ColumnSum, Plan, RowMass, attend, checked, packed
from atlas.attention.kernels import TILE_ELEMENTS, tiles
from atlas.attention.packs import Pack
from atlas.models import next_token
from atlas.models.generation import Prompt, generate_batch
from atlas.models.loading import load_model, load_tokenizer
from atlas.models.transfers import fetched, sent
from atlas.results.shards import batches
from pretend_gpu import pretend_gpus
from tiny_models import save_folder

DEVICES = {"one": (1, {}), "two": (2, {"device_map": "auto"})}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp("llama") / "model", "llama")


@pytest.fixture(params=DEVICES)
def loaded(request, folder):
    """(the pretended GPUs, model, tokenizer)"""
    count, options = DEVICES[request.param]
    with pretend_gpus(count, roots=("scripts/atlas",)) as gpus:
        yield gpus, checked(load_model(folder, dtype="float32", device="cuda", **options)), load_tokenizer(folder)


def waits(gpus, run):
    before = gpus.waits()
    run()
    return gpus.waits() - before


@pytest.mark.parametrize("alike", [True, False])
def test_generation_waits_once_for_a_token(loaded, alike):
    """Also where rows end and leave the batch, and where some stand behind padding."""
    gpus, model, _ = loaded
    prompts = [device_stages.PREFIX[: 5 if alike else 3 + row] for row in range(4)]

    def count(tokens, ends=()):
        asked = [Prompt(row, ids, tokens) for row, ids in enumerate(prompts)]
        return waits(gpus, lambda: found.append(generate_batch(model, asked, ends)))

    found = []
    few, many = count(4), count(20)
    assert many - few <= 16
    assert few <= 4 + 2  # and up to two for a batch's first pass
    third = found[-1][0].ids[2]
    count(20, [third])
    assert {answer.stop for answer in found[-1]} == ({"end"} if alike else {"end", "length"})
    lasted = max(len(answer.ids) + (answer.stop == "end") for answer in found[-1])
    assert count(20, [third]) <= lasted + 2


def test_ablated_generation_waits_twice_for_a_token_at_most(loaded):
    gpus, model, tokenizer = loaded
    for ablation in device_stages.ABLATIONS:
        variants = [(ablation, [(0, 1), (3, 2)]), (ablation, [(1, 1)])]

        def run(tokens, variants=variants):
            answers(model, tokenizer, device_stages.QUERIES, variants, epsilon=1e-5, new_tokens=tokens, ends=[])

        few, many = waits(gpus, lambda: run(4)), waits(gpus, lambda: run(20))
        assert many - few <= 2 * 16, ablation


def column_sums(model, ids, device):
    """The record of one forward with a sum of every kind."""
    texts, tokens = ids.shape
    excluded = torch.zeros(texts, tokens, dtype=torch.bool)
    excluded[:, 3:9] = True
    plan = Plan(
        column_sums={"all": ColumnSum(), "far": ColumnSum(min_distance=5),
                     "without": ColumnSum(exclude=excluded, min_distance=1)},
        row_masses={"some": RowMass(excluded)}, diagonal=True, capture=True,
    )  # fmt: skip
    with torch.no_grad(), attend(model, plan, padded_right=True) as record:
        ids = sent(ids, device)
        model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return record


def test_column_sums_wait_once_for_a_batch_and_take_few_tiles(folder):
    """On a CPU the tiles stay those of its caches; on a GPU a layer is one to three of them, with the same sums."""
    ids = torch.randint(5, 190, (3, 300), generator=torch.Generator().manual_seed(0))
    model = load_model(folder, dtype="float32", device="cpu")
    expected = column_sums(model, ids, torch.device("cpu"))
    assert [len(list(tiles(x))) for x in expected.captures.values()] == [3] * len(expected.captures)
    with pretend_gpus(1, roots=("scripts/atlas",)) as gpus:
        model, found = load_model(folder, dtype="float32", device="cuda"), {}
        assert waits(gpus, lambda: found.update(record=column_sums(model, ids, torch.device("cuda")))) <= 1
        record = found["record"]
        assert [len(list(tiles(x))) for x in record.captures.values()] == [1] * len(expected.captures)
        for name, by_layer in expected.column_sums.items():
            for layer, value in by_layer.items():
                assert torch.allclose(record.column_sums[name][layer].cpu(), value, rtol=0, atol=2e-5), (name, layer)


def test_tiles_follow_the_memory_that_is_left(folder):
    """Where little memory is free a layer is cut into more tiles; never into more than a CPU's."""
    ids = torch.randint(5, 190, (4, 1024), generator=torch.Generator().manual_seed(0))
    found = []
    for memory in (8 << 30, 900 << 20, 600 << 20):
        with pretend_gpus(1, memory=8 << 30, roots=("scripts/atlas",)) as gpus:
            model = load_model(folder, dtype="float32", device="cuda")
            gpus.room = memory
            record = column_sums(model, ids, torch.device("cuda"))
            x = record.captures[0]
            found.append(len(list(tiles(x))))
            largest = max(
                (b.stop - b.start) * (h.stop - h.start) * x.groups * (r.stop - r.start) * (span.last - span.first)
                for b, h, r, span in tiles(x)
            )
            assert largest <= max(TILE_ELEMENTS["cpu"], memory // (4 * 14))
    assert found[0] == 1
    assert found[0] < found[1] < found[2]


def count_batches(lengths, batch_tokens):
    return len(batches(lengths, batch_tokens))


def test_extractions_wait_a_few_times_for_a_batch(loaded):
    """One copy of what was found, and where something is checked on the way one more."""
    gpus, model, _ = loaded
    extra = waits(gpus, lambda: next_token.check_head(model))  # once for a stage
    prefix, samples = device_stages.PREFIX, device_stages.SAMPLES
    behind = [len(sample.ids) - len(prefix) for sample in samples]
    start = saliency_start(samples, prefix)
    texts = [len(text.ids) - mink.shared_context(device_stages.TEXTS) for text in device_stages.TEXTS]
    bounds = {
        "sinks": (lambda: column_means(model, device_stages.SEQUENCES, batch_tokens=72),
                  count_batches([24] * 4, 72)),
        "head types": (lambda: head_scores(model, device_stages.TWICE, 11, batch_tokens=66),
                       count_batches([22] * 4, 66)),
        "attention": (lambda: meaningless_tokens.extract(model, device_stages.PROMPTS, batch_tokens=120),
                      3 * count_batches([len(p.with_span) for p in device_stages.PROMPTS], 120)),
        "hidden states": (lambda: hidden_states.extract(model, samples, prefix, batch_tokens=40),
                          count_batches(behind, 40)),
        "saliency of the probe": (lambda: device_stages.flows(model, ["probe_bce"]),
                                  count_batches([len(sample.ids) - start for sample in samples], 60)),
        "log-probabilities": (lambda: mink.extract(model, {"answer": device_stages.TEXTS}, batch_tokens=80),
                              extra + 2 * count_batches(texts, 80)),
        "saliency": (lambda: device_stages.flows(model, ["probe_bce", "probe_logit", "answer_nll"]),
                     extra + count_batches([len(sample.ids) - start for sample in samples], 60)),
    }  # fmt: skip
    for stage, (run, most) in bounds.items():
        assert 0 < waits(gpus, run) <= most, f"{stage}\n{gpus.table()}"


def saliency_start(samples, prefix):
    """Tokens that all texts of saliency share: up to the first destination of a flow."""
    return min(len(prefix), min(min((*s.question, *s.random)) + 1 for s in samples))


def test_an_ablation_waits_once_for_each_forward(loaded):
    gpus, model, _ = loaded
    ablation = safety_heads.HeadAblation(model, device_stages.QUERIES, range(4), epsilon=1e-5)
    groups = [[(layer, head)] for layer in range(4) for head in range(6)]
    forwards = len(ablation._batches(groups, len(device_stages.QUERIES)))
    assert waits(gpus, lambda: ablation.effects("undifferentiated", groups)) <= forwards


def test_packs_are_sent_without_a_wait(loaded):
    gpus, model, _ = loaded
    pack = Pack([list(query) for query in device_stages.QUERIES])
    with torch.no_grad():
        hidden = model.get_input_embeddings()(pack.ids[None].cuda())

    def run():
        with packed(model, pack) as forward:
            forward(0, hidden, Plan(), 1)

    assert waits(gpus, run) == 0


def test_fetched_is_one_copy_of_everything():
    """Types, shapes and values stay, also of empty and of strided tensors, and of two GPUs."""
    generator = torch.Generator().manual_seed(0)
    given = [torch.rand(3, 4, generator=generator).t(), torch.arange(5), torch.tensor(True), torch.zeros(0, 3),
             torch.rand(2, 2, generator=generator).to(torch.bfloat16), torch.rand(2, generator=generator).double(),
             torch.tensor([7], dtype=torch.int32)]  # fmt: skip
    with pretend_gpus(2, roots=("tests/",)) as gpus:
        away = [x.to(f"cuda:{i % 2}") for i, x in enumerate(given)]
        own = torch.arange(3)
        gpus.counts.clear()
        *found, kept = fetched([*away, own])
        assert gpus.waits() == 1
        assert all(x.device.type == "cpu" for x in found)
        for x, y in zip(found, given, strict=True):
            assert x.dtype == y.dtype
            assert x.shape == y.shape
            assert torch.equal(x, y)
        assert kept is not None
        assert torch.equal(kept, own)


def test_what_is_sent_to_a_gpu_arrives_without_a_wait():
    with pretend_gpus(1) as gpus:
        gpus.counts.clear()
        x = sent(torch.arange(4), torch.device("cuda"))
        assert x.device.type == "cuda"
        assert gpus.waits() == 0
        assert x.tolist() == [0, 1, 2, 3]
