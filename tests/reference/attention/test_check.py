"""The check at the start of a job: what it lets pass, what it refuses and in which words, and what it costs."""

import functools

import pytest
import torch

import any_family
from atlas.attention import Plan, attend, decoder_layers, interface, packable, packed, self_check
from atlas.attention.check import ALL, ATTENTION, EDITS, GENERATION, GRADIENTS, HEADS, LOGITS, START, STATES
from atlas.attention.packs import Pack
from atlas.errors import AtlasError
from atlas.models.shared_prefix import remembers, shares
from attention_engine_reference import ENGINE_FAMILIES, attention_module
from families import build


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_every_family_passes(name, dtype):
    self_check(build(name, dtype=dtype))


# model type -> (what a job asks, words of the refusal); all needs that are not named pass or are not asked here
REFUSED = {
    "granite_swa": (ATTENTION, "the sums of attention in layer 0 differ"),  # sinks under another name
    "inkling2_text": (ATTENTION, "differ by"),
    "diffllama": (ATTENTION, "layer 0 calls the attention function 2 times"),
    "hrm_text": (ATTENTION, "layer 0 calls the attention function 8 times"),
    "mamba2": (ATTENTION, "has no attention: its tokens hand on a state"),
    "git": (ATTENTION, "no layer calls transformers' attention function"),
    "rwkv": (ATTENTION, "has no attention: its tokens hand on a state"),
    "bert": (START, "its tokens see what follows them"),
    "roberta": (START, "its tokens see what follows them"),
    "falcon": (ATTENTION, "does not use transformers' attention interface"),
    "hy_v4": (STATES, "no single residual of width 48"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_families_that_would_be_measured_wrongly_are_refused_by_name(kind):
    need, words = REFUSED[kind]
    model = any_family.build(kind)
    with pytest.raises(AtlasError, match=words) as caught:
        self_check(model, need)
    assert type(model).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)


# model type -> what a job asks, what works, and what is done instead
SLOWER = {
    "mamba": (GENERATION, remembers),  # its state is in another cache: whole texts again with every token
    "openai-gpt": (GENERATION, remembers),  # it has no cache
    "qwen3_next": (HEADS, packable),  # a recurrent state does not follow prompts side by side: one prompt at a time
    "gemma3n_text": (HEADS, packable),  # several streams
}


@pytest.mark.parametrize("kind", SLOWER)
def test_what_a_family_cannot_do_is_done_another_way(kind):
    need, way = SLOWER[kind]
    model = any_family.build(kind)
    assert way(model)
    self_check(model, need)
    assert not way(model)


def test_a_mask_that_depends_on_the_implementations_name_is_noticed_beyond_any_text_of_the_check(monkeypatch):
    """With 64 chosen keys nothing is left out of the check's own texts: the number is shortened meanwhile."""
    model = any_family.build("deepseek_v32", index_topk=64)
    monkeypatch.setattr(
        interface, "only_chosen", lambda mask, indices, keys: mask
    )  # as if the choice were not handed on
    self_check(model, ATTENTION)
    assert {m.index_topk for m in model.modules() if hasattr(m, "index_topk")} == {64}
    with torch.no_grad(), attend(model, Plan(diagonal=True)):
        model(torch.arange(5, 69)[None], use_cache=False)
        with pytest.raises(AtlasError, match="a text has 65 tokens, but beyond 64"):
            model(torch.arange(5, 70)[None], use_cache=False)
    with pytest.raises(AtlasError, match="a text has 65 tokens"), packed(model, Pack([range(5, 70)])):
        pass
    with pytest.raises(AtlasError, match="logits under its own eager attention"):
        self_check(any_family.build("deepseek_v32", index_topk=6), ATTENTION)
    monkeypatch.undo()
    self_check(model, ATTENTION)
    with torch.no_grad(), attend(model, Plan(diagonal=True)):
        model(torch.arange(5, 75)[None], use_cache=False)


# ---------------------------------------------------------------------------------------------- planted mistakes
def forgets_cache(model, monkeypatch):
    inner = model.model.forward

    def forward(*args, past_key_values=None, use_cache=None, **kwargs):
        return inner(*args, use_cache=False, **kwargs)

    monkeypatch.setattr(model.model, "forward", forward)


forgets_cache_of_answers = functools.partial(forgets_cache)
forgets_cache_of_answers.__name__ = "forgets_cache_of_answers"


def looks_ahead(model, monkeypatch):
    """As a prefix that is seen both ways: the first tokens know all of the first twelve."""
    decoder_layers(model)[0].register_forward_hook(
        lambda _, args, out: out + out[:, :12].mean(1, keepdim=True) if out.shape[1] > 12 else out
    )


def hidden_sink(model, monkeypatch):
    """A sink that the eager function takes from the module, of which the interface says nothing."""
    import transformers.models.llama.modeling_llama as home

    stock = home.eager_attention_forward

    def eager_attention_forward(module, query, key, value, mask, **kwargs):
        out, weights = stock(module, query, key, value, mask, **kwargs)
        return out * 0.6, weights * 0.6

    monkeypatch.setattr(home, "eager_attention_forward", eager_attention_forward)


def calls_twice(model, monkeypatch):
    attention = attention_module(model, 1)
    stock = attention.forward

    def forward(*args, **kwargs):
        out, weights = stock(*args, **kwargs)
        return out + stock(*args, **kwargs)[0], weights

    monkeypatch.setattr(attention, "forward", forward)


def known_by_name(model, monkeypatch):
    """Attention of another kind for implementations that the file does not know, beyond a window."""
    attention = attention_module(model, 2)
    stock = attention.forward

    def forward(hidden_states, *args, **kwargs):
        out, weights = stock(hidden_states, *args, **kwargs)
        known = model.config._attn_implementation in ("eager", "sdpa")
        return (out if known or out.shape[1] <= model.config.sliding_window else out.flip(-1)), weights

    monkeypatch.setattr(attention, "forward", forward)


def wrong_under_padding(model, monkeypatch):
    inner = model.model.forward

    def forward(*args, position_ids=None, **kwargs):
        return inner(*args, position_ids=None if position_ids is None else position_ids * 0, **kwargs)

    monkeypatch.setattr(model.model, "forward", forward)


def gated_by_head(model, monkeypatch):
    """Between attention and output projection heads are mixed by a state that packs do not have: the token before."""
    projection = attention_module(model, 2).o_proj
    projection.register_forward_pre_hook(
        lambda _, args: (args[0] + torch.nn.functional.pad(args[0][:, :-1], (0, 0, 1, 0)),)
    )


PLANTED = {
    looks_ahead: (ALL, "its tokens see what follows them"),
    hidden_sink: ((ATTENTION, GRADIENTS), "the sums of attention in layer 0|logits"),
    calls_twice: ((ATTENTION, GRADIENTS, EDITS, HEADS), "layer 1 calls the attention function 2 times"),
    known_by_name: ((ATTENTION,), "differ"),
}
# mistakes that some other way of running the model goes round -> that this is what is done
GONE_ROUND = {
    forgets_cache: (START, shares),
    forgets_cache_of_answers: (GENERATION, remembers),
    wrong_under_padding: (GENERATION, remembers),
    gated_by_head: (HEADS, packable),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_mistakes_are_seen(plant, monkeypatch):
    needs, words = PLANTED[plant]
    model = build("mistral_sliding" if plant is known_by_name else "llama", attn_implementation="sdpa")
    self_check(model)
    plant(model, monkeypatch)
    with pytest.raises(AtlasError, match=words):
        self_check(model, *needs)


@pytest.mark.parametrize("plant", GONE_ROUND, ids=lambda plant: plant.__name__)
def test_planted_mistakes_that_another_way_avoids_are_avoided(plant, monkeypatch):
    need, way = GONE_ROUND[plant]
    model = build("llama", attn_implementation="sdpa")
    self_check(model, need)
    assert way(model)
    plant(model, monkeypatch)
    self_check(model, need)
    assert not way(model)


# ------------------------------------------------------------------------------------------------- what it costs
COSTS = {(ATTENTION,): 4, (ATTENTION, GRADIENTS): 5, (EDITS,): 7, (HEADS,): 9, (START,): 3, (START, STATES): 3,
         (GENERATION,): 4, (START, LOGITS): 5, ALL: 17}  # fmt: skip


@pytest.mark.parametrize("needs", COSTS, ids=" ".join)
def test_a_check_is_a_handful_of_short_forwards(needs):
    model, tokens = build("llama"), []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: tokens.append(args[0].numel()))
    self_check(model, *needs)
    assert len(tokens) == COSTS[needs]
    assert max(tokens) <= 48


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_check_leaves_no_trace(implementation):
    model, ids = build("gemma3", attn_implementation=implementation, sliding_window=30), torch.arange(5, 45)[None]
    with torch.no_grad():
        before = model(ids).logits
        state = torch.random.get_rng_state()
        self_check(model)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert torch.equal(model(ids).logits, before)
    assert model.config._attn_implementation == implementation
    assert model.config.sliding_window == 30
    assert not any(parameter.requires_grad and parameter.grad is not None for parameter in model.parameters())


def test_the_texts_are_told_apart_by_every_token_of_their_start():
    """Two texts that begin alike, of drawn ids: one repeated token would hide wrong positions and masks."""
    seen = []
    model = build("llama")
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    self_check(model, START)
    first, second = seen[0].tolist()
    assert first[:8] == second[:8]
    assert first[8:] != second[8:]
    assert len(set(first)) > 12
