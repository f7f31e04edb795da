"""Log-probabilities of scored tokens against transformers' own loss and a loop over tokens, family by family."""

import numpy as np
import pytest
import torch

from atlas.analyses.mink import storage as logprob_layout
from atlas.analyses.mink.extract import batch_logprobs, extract, shared_context
from atlas.analyses.mink.metrics import min_k
from atlas.analyses.mink.scored_texts import ScoredText
from atlas.errors import AtlasError
from atlas.models import next_token
from atlas.models.architectures import unembedding
from atlas.models.next_token import check_head, distribution_statistics, token_statistics
from families import FAMILIES, build


def sequences(lengths, vocabulary=199, seed=0, context=3):
    rng = np.random.default_rng(seed)
    return [
        ScoredText(
            number, tuple(map(int, rng.integers(3, vocabulary, n))), (False,) * context + (True,) * (n - context)
        )
        for number, n in enumerate(lengths)
    ]


def loop(model, sequence):
    """lp, mu, sigma, rank of each scored token, one text per forward, one token at a time, in float64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([sequence.ids])).logits[0].double()
    found = []
    for i in range(1, len(sequence.ids)):
        if sequence.scored[i]:
            row = logits[i - 1].log_softmax(-1)
            p = row.exp()
            mu = (p * row).sum()
            sigma = ((p * (row - mu) ** 2).sum()) ** 0.5
            found.append((row[sequence.ids[i]], mu, sigma, (row > row[sequence.ids[i]]).sum()))
    return np.array(found, dtype=float).T


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_a_loop_over_tokens_and_the_loss_of_transformers(family):
    model = build(family)
    texts = sequences([9, 17, 5, 12])
    arrays = extract(model, {"answer": texts}, batch_tokens=40)
    for (number, found), sequence in zip(logprob_layout.split(arrays, "answer"), texts, strict=True):
        assert number == sequence.number
        expected = loop(model, sequence)
        for name, values in zip(("lp", "mu", "sigma", "rank"), expected, strict=True):
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)
        labels = torch.tensor([sequence.ids]).masked_fill(~torch.tensor([sequence.scored]), -100)
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([sequence.ids]), labels=labels).loss.item()
        assert min_k(found["lp"], 100) == pytest.approx(loss, abs=1e-5)
        for k_percent in (7, 20, 50):
            worst = sorted(expected[0])[: max(1, int(len(expected[0]) * k_percent / 100))]
            assert min_k(found["lp"], k_percent) == pytest.approx(-np.mean(worst), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_beginning_is_run_once(family):
    """Texts that begin alike give what they give alone, and the beginning enters one forward only."""
    model, begin = build(family), tuple(range(20, 31))
    texts = [
        ScoredText(text.number, begin + text.ids, (False,) * len(begin) + text.scored)
        for text in sequences([9, 17, 5, 12])
    ]
    assert shared_context(texts) == len(begin)
    widths = []
    handle = model.get_input_embeddings().register_forward_pre_hook(lambda _, args: widths.append(args[0].shape[1]))
    arrays = extract(model, {"answer": texts}, batch_tokens=40)
    handle.remove()
    assert widths[2:].count(len(begin)) == 1  # two forwards compare the head
    assert max(widths[2:]) == 17
    for (_, found), sequence in zip(logprob_layout.split(arrays, "answer"), texts, strict=True):
        for name, values in zip(("lp", "mu", "sigma", "rank"), loop(model, sequence), strict=True):
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_shared_context_leaves_what_predicts_a_scored_token():
    ids = tuple(range(20))
    texts = [ScoredText(n, (*ids, 30 + n, 31), (False,) * (12 + n) + (True,) * (10 - n)) for n in range(3)]
    assert shared_context(texts) == 11
    assert shared_context([ScoredText(0, ids, (True,) * 20)]) == 0
    assert shared_context([*texts, ScoredText(3, (1, *ids), (False,) * 15 + (True,) * 6)]) == 0


def test_batch_composition_and_chunks_change_nothing_beyond_rounding():
    model, texts = build("llama"), sequences([9, 17, 5, 12, 30])
    alone = [batch_logprobs(model, [sequence]) for sequence in texts]
    for budget in (8, 35, 1000):
        arrays = extract(model, {"answer": texts}, batch_tokens=budget)
        for name in ("lp", "mu", "sigma"):
            expected = np.concatenate([part[name] for part in alone])
            np.testing.assert_allclose(arrays[f"answer.{name}"], expected, rtol=2e-5, atol=2e-5)
    states, targets = torch.randn(37, 48), torch.randint(0, 199, (37,))
    with torch.no_grad():
        whole = token_statistics(model, states, targets, chunk=1000)
        for chunk in (1, 8, 36):
            for a, b in zip(token_statistics(model, states, targets, chunk=chunk), whole, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_rows_that_go_through_the_statistics_together_change_nothing(family, monkeypatch):
    model = build(family)
    vocabulary = unembedding(model).weight.shape[0]
    states, targets = torch.randn(37, unembedding(model).weight.shape[1]), torch.randint(0, vocabulary, (37,))
    with torch.no_grad():
        whole = token_statistics(model, states, targets, chunk=10)
        for rows in (1, 3, 10, 11):
            monkeypatch.setattr(next_token, "_PIECE", {"cpu": rows * vocabulary})
            *found, rank = token_statistics(model, states, targets, chunk=10)
            assert torch.equal(rank, whole[-1])
            for a, b in zip(found, whole[:-1], strict=True):  # equal here; a library may sum one row in another order
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_gathered_shards_are_the_same_bytes(shards):
    model = build("llama")
    texts = {"answer": sequences([9, 17, 5, 12, 30]), "question": sequences([4, 8, 6], seed=1, context=1)}
    whole = extract(model, texts, batch_tokens=40)
    parts = [extract(model, texts, batch_tokens=40, shard=i + 1, shards=shards) for i in range(shards)]
    joined = logprob_layout.merge(parts)
    assert joined.keys() == whole.keys()
    for name in whole:
        assert joined[name].tobytes() == whole[name].tobytes()
    assert whole["question.number"].tolist() == [0, 1, 2]


def test_uniform_logits_give_log_v_at_every_k():
    logits, targets = torch.full((6, 50), 3.7), torch.arange(6)
    lp, mu, sigma, rank = distribution_statistics(logits, targets)
    np.testing.assert_allclose(lp, -np.log(50), rtol=1e-6)
    np.testing.assert_allclose(mu, -np.log(50), rtol=1e-6)
    np.testing.assert_allclose(sigma, 0, atol=1e-6)
    assert rank.tolist() == [0] * 6
    for k_percent in (1, 20, 100):
        assert min_k(lp.numpy(), k_percent) == pytest.approx(np.log(50), rel=1e-6)


def test_a_token_masked_by_minus_infinity_weighs_nothing_and_large_logits_do_not_overflow():
    logits = torch.tensor([[500.0, 499.0, -float("inf"), 0.0]])
    lp, mu, sigma, rank = distribution_statistics(logits.clone(), torch.tensor([1]))
    p = np.array([1, np.exp(-1)]) / (1 + np.exp(-1))
    mean = (p * np.log(p)).sum()
    assert lp.item() == pytest.approx(np.log(p[1]), rel=1e-6)
    assert mu.item() == pytest.approx(mean, rel=1e-6)
    assert sigma.item() == pytest.approx(np.sqrt((p * (np.log(p) - mean) ** 2).sum()), rel=1e-5)
    assert rank.item() == 1


def test_broken_weights_and_unknown_heads_are_refused():
    model = build("llama")
    with torch.no_grad():
        model.lm_head.weight[3, 0] = float("nan")
        with pytest.raises(AtlasError, match="NaN"):
            token_statistics(model, torch.randn(2, 48), torch.tensor([1, 2]))
    other = build("llama")
    other.lm_head.register_forward_hook(lambda module, args, output: output)  # harmless
    check_head(other)
    forward, scales = other.forward, iter([0.5, 0.25, 0.125])  # what no other forward gives again
    other.forward = lambda *args, **kwargs: _scaled(forward(*args, **kwargs), next(scales))
    with pytest.raises(AtlasError, match="not supported by Min-K%"):
        check_head(other)


def test_logits_that_are_more_than_the_unembedding_are_those_of_the_models_own_forward():
    model = build("llama")
    ids = torch.arange(3, 11)[None]
    states = model.model(input_ids=ids).last_hidden_state[0].detach()
    forward = model.forward
    model.forward = lambda *args, **kwargs: _scaled(forward(*args, **kwargs), 0.5)
    check_head(model)
    targets = ids[0].roll(-1)
    found, *_ = token_statistics(model, states, targets)
    wanted = model(input_ids=ids).logits[0].detach().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def _scaled(output, scale):
    output.logits = output.logits * scale
    return output
