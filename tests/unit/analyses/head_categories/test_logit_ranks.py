"""Counting ranks on tiles against counting them one by one."""

import pytest
import torch

from atlas.analyses.head_categories import block_ranks, logit_ranks
from atlas.analyses.head_categories.block_ranks import rank_in_blocks
from atlas.analyses.head_categories.logit_ranks import Comparisons, count, ranks, target_logits


def one_by_one(logits, target):
    """The definition, on a full row of logits (V,)."""
    others = torch.cat([logits[:target], logits[target + 1 :]])
    larger, equal = int((others > logits[target]).sum()), int((others == logits[target]).sum())
    return larger + -(-equal // 2)


def example(vocabulary, n, width=5, integers=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows, table = (torch.randn(size, width, generator=generator, dtype=torch.float64) for size in (n, vocabulary))
    if integers:  # exact arithmetic, many ties
        rows, table = rows.round(), table.round()
    slots = [torch.randint(vocabulary, (size,), generator=generator) for size in (n, n // 2, 1)]
    return rows, table, Comparisons(tuple(slots))


@pytest.fixture(params=[((512, 512), 128), ((8, 3), 4), ((16, 7), 8), ((5, 20), 5)])
def tiles(request, monkeypatch):
    monkeypatch.setattr(logit_ranks, "CPU_TILE", request.param[0])
    monkeypatch.setattr(logit_ranks, "BLOCK", request.param[1])
    monkeypatch.setattr(block_ranks, "ITEMS", 50)


@pytest.fixture(params=["_CompiledPasses", "_TorchPasses"])
def passes(request, monkeypatch):
    """Both ways to read a tile, the CPU's and that of other devices."""
    monkeypatch.setattr(logit_ranks, "_CompiledPasses", getattr(logit_ranks, request.param))


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("vocabulary", [3, 64, 1031])
def test_counts_equal_the_definition_for_both_signs(vocabulary, integers, tiles, passes):
    rows, table, comparisons = example(vocabulary, 20, integers=integers)
    thresholds = target_logits(rows, table, comparisons)
    differences, extremes = count(rows, table, comparisons, thresholds)
    assert extremes is None
    logits = rows @ table.T
    for slot, difference in zip(comparisons.slots, differences, strict=True):
        direct, suppression = ranks(difference, vocabulary)
        assert direct.tolist() == [one_by_one(logits[i], t) for i, t in enumerate(slot.tolist())]
        assert suppression.tolist() == [one_by_one(-logits[i], t) for i, t in enumerate(slot.tolist())]
        assert set((direct + suppression).tolist()) <= {vocabulary - 1, vocabulary}


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("vocabulary", [3, 64, 1031])
def test_extremes_bound_the_best_and_blocks_give_the_ranks(vocabulary, integers, tiles, passes):
    k = 3
    rows, table, comparisons = example(vocabulary, 20, integers=integers)
    logits = rows @ table.T
    _, extremes = count(rows, table, comparisons, target_logits(rows, table, comparisons), k=k)
    best = logits.topk(k, dim=1).values[:, -1]
    worst = logits.topk(k, dim=1, largest=False).values[:, -1]
    assert (extremes.upper <= best + 1e-12).all()
    assert (extremes.lower >= worst - 1e-12).all()
    for b, (high, low) in enumerate(zip(extremes.largest, extremes.smallest, strict=True)):
        block = logits[:, b * logit_ranks.BLOCK : (b + 1) * logit_ranks.BLOCK]
        torch.testing.assert_close(high, block.amax(1))
        torch.testing.assert_close(low, block.amin(1))
    # Several candidates in a row, of both signs, on some rows only.
    generator = torch.Generator().manual_seed(1)
    where = torch.arange(0, 20, 2).repeat_interleave(4)
    targets, signs = torch.randint(vocabulary, (40,), generator=generator), torch.tensor([1, -1] * 20)
    got = rank_in_blocks(rows, table, extremes, where, targets, logits[where, targets], signs)
    every = zip(where.tolist(), targets.tolist(), signs.tolist(), strict=True)
    assert got.tolist() == [one_by_one(sign * logits[i], t) for i, t, sign in every]


def test_a_candidate_is_ranked_among_its_own_block_whatever_its_logit_was_rounded_to():
    """The highest logit is 0 here, where a relative slack leaves no room for rounding."""
    table = -torch.arange(1.0, 1001)[:, None]
    table[700] = 0
    row = torch.ones(1, 1)
    _, extremes = count(row, table, Comparisons((torch.tensor([0]),)), [torch.tensor([-1.0])], k=2)
    candidate = (torch.tensor([0]), torch.tensor([700]), torch.tensor([1e-7]), torch.tensor([1]))
    assert rank_in_blocks(row, table, extremes, *candidate).tolist() == [0]


def test_bounds_are_tight_enough_to_be_useful():
    """On random logits, hardly more candidates than the k best pass the bound."""
    rows, table, comparisons = example(20000, 10, width=16)
    _, extremes = count(rows, table, comparisons, target_logits(rows, table, comparisons), k=64)
    passing = ((rows @ table.T) >= extremes.upper[:, None]).sum(1)
    assert passing.min() >= 64
    assert passing.float().mean() < 130


def test_a_row_of_zeros_ranks_in_the_middle():
    table = torch.randn(101, 4)
    comparisons = Comparisons((torch.tensor([7]),))
    differences, _ = count(torch.zeros(1, 4), table, comparisons, [torch.zeros(1)])
    assert [int(rank) for rank in ranks(differences[0], 101)] == [50, 50]
