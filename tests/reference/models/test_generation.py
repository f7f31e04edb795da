"""Batched greedy answers against one prompt at a time without a cache, and what a killed job goes on from."""

from types import MappingProxyType

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

import any_family
from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.attention import GENERATION, self_check
from atlas.errors import AtlasError
from atlas.models import generation
from atlas.models.generation import Prompt, end_tokens, generate, generation_batches
from atlas.models.loading import load_model
from atlas.results.journal import Journal
from families import FAMILIES, build


def prompts(seed=0, number=7):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(number):
        length = int(torch.randint(3, 20, (1,), generator=generator))
        ids = tuple(torch.randint(3, 199, (length,), generator=generator).tolist())
        found.append(Prompt(i, ids, 6 if i % 2 else 10))
    return found


def one_by_one(model, prompt, ends):
    ids = list(prompt.ids)
    for _ in range(prompt.max_new_tokens):
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in ends:
            return tuple(ids[len(prompt.ids) :]), "end"
        ids.append(token)
    return tuple(ids[len(prompt.ids) :]), "length"


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "mistral_sliding", "opt"])
def test_equals_greedy_search_without_batches_or_cache(family):
    model, asked = build(family), prompts()
    free = [one_by_one(model, prompt, set()) for prompt in asked]
    ends = {free[0][0][4], free[3][0][1]}  # tokens that occur, so that some answers end early
    expected = [one_by_one(model, prompt, ends) for prompt in asked]
    assert {stop for _, stop in expected} == {"end", "length"}
    found = generate(model, asked, sorted(ends), batch_size=3)
    assert [(answer.ids, answer.stop) for answer in found] == expected
    assert [answer.prompt_tokens for answer in found] == [len(prompt.ids) for prompt in asked]
    assert [answer.number for answer in found] == list(range(7))


def test_shards_give_the_same_answers_and_a_models_own_sampling_is_not_used():
    model, asked = build("llama"), prompts()
    model.generation_config.update(do_sample=True, temperature=5.0, top_k=50, repetition_penalty=3.0)
    whole = generate(model, asked, [], batch_size=2)
    assert model.generation_config.do_sample
    parts = [generate(model, asked, [], batch_size=2, shard=i, shards=3) for i in (1, 2, 3)]
    assert sorted([answer for part in parts for answer in part], key=lambda answer: answer.number) == whole
    model.generation_config.update(do_sample=False, temperature=None, top_k=None, repetition_penalty=None)
    assert [answer.ids for answer in whole] == [one_by_one(model, prompt, set())[0] for prompt in asked]


def test_batches_share_their_limit():
    for group in generation_batches(prompts(number=20), 4):
        assert len(group) <= 4
        assert len({prompts(number=20)[i].max_new_tokens for i in group}) == 1


def test_a_killed_job_goes_on_where_it_stopped(tmp_path, monkeypatch):
    model, asked = build("llama"), prompts()
    whole = generate(model, asked, [5], batch_size=2)
    ran = []
    real = generation.generate_batch

    def killed(model, prompts, **options):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(prompts)
        return real(model, prompts, **options)

    monkeypatch.setattr(generation, "generate_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        generate(model, asked, [5], batch_size=2, journal=Journal(tmp_path / "j", "key"))
    with (tmp_path / "j").open("a") as file:
        file.write('["3", [{"number"')  # the line that was being written
    monkeypatch.setattr(generation, "generate_batch", lambda m, p, **options: ran.append(p) or real(m, p, **options))
    journal = Journal(tmp_path / "j", "key")
    assert generate(model, asked, [5], batch_size=2, journal=journal) == whole
    assert len(ran) == len(generation_batches(asked, 2))  # none twice
    ran.clear()
    assert generate(model, asked, [5], batch_size=2, journal=Journal(tmp_path / "j", "another key")) == whole
    assert len(ran) == len(generation_batches(asked, 2))
    journal.remove()
    assert not (tmp_path / "j").exists()


def test_answers_that_do_not_fit_the_context_are_refused():
    model = build("llama", max_position_embeddings=20)
    with pytest.raises(AtlasError, match="max_new_tokens"):
        generate(model, [Prompt(0, (5,) * 15, 10)], [], batch_size=1)


def test_end_tokens_are_those_of_model_and_tokenizer():
    model = build("llama")

    class Tokenizer:
        eos_token_id = 7

    model.generation_config.eos_token_id = [9, 2]
    assert end_tokens(model, Tokenizer) == [2, 7, 9]
    assert end_tokens(model, Tokenizer, [5]) == [2, 5, 7, 9]
    model.generation_config.eos_token_id = None
    assert end_tokens(model, Tokenizer) == [7]


def with_prefix(asked, length, seed=9):
    """The same prompts behind a shared beginning of `length` tokens."""
    shared = tuple(torch.randint(3, 199, (length,), generator=torch.Generator().manual_seed(seed)).tolist())
    return [Prompt(prompt.number, shared + prompt.ids, prompt.max_new_tokens) for prompt in asked]


@pytest.mark.parametrize(
    ("family", "implementation"), [*((family, "eager") for family in FAMILIES), ("llama", "sdpa"), ("gpt2", "sdpa")]
)
def test_a_shared_beginning_that_runs_once_changes_no_answer(family, implementation):
    model, asked = build(family, attn_implementation=implementation), with_prefix(prompts(), 11)
    free = [one_by_one(model, prompt, set()) for prompt in asked]
    ends = {free[0][0][4], free[3][0][1]}
    expected = [one_by_one(model, prompt, ends) for prompt in asked]
    assert {stop for _, stop in expected} == {"end", "length"}
    for prefix in (0, 1, 11):
        found = generate(model, asked, sorted(ends), batch_size=4, prefix=prefix)
        assert [(answer.ids, answer.stop) for answer in found] == expected
        assert [answer.prompt_tokens for answer in found] == [len(prompt.ids) for prompt in asked]


def test_what_prompts_share_leaves_a_token_of_each():
    def shared(*texts):
        return generation.shared_beginning([Prompt(n, text, 5) for n, text in enumerate(texts)])

    assert shared((5, 6, 7, 8), (5, 6, 9)) == 2
    assert shared((5, 6, 7, 8), (5, 6, 7)) == 2
    assert shared((5, 6, 7)) == 2
    assert shared((5, 6), (6, 5)) == 0


def test_the_beginning_is_run_once_and_not_under_a_shorter_window():
    asked = with_prefix(prompts(), 11)
    states = generation.shared_states(build("llama"), asked, 11)
    assert len(states) == 4
    assert states[0][0].shape == (1, 2, 11, 8)
    assert generation.shared_states(build("llama"), asked, 0) == []
    assert generation.shared_states(build("mistral_sliding"), asked, 11) == []
    assert generation.shared_states(build("mistral_sliding", sliding_window=100), asked, 11) != []


def test_a_line_break_ends_short_answers_to_worked_examples_and_special_tokens_end_all():
    byte_level = Tokenizer(models.BPE(vocab={"Ċ": 0, "ĊĊ": 1, "a": 2, ".Ċ": 3, "<end>": 4, ".": 5}, merges=[]))
    byte_level.decoder = decoders.ByteLevel()
    tokenizer, model = PreTrainedTokenizerFast(tokenizer_object=byte_level, eos_token="<end>"), build("llama")
    model.generation_config.eos_token_id = 5
    assert generation.answer_ends(model, tokenizer, "few_shot") == [0, 1, 3, 4, 5]
    assert generation.answer_ends(model, tokenizer, "chat") == [4, 5]
    tokenizer.add_tokens([AddedToken("<turn>", special=True), AddedToken("<tool>", special=False)])
    assert tokenizer.all_special_ids == [4]  # <turn>, id 6, is special all the same
    assert generation.answer_ends(model, tokenizer, "chat") == [4, 5, 6]


def both_ways_to_write(model):
    """Every function that writes answers, on prompts of two lengths."""
    prompts = [Prompt(i, tuple(range(3, 9 + i)), 3) for i in range(3)]
    generate(model, prompts, [2], batch_size=3)
    sets = [("scaling", ()), ("scaling", ((0, 1),))]
    ablated = [prompt.ids for prompt in prompts]
    answers(model, ByteTokens(), ablated, sets, epsilon=1e-5, new_tokens=3, max_rows=8)


class ByteTokens:
    """What ablated answers ask of a tokenizer."""

    all_special_ids = (0, 1, 2)
    added_tokens_decoder = MappingProxyType({})
    eos_token_id = 2

    def get_vocab(self):
        return {str(i): i for i in range(199)}

    def decode(self, ids, **_):
        return " ".join(map(str, ids))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt"])
def test_no_way_to_write_hands_the_unembedding_a_state_with_strides_in_half_precision(family, tmp_path):
    """In bfloat16 on a CPU the unembedding would be expanded for every row of the batch."""
    build(family).save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype="bfloat16", device="cpu")
    seen = []

    def look(module, given):
        seen.append((given[0].is_contiguous(), given[0].shape[0]))

    model.get_output_embeddings().register_forward_pre_hook(look)
    both_ways_to_write(model)
    assert max(rows for _, rows in seen) > 1
    assert all(contiguous for contiguous, _ in seen)


@pytest.mark.parametrize("kind", ["qwen3_next", "lfm2", "falcon_h1", "mpt", "rwkv"])
def test_recurrent_states_follow_the_texts_that_stay_in_a_batch(kind):
    """Rows that end leave the batch, from every kind of cache; a start is shared where that gives the same."""
    model, asked = any_family.build(kind), prompts()
    free = [one_by_one(model, prompt, set()) for prompt in asked]
    ends = {free[0][0][4], free[3][0][1]}
    self_check(model, GENERATION)
    shared = [Prompt(p.number, (50, 51, 52, *p.ids), p.max_new_tokens) for p in asked]
    for given, prefix in ((asked, 0), (shared, 3)):
        expected = [one_by_one(model, prompt, ends) for prompt in given]
        found = generate(model, given, sorted(ends), batch_size=3, prefix=prefix)
        assert [(answer.ids, answer.stop) for answer in found] == expected
        if not prefix:
            assert {stop for _, stop in expected} == {"end", "length"}
