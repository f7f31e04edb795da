"""transformers' tokenizer of a GGUF with the keys carried over that it leaves out, or refused.

The names of ways to split text are those of llama.cpp, which ties a regular expression and two habits to each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.models.older_readers import name_tokenizer_class

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerBase

    from atlas.models.gguf_file import GgufFile

# transformers reads these, or they name tokens that a decoder does not use by itself.
_READ = (
    "model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id", "unknown_token_id",
    "padding_token_id", "add_bos_token", "add_eos_token", "seperator_token_id", "mask_token_id",
    "cls_token_id", "fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id", "fim_pad_token_id", "fim_rep_token_id",
    "fim_sep_token_id", "prefix_token_id", "suffix_token_id", "middle_token_id",
)  # fmt: skip
# Types of tokens that are found whole in a text.
_CONTROL, _USER_DEFINED = 3, 4
# Ends of what a model says, beside the one end token: of a turn, of a message.
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")

# Split as GPT-2 does, which is what transformers builds where it knows no other way.
_AS_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion")
# The same behind a cut at every digit.
_DIGITS = ("smollm", "codeshell", "refact", "starcoder", "command-r", "exaone")
# Split like another one that transformers knows.
_LIKE = {"stablelm2": "qwen2"}
# A text that is a token is that token, whatever the merges say; and a text begins with the begin token.
_WHOLE = (
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "tekken",
)  # fmt: skip


def save_tokenizer(file: GgufFile, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes `tokenizer`, as transformers built it from `file`, with what it left out. Raises AtlasError.

    Afterwards a text begins with the begin token, and ends with the end token, where the file says so.
    """
    from transformers import AutoTokenizer

    kind = file.take_plain("tokenizer.ggml.model")
    for key in _READ:
        file.take_plain(f"tokenizer.ggml.{key}")
    _check_marks(file)
    _set_space(file, tokenizer, str(kind))
    pre = str(file.take_plain("tokenizer.ggml.pre") or "") if kind == "gpt2" else ""
    if pre and (splitter := _splitter(file, pre)) is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = splitter
    begins = file.take_plain("tokenizer.ggml.add_bos_token", pre in _WHOLE or kind == "llama")
    ends = file.take_plain("tokenizer.ggml.add_eos_token", False)
    if (tokenizer.add_bos_token, tokenizer.add_eos_token) != (bool(begins), bool(ends)):
        tokenizer.add_bos_token, tokenizer.add_eos_token = bool(begins), bool(ends)
    tokenizer.save_pretrained(folder)
    name_tokenizer_class(folder)
    _edit(folder / "tokenizer.json", pre in _WHOLE, file.take_plain("tokenizer.ggml.tokens", []), _marked(file))
    saved = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    ids = saved("a").input_ids
    for flag, token, place in ((begins, saved.bos_token_id, 0), (ends, saved.eos_token_id, -1)):
        if (bool(ids) and token is not None and ids[place] == token) != bool(flag):
            key = f"tokenizer.ggml.add_{'bos' if place == 0 else 'eos'}_token"
            raise file.refuse(f"the metadata key {key!r} ({flag}) is not what its tokenizer does")


def end_tokens(file: GgufFile) -> list[int]:
    """The tokens that end an answer, the end token first; none where the file names none."""
    found = [file.take_plain(f"tokenizer.ggml.{key}") for key in _ENDS]
    return list(dict.fromkeys(int(token) for token in found if token is not None))


def _set_space(file: GgufFile, tokenizer: PreTrainedTokenizerBase, kind: str) -> None:
    """Whether a text gets a space before it: with sentencepiece by default (not Gemma), byte-level BPE never does."""
    from tokenizers import pre_tokenizers

    builds = kind == "llama" and not file.architecture.startswith("gemma")
    wanted = bool(file.take_plain("tokenizer.ggml.add_space_prefix", builds))
    if wanted == builds:
        return
    backend = tokenizer.backend_tokenizer
    if wanted or not isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):
        raise file.refuse(f"the metadata key 'tokenizer.ggml.add_space_prefix' ({wanted}) has no form in its tokenizer")
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=backend.pre_tokenizer.split)


def _check_marks(file: GgufFile) -> None:
    """Takes the keys that say something only by an unusual value, and refuses those values."""
    file.take_all("tokenizer.chat_template")  # the unnamed one is used; those with names are for other purposes
    usual: dict[str, Any] = {"add_sep_token": False, "remove_extra_whitespaces": False, "precompiled_charsmap": []}
    for key, value in usual.items():
        if (found := file.take_plain(f"tokenizer.ggml.{key}", value)) != value:
            raise file.refuse(
                f"the metadata key 'tokenizer.ggml.{key}' ({str(found)[:40]}) has no form in its tokenizer"
            )


def _splitter(file: GgufFile, pre: str) -> PreTokenizer | None:
    """What cuts a text before merges, where transformers does not build it by itself."""
    from tokenizers import Regex, pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if pre in GGUF_PRE_TOKENIZER_SPLITS or pre in _AS_GPT2:
        return None
    if pre in _DIGITS:
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    if pre in _LIKE:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[_LIKE[pre]]), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    raise file.refuse(f"its tokenizer splits text in the way {pre!r} ('tokenizer.ggml.pre'), which has no form here")


def _marked(file: GgufFile) -> dict[int, bool]:
    """{id: is it special} of the tokens that are found whole in a text: control and user-defined ones."""
    kinds = file.take_plain("tokenizer.ggml.token_type", [])
    return {token: kind == _CONTROL for token, kind in enumerate(kinds) if kind in (_CONTROL, _USER_DEFINED)}


def _edit(path: Path, whole: bool, tokens: list[str], marked: dict[int, bool]) -> None:
    """What is no setting of a live tokenizer: whole words before merges, every marked token, and none beyond the
    file's own.

    transformers adds the end token of GPT-2 to vocabularies that lack it; the model has no embedding for it.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    before = json.dumps(content)
    names = dict(enumerate(tokens))
    content["added_tokens"] = [one for one in content["added_tokens"] if names.get(one["id"]) == one["content"]]
    if whole != bool(content["model"].get("ignore_merges")):
        content["model"]["ignore_merges"] = whole
    if (content["decoder"] or {}).get("type") == "ByteLevel":
        _mark(content, tokens, marked)
    if json.dumps(content) != before:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def _mark(content: dict[str, Any], tokens: list[str], marked: dict[int, bool]) -> None:
    """Adds the marked tokens that `content` lacks: those with other letters than the byte alphabet's.

    transformers takes them for bytes that are to be spelled in it, so that `<｜User｜>` or a run of spaces is cut into
    pieces, and a run of spaces takes the place of the token that merges make of spaces.
    """
    vocabulary: dict[str, int] = content["model"]["vocab"]
    lost = {token for token in marked if vocabulary.get(tokens[token]) != token}
    if not lost:
        return
    for name in [name for name, token in vocabulary.items() if token in lost]:
        del vocabulary[name]
    held = set(vocabulary.values())
    vocabulary |= {
        name: token
        for token, name in enumerate(tokens)
        if token in lost or (token not in held and name not in vocabulary)
    }
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = {token["id"]: token for token in content["added_tokens"]}
    added |= {token: {"id": token, "content": tokens[token], **plain, "special": marked[token]} for token in lost}
    content["added_tokens"] = [added[token] for token in sorted(added)]
    _number(content["post_processor"], vocabulary)


def _number(processor: Any, vocabulary: dict[str, int]) -> None:
    """Sets the ids of what is put around a text to those of `vocabulary`."""
    if isinstance(processor, list):
        for part in processor:
            _number(part, vocabulary)
    elif isinstance(processor, dict):
        for name, token in (processor.get("special_tokens") or {}).items():
            token["ids"] = [vocabulary.get(name, token["ids"][0])]
        _number(processor.get("processors"), vocabulary)
