"""Which of two tokenizers a model folder means, where transformers' class of the family and tokenizer.json disagree.

transformers builds some families' tokenizers anew from the vocabulary, with the family's own rules, whatever rules
tokenizer.json states (a model of Qwen2's layers with another tokenizer, for instance). What tokens a text becomes
decides every number, so no guess is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError
from atlas.results.provenance import NAME, read_provenance

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What `models.KEY.tokenizer` may say: the rules of tokenizer.json as they stand, or those of transformers' class.
CHOICES = ("file", "class")
_FILE = "tokenizer.json"
# Ordinary text: what every analysis feeds a model. Odd white space is left out, on which sound conversions differ too.
_PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "In 1969, 3 of 12 people's answers were wrong; weren't they?",
    "Question: Who wrote it?\nAnswer: Ada Lovelace\n\nQuestion: When?",
    "naïve café, Übermaß, Ελλάδα, Москва, 東京, नमस्ते, مرحبا",
    "def f(x):\n    return x ** 2",
    "w1 w2 w3",
)


def choose(folder: Path, chosen: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer of `folder`. chosen: one of CHOICES, or None: whichever, where both give the same tokens.

    Raises AtlasError where they differ and nothing is chosen, and for a choice of a file that is not there.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kept: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if chosen == "file":
        if not (folder / _FILE).is_file():
            raise AtlasError(f"there is no {_FILE}, which the model's `tokenizer: file` asks for")
        return PreTrainedTokenizerFast.from_pretrained(str(folder), **kept)
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), **kept)
    if chosen is None and (folder / _FILE).is_file():
        _refuse_difference(found, folder / _FILE)
    return found


def chosen_for(folder: Path) -> str | None:
    """What the model's entry chose, from the folder's own record, if it has one. Raises AtlasError."""
    return read_provenance(folder).get("tokenizer") if (folder / NAME).is_file() else None


def _refuse_difference(found: PreTrainedTokenizerBase, file: Path) -> None:
    from tokenizers import Tokenizer

    stated = Tokenizer.from_file(str(file))
    # What a file was last called with is no rule of its tokens, and transformers sets both anew in each call.
    stated.no_padding()
    stated.no_truncation()
    for text in _PROBES:
        ids = found(text, add_special_tokens=False)["input_ids"]
        other = stated.encode(text, add_special_tokens=False).ids
        if ids != other:
            raise AtlasError(
                f"transformers takes {type(found).__name__} for this family, which makes {len(ids)} tokens of "
                f"{text!r} ({_few(ids)}), and {_FILE} makes {len(other)} ({_few(other)}); say which is meant: "
                "`tokenizer: file` or `tokenizer: class` in the model's entry"
            )


def _few(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "") or "none"
