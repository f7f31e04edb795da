"""Prompts with a span: what is inserted where, what merges, what is counted."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from atlas.analyses.meaningless_tokens.prompts import build_prompts, span_prompt, span_text
from atlas.errors import AtlasError
from atlas.models.limits import LONG, UNKNOWN
from byte_tokenizer import prompter
from unlimited import ANY

OPTIONS = {
    "system": "a b. ",
    "template": "raw",
    "span": {"kind": "repeat", "string": "/", "count": 4, "separator": " ", "seed": 0},
    "insertion": "ids",
    "max_tokens": 100,
}
TEMPLATE = "<s>{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %} [reply]"


def tokenizer(bos=False, template=None):
    """Byte-level BPE with one merge of interest: '.' + '/' -> './' (as Llama-3 does)."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", *letters, "./", "//"])}
    model = models.BPE(vocab=vocabulary, merges=[(".", "/"), ("/", "/")])
    core = Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    if bos:
        from tokenizers.processors import TemplateProcessing

        core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", clean_up_tokenization_spaces=False)
    fast.chat_template = template
    return fast


def texts(tokenizer, ids):
    return [tokenizer.decode([i]) for i in ids]


def test_span_text():
    assert span_text("repeat", "/", 3, " ", 0) == "/ / /"
    words = span_text("random_words", "/", 5, " ", 1).split()
    assert len(words) == 5
    assert words == span_text("random_words", "/", 5, " ", 1).split()
    assert words != span_text("random_words", "/", 5, " ", 2).split()


def test_ids_insertion_merges_nothing():
    tok = tokenizer()
    prompt = span_prompt(prompter(tok), "c d?", system="a b.", template="raw", span="/ /", insertion="ids")
    assert texts(tok, prompt.without) == list("a b.c d?")
    assert texts(tok, prompt.with_span) == list("a b./ /c d?")
    assert (prompt.prefix, prompt.merged, prompt.span, prompt.question, prompt.suffix) == (4, 0, 3, 4, 0)


def test_text_insertion_counts_what_merges():
    tok = tokenizer()
    prompt = span_prompt(prompter(tok), "c d?", system="a b.", template="raw", span="/ /", insertion="text")
    assert texts(tok, prompt.with_span) == ["a", " ", "b", "./", " ", "/", *"c d?"]
    # "." has no counterpart: it merged with the first slash.
    assert (prompt.prefix, prompt.merged, prompt.span, prompt.question) == (3, 1, 3, 4)
    assert len(prompt.without) == prompt.prefix + prompt.merged + prompt.question + prompt.suffix
    assert len(prompt.with_span) == prompt.prefix + prompt.span + prompt.question + prompt.suffix


def test_text_insertion_collapses_a_run():
    tok = tokenizer()
    prompt = span_prompt(prompter(tok), "c", system="a ", template="raw", span="////", insertion="text")
    assert texts(tok, prompt.with_span) == ["a", " ", "//", "//", "c"]
    assert prompt.span == 2


def test_beginning_of_sequence_stands_first_once():
    tok = tokenizer(bos=True)
    for insertion in ("ids", "text"):
        prompt = span_prompt(prompter(tok), "c", system="a ", template="raw", span="/", insertion=insertion)
        assert prompt.without[0] == prompt.with_span[0] == 0
        assert prompt.with_span.count(0) == 1
    empty = span_prompt(prompter(tok), "c", system="", template="raw", span="/", insertion="ids")
    assert empty.prefix == 1
    assert empty.with_span[0] == 0


@pytest.mark.parametrize("insertion", ["ids", "text"])
def test_an_end_token_that_the_tokenizer_appends_stands_nowhere(insertion):
    from tokenizers.processors import TemplateProcessing

    tok = tokenizer()
    tok.add_special_tokens({"eos_token": "</s>"})
    special = [("<s>", 0), ("</s>", tok.eos_token_id)]
    tok.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    assert tok("a").input_ids[-1] == tok.eos_token_id
    prompt = span_prompt(prompter(tok), "c", system="a ", template="raw", span="/", insertion=insertion)
    for ids in (prompt.without, prompt.with_span):
        assert ids[0] == 0
        assert tok.eos_token_id not in ids


def test_chat_template_puts_the_span_before_the_question():
    tok = tokenizer(bos=True, template=TEMPLATE)
    prompt = span_prompt(prompter(tok), "c d", system="a", template="chat", span="/", insertion="ids")
    text = "".join(texts(tok, prompt.with_span))
    assert text == "<s>[system] a[user] /c d [reply]"
    assert prompt.with_span.count(0) == 1  # the template's own, not a second one
    start = prompt.prefix + prompt.span
    assert texts(tok, prompt.with_span[start : start + prompt.question]) == list("c d")


def test_chat_without_a_template_is_refused():
    with pytest.raises(AtlasError, match="no chat template"):
        span_prompt(prompter(tokenizer()), "c", system="a", template="chat", span="/", insertion="ids")


def test_dropped_prompts_are_counted_by_reason():
    prompts, report = build_prompts(prompter(tokenizer()), ["c d e", "c" * 200, "c"], OPTIONS, ANY)
    assert len(prompts) == report["prompts"] == 1
    assert report["of"] == 3
    assert report["dropped"] == {"longer than max_tokens": 1, LONG: 0, UNKNOWN: 0, "question under 2 tokens": 1}
    assert report["merged_tokens"] == 0
    assert set(report["tokens"].values()) == set("a b. /cde")


def test_nothing_left_is_an_error():
    with pytest.raises(AtlasError, match="max_tokens"):
        build_prompts(prompter(tokenizer()), ["c" * 200], OPTIONS, ANY)
