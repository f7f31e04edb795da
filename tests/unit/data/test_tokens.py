"""Text to ids in one way for every analysis, whatever a tokenizer puts around a text; which ids stand for no text."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, GPTSw3Tokenizer, PreTrainedTokenizerFast

from atlas.analyses.beginnings import beginning
from atlas.analyses.meaningless_tokens.prompts import span_prompt
from atlas.analyses.mink.scored_texts import scored_texts
from atlas.analyses.safety_heads.queries import SHIPS, build_queries
from atlas.analyses.saliency.prompts import ask
from atlas.analyses.sinks.extract import sequences
from atlas.data.tokens import (
    encode,
    encode_with_offsets,
    encode_words,
    front_ids,
    ordinary_ids,
    special_ids,
    texts_of,
    vocabulary_ids,
)
from atlas.errors import AtlasError
from byte_tokenizer import CHAT, prompter, tokenizer
from unlimited import ANY

BEGIN, END = 0, 1  # of byte_tokenizer
# What a tokenizer may put around a text: ids in front, ids behind. One token may be both.
AROUND = [(front, back) for front in ([], [BEGIN], [END], [BEGIN, 4]) for back in ([], [END], [BEGIN], [END, 5])]
TEXTS = ["who am i", "", " a", "</s>", "x</s>", "<s>", "naïve 通义", "</s></s>"]


def around(front, back):
    """The byte tokenizer with `front` before and `back` behind every text."""
    fast = tokenizer()
    names = [fast.convert_ids_to_tokens(i) for i in (*front, *back)]
    single = [*names[: len(front)], "$A", *names[len(front) :]]
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=list({name: (name, fast.convert_tokens_to_ids(name)) for name in names}.values())
    )
    return fast


@pytest.mark.parametrize(("front", "back"), AROUND)
def test_what_stands_in_front_of_a_text_is_kept_once_and_nothing_stands_behind(front, back):
    tokens = around(front, back)
    for text in TEXTS:
        plain = tokens(text, add_special_tokens=False).input_ids
        assert tokens(text).input_ids == [*front, *plain, *back]
        begun = front and plain[: len(front)] == front  # by the text itself
        assert encode(tokens, text, special=True) == (plain if begun else [*front, *plain])
        assert encode(tokens, text, special=False) == plain
        for special in (True, False):
            ids, offsets = encode_with_offsets(tokens, text, special)
            assert ids == encode(tokens, text, special)
            assert len(offsets) == len(ids)
            written = tokens(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            assert offsets == [(0, 0)] * (len(ids) - len(written)) + written


def test_words_are_encoded_with_nothing_around_them():
    tokens = around([BEGIN], [END])
    plain = [tokens(word, add_special_tokens=False).input_ids for word in ("a", "bc")]
    assert encode_words(tokens, ["a", "bc"]) == plain
    assert encode_words(tokens.backend_tokenizer, ["a", "bc"]) == plain
    assert encode_words(tokens, []) == []


def ids_of_every_analysis(tokens):
    """{where: [ids of a prompt that ends where an answer begins]} of everything that makes a prompt."""
    with_template = prompter(tokens)
    rows = pd.DataFrame({"id": ["a"], "text": ["who am i"]})
    questions = pd.DataFrame({"id": ["a"], "question": ["who am i"], "answers": [["bob"]]})
    shown = [{"question": "where", "answer": "here", "long_answer": "it is here"}]
    depth = [{"number": 0, "question": "who am i", "answer": "bob", "prediction": None}]
    found = {}
    for template in ("chat", "## {q}\n"):
        found["queries", template] = build_queries(with_template, rows, template, ANY, SHIPS)[0]
    for template in ("chat", "raw"):
        texts, _ = scored_texts(
            with_template, depth, "answer", template=template, system=None, max_tokens=500, limits=ANY
        )
        found["mink", template] = [text.ids for text in texts]
        for insertion in ("ids", "text"):
            prompt = span_prompt(
                with_template, "who am i", system="a", template=template, span="/ /", insertion=insertion
            )
            found[f"span {insertion}", template] = [prompt.without, prompt.with_span]
    for prompt in ("chat", "few_shot"):
        asked, _, _ = ask(with_template, questions, shown, prompt=prompt, limits=ANY, max_new_tokens=8)
        found["qa", prompt] = [item.ids for item in asked]
    for text in ("who am i", "<s>who am i"):
        start = beginning(tokens, "auto", "m", "sinks")
        made, _ = sequences("natural", tokens, [text], length=8, number=1, start=start, seed=0, limits=ANY)
        found[f"sinks {text}", "raw"] = made.tolist()
    return found


@pytest.mark.parametrize(("front", "back", "own"), list(itertools.product(([], [BEGIN]), ([], [END]), (False, True))))
def test_no_analysis_doubles_a_beginning_or_keeps_an_end(front, back, own):
    """Over tokenizers that add either, both or none, and templates with and without a beginning of their own."""
    tokens = around(front, back)
    tokens.chat_template = "<s>" * own + CHAT
    for (where, template), prompts in ids_of_every_analysis(tokens).items():
        begins = own if template == "chat" else bool(front) or "<s>" in where
        for ids in prompts:
            assert list(ids).count(BEGIN) == begins, (where, template)
            assert (ids[0] == BEGIN) == begins, (where, template)
            assert END not in ids, (where, template)


@pytest.mark.parametrize(("front", "back"), list(itertools.product(([], [BEGIN], [BEGIN, BEGIN]), ([], [END]))))
def test_sinks_begin_as_the_tokenizer_begins_a_text_unless_told_otherwise(front, back):
    tokens = around(front, back)
    assert front_ids(tokens) == front
    assert beginning(tokens, "auto", "m", "sinks") == front == tokens("ab").input_ids[: len(front)]
    assert beginning(tokens, True, "m", "sinks") == (front or [BEGIN])
    assert beginning(tokens, False, "m", "sinks") == []
    tokens.bos_token = None
    assert beginning(tokens, "auto", "m", "sinks") == front  # not by the name of the token
    if not front:
        line = "models: {m: {options: {sinks: {bos: auto}}}}"
        with pytest.raises(AtlasError, match=f"sinks.bos is true, but model m's .*; write {re.escape(line)}[.]"):
            beginning(tokens, True, "m", "sinks")


@pytest.mark.parametrize("kind", ["natural", "random", "repeated"])
def test_every_kind_of_input_has_the_beginning_in_front_and_the_length_asked_for(kind):
    tokens, texts = around([BEGIN], []), ["who am i", "<s>who am i"]
    ids, _ = sequences(kind, tokens, texts, length=6, number=2, start=[BEGIN], seed=0, limits=ANY)
    assert ids.shape == (2, 6)
    assert (ids == BEGIN).sum(1).tolist() == [1, 1]
    assert (ids[:, 0] == BEGIN).all()
    if kind == "natural":
        assert ids[0].tolist() == ids[1].tolist() == tokens("who am i").input_ids[:6]
        short = ["<s>abcd", "<s>abcde", "abcd", "abcde"]
        found, dropped = sequences(kind, tokens, short, length=6, number=2, start=[BEGIN], seed=0, limits=ANY)
        assert (found.shape, dropped["too short"]) == ((2, 6), 2)


# ---------------------------------------------------------------------------------------------------------- special ids
def many_specials():
    """Three named special tokens, one that is only marked, markers that are not marked, and entries without a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = ["<s>", "</s>", *alphabet, "<unused0>", "[unused1]", "<0x0A>", "<|reserved|>", "", "<b", "Ċ<|", "[x"]
    inner = Tokenizer(models.BPE({name: i for i, name in enumerate(entries)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    fast.add_tokens([AddedToken("<|control|>", special=True), AddedToken("control", special=True)])
    fast.add_tokens([AddedToken(name, special=False) for name in ("<tool_call>", "  ", "<|fim|>", "[THINK]", "word")])
    return fast


def test_special_are_all_that_are_marked_and_ordinary_are_those_that_stand_for_text():
    tokens = many_specials()
    assert len(tokens.all_special_ids) == 2  # of four
    names = ("<s>", "</s>", "<|control|>", "control")
    assert special_ids(tokens) == {tokens.convert_tokens_to_ids(name) for name in names}
    left_out = {*names, "<unused0>", "[unused1]", "<0x0A>", "<|reserved|>", "", "<tool_call>", "<|fim|>", "[THINK]"}
    ordinary = {tokens.convert_ids_to_tokens(i) for i in ordinary_ids(tokens)}
    assert {*tokens.get_vocab()} - ordinary == left_out
    assert {"  ", "word", "<b", "[x"} <= ordinary


def test_a_space_of_sentencepiece_stands_for_text():
    """Alone it decodes to nothing, behind another token to a space."""
    inner = Tokenizer(models.BPE({"<s>": 0, "\u2581": 1, "a": 2, "b": 3}, [], byte_fallback=True))
    inner.decoder = decoders.Metaspace()
    tokens = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")
    assert tokens.decode([1]) == ""
    assert ordinary_ids(tokens) == [1, 2, 3]


def test_a_vocabulary_with_gaps_names_no_id_that_is_not_there():
    inner = Tokenizer(models.WordLevel({"a": 0, "b": 7, "<unk>": 3}, unk_token="<unk>"))
    tokens = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    assert vocabulary_ids(tokens) == [0, 3, 7]
    assert ordinary_ids(tokens) == [0, 7]
    nothing = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")), unk_token="<unk>"
    )
    with pytest.raises(AtlasError, match="no entry that stands for text"):
        ordinary_ids(nothing)


@pytest.mark.parametrize("kind", ["random", "repeated"])
def test_no_special_token_is_drawn(kind):
    tokens = many_specials()
    ids, _ = sequences(
        kind, tokens, [], length=64, number=200, start=beginning(tokens, True, "m", "sinks"), seed=0, limits=ANY
    )
    assert (ids[:, 0] == tokens.bos_token_id).all()
    drawn = {*np.unique(ids[:, 1:]).tolist()}
    assert drawn <= {*ordinary_ids(tokens)}
    if kind == "random":
        assert drawn == {*ordinary_ids(tokens)}


def test_a_text_is_read_without_special_tokens():
    tokens = many_specials()
    ids = tokens("<|control|>ab<tool_call>c</s>", add_special_tokens=False).input_ids
    assert texts_of(tokens, [ids, []]) == ["ab<tool_call>c", ""]


def test_a_tokenizer_of_bytes_written_in_python_is_read_in_the_same_way():
    tokens = ByT5Tokenizer()  # appends an end token
    plain = tokens("ab", add_special_tokens=False).input_ids
    assert tokens("ab").input_ids == [*plain, tokens.eos_token_id]
    assert encode(tokens, "ab", special=True) == plain
    assert encode(tokens, "", special=True) == []
    assert {tokens.convert_tokens_to_ids(f"<extra_id_{i}>") for i in range(125)} <= special_ids(tokens)
    with pytest.raises(AtlasError, match="no character offsets"):
        encode_with_offsets(tokens, "ab", special=True)


def test_control_pieces_of_a_sentencepiece_model_are_special(tmp_path, capfd):
    """They stand in no list of added tokens: the model's own file marks them."""
    sentences = ("the house and the water", "people of the world", "a king and a city") * 40
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=str(tmp_path / "tiny"), model_type="bpe", vocab_size=330,
        hard_vocab_limit=False, byte_fallback=True, control_symbols=["<ctl>", "other"], user_defined_symbols=["<ud>"],
    )  # fmt: skip
    capfd.readouterr()
    tokens = GPTSw3Tokenizer(str(tmp_path / "tiny.model"))
    marked = {tokens.convert_tokens_to_ids(name) for name in ("<ctl>", "other")}
    assert not marked & {*tokens.all_special_ids}
    assert marked <= special_ids(tokens)
    ordinary = [tokens.convert_ids_to_tokens(i) for i in ordinary_ids(tokens)]
    assert not [name for name in ordinary if name.startswith("<0x") or name in ("<ctl>", "other", "</s>")]
    assert "\u2581the" in ordinary
