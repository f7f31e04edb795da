"""Text to token ids and back, the same way in every analysis, and which ids stand for no text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer
    from transformers import PreTrainedTokenizerBase

# Texts that tell what a tokenizer puts around a text; several, because a small vocabulary may know none of the first.
_PROBES = ("a", "the", "1", ".")
# Names of entries that stand for no text though a tokenizer does not mark them as special: `<|fim_prefix|>`,
# `<unused7>`, `[PAD]`, a byte of sentencepiece (`<0x0A>`); and of added ones anything in brackets (`<tool_call>`).
_NO_TEXT = re.compile(
    r"<\|[^|]+\|>|<0x[0-9A-F]{2}>|[<\[]/?(un)?(used|reserved|extra|pad|mask|cls|sep|bos|eos|unk|dummy)[\w -]*[>\]]",
    re.I,
)
_BRACKETED = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")


def encode(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> list[int]:
    """Token ids of `text`.

    special: behind what the tokenizer puts in front of a text (a beginning-of-sequence token), unless the text begins
    with that itself. What it puts behind a text (an end token) never stands there.
    """
    plain = _ids(tokenizer, text)
    front = _front(tokenizer, text, plain) if special else []
    return plain if plain[: len(front)] == front else [*front, *plain]


def front_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer itself puts in front of a text, as `encode` does; nothing for many families."""
    return _front(tokenizer, _PROBES[0], _ids(tokenizer, _PROBES[0]))


def encode_with_offsets(
    tokenizer: PreTrainedTokenizerBase, text: str, special: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """(ids as from `encode`, [(begin, end)]): the characters of `text` that each token stands for.

    Raises AtlasError for a tokenizer that cannot tell.
    """
    if not tokenizer.is_fast:
        raise AtlasError(
            f"the model's tokenizer ({type(tokenizer).__name__}) gives no character offsets, so exact tokens cannot be "
            "found; put a tokenizer.json beside the weights."
        )
    ids = encode(tokenizer, text, special)
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return ids, [*[(0, 0)] * (len(ids) - len(found)), *(tuple(pair) for pair in found)]


def encode_words(tokenizer: FastTokenizer | PreTrainedTokenizerBase, words: list[str]) -> list[list[int]]:
    """Token ids of each of `words`, with nothing around them; also for a tokenizer of the package tokenizers."""
    if not words:
        return []
    if callable(tokenizer):  # of transformers
        return tokenizer(words, add_special_tokens=False)["input_ids"]
    return [encoding.ids for encoding in tokenizer.encode_batch(words, add_special_tokens=False)]


def texts_of(tokenizer: PreTrainedTokenizerBase, rows: Iterable[Sequence[int]]) -> list[str]:
    """The text of each row of token ids, without special tokens."""
    special = special_ids(tokenizer)
    return [str(tokenizer.decode([token for token in ids if token not in special])) for ids in rows]


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text of each id alone, special tokens too, with the space before a word where the tokenizer has it.

    A piece that is no text of its own (a byte of a character) has the name of its entry, an id without an entry `<id>`.
    """
    names = {token: name for name, token in tokenizer.get_vocab().items()}
    found = []
    for token, text in zip(ids, _decoded(tokenizer, [[token] for token in ids]), strict=True):
        name = names.get(token, f"<{token}>")
        spaced = name[:1] in ("\u2581", "\u0120") and not text.startswith(" ")
        found.append(name if not text or "\ufffd" in text or token not in names else f" {text}" if spaced else text)
    return found


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of every special token: the named ones (`all_special_ids`), all that are added with the mark `special`, and
    the control and unused pieces of a sentencepiece model."""
    found = {token for token in tokenizer.all_special_ids if token is not None}
    found |= {token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    pieces = getattr(tokenizer, "sp_model", None)
    if pieces is not None:
        marked = [i for i in range(pieces.get_piece_size()) if pieces.is_control(i) or pieces.is_unused(i)]
        found |= {tokenizer.get_vocab()[pieces.id_to_piece(i)] for i in marked}
    return frozenset(found)


def vocabulary_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that the tokenizer has an entry for, in order; there may be gaps, and the model may have more rows."""
    return sorted({*tokenizer.get_vocab().values()})


def ordinary_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the entries that stand for text, in order: neither special, nor reserved, nor a byte of sentencepiece, nor
    an added marker such as `<tool_call>`, nor one that decodes to nothing. Raises AtlasError where there are none."""
    special, added = special_ids(tokenizer), tokenizer.added_tokens_decoder
    named = {token: name for name, token in tokenizer.get_vocab().items()}
    kept = [
        token
        for token, name in sorted(named.items())
        if token not in special and not _NO_TEXT.fullmatch(name) and not (token in added and _BRACKETED.fullmatch(name))
    ]
    if not kept:
        raise AtlasError("the model's tokenizer has no entry that stands for text; check its tokenizer.json.")
    texts = dict(zip(kept, _decoded(tokenizer, [[token] for token in kept]), strict=True))
    # Sentencepiece drops a space at the beginning of a text, so those without a text are asked again behind another.
    silent = [token for token in kept if not texts[token]]
    word = next((token for token in kept if texts[token].isascii() and texts[token].strip()), kept[0])
    behind = _decoded(tokenizer, [[word, token] for token in silent])
    nothing = {token for token, text in zip(silent, behind, strict=True) if text == texts[word]}
    return [token for token in kept if token not in nothing]


def common_prefix(first: Sequence[object], second: Sequence[object]) -> int:
    """Length of the longest common prefix of two sequences."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = False) -> list[int]:
    return list(tokenizer(text, add_special_tokens=special).input_ids)


def _front(tokenizer: PreTrainedTokenizerBase, text: str, plain: list[int]) -> list[int]:
    """What the tokenizer puts in front of a text. Not by the name of the token: one may be both beginning and end."""
    whole = _ids(tokenizer, text, special=True)
    places = _places(whole, plain)
    for probe in _PROBES:
        if len(places) == 1 and plain:
            break
        plain = _ids(tokenizer, probe)
        whole = _ids(tokenizer, probe, special=True)
        places = _places(whole, plain)
    if not places:
        raise AtlasError(
            f"the model's tokenizer ({type(tokenizer).__name__}) reads a text differently beside its special tokens; "
            "put a tokenizer.json beside the weights."
        )
    return whole[: places[0]]


def _places(whole: list[int], part: list[int]) -> list[int]:
    """Where `part` stands in `whole`."""
    return [i for i in range(len(whole) - len(part) + 1) if whole[i : i + len(part)] == part]


def _decoded(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[str]:
    found = tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False) if rows else []  # of no row it makes one
    return [str(text) for text in found]
