"""Is what an analysis would measure on this model what the stock model does? Asked at the start of every job, by name.

One batch of two short texts is run by the model as it is, and again in each way that the job is about to use. The texts
are drawn ids that begin alike, so that a token that looks ahead shows; windows, chunks and numbers of chosen keys that
are longer than the texts are shortened meanwhile, for both sides, so that a layer that forgets one shows too.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from ..errors import AtlasError
from ..models.next_token import check_head
from ..models.shared_prefix import note_memory, note_sharing
from . import check_parts as parts
from .apart import note_packs
from .check_texts import Texts, checked_texts, shortened
from .interface import attend
from .longest import limit_texts
from .requirements import require_interface

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Result = TypeVar("Result")
_LOG = logging.getLogger("atlas")

# What a job asks of a model.
ATTENTION = "attention"  # weights are read, or heads edited, in texts that are run whole
GRADIENTS = "gradients"  # and the loss is differentiated by them
EDITS = "edits"  # single heads are ablated in texts that are run whole
HEADS = "heads"  # and in texts side by side (packs)
START = "start"  # texts go on from the cache of a start that they share, padded on the right
GENERATION = "generation"  # texts are padded on the left and continued token by token
STATES = "states"  # the residual is read between layers
LOGITS = "logits"  # log-probabilities are computed from last states, a part of them at a time
ALL = (ATTENTION, GRADIENTS, EDITS, HEADS, START, GENERATION, STATES, LOGITS)


def checked(model: PreTrainedModel, *needs: str) -> PreTrainedModel:
    """The model itself, once it has been seen to do what a job needs (`self_check`). Raises AtlasError.

    model = checked(task.model, ATTENTION)
    """
    self_check(model, *needs)
    return model


def self_check(model: PreTrainedModel, *needs: str) -> None:
    """Compare the model with itself, run as a job with these `needs` runs it (default: all).

    In the model's own dtype. Relative to the largest value: logits and states 1e-4, in half precision 0.1 or thrice
    what one rounding of the embeddings does to the logits (one more forward); sums of attention 1e-3 (0.02), gradients
    1e-3 (0.2); logits under the family's own eager attention 1e-4 (0.02). Forwards of 2 x 24 tokens at most: 1, and for
    attention 3 more, gradients 1, edits 3, heads 2, a start 2, generation 3, logits 2; as many again where another way
    of doing one of them has to be tried. None of their results is kept.
    Where only texts longer than a window, a chunk or a number of chosen keys differ, the engine refuses such texts.
    Raises AtlasError: what differs, or cannot be run, and that the family is not supported by analyses that need it.

        self_check(model, ATTENTION)            # says nothing: attention may be read in this model
    """
    wanted = set(needs) or set(ALL)
    reads = bool(wanted & {ATTENTION, GRADIENTS, EDITS, HEADS})
    if reads:
        require_interface(model)
    sizes: list[int] = []
    longest = None
    try:
        with shortened(model) as sizes:
            _check(model, wanted, reads)
    except AtlasError:
        if not (reads and sizes):
            raise
        _check(model, wanted, reads)  # then up to the least of the sizes, and no further
        longest = min(sizes)
        _LOG.warning("texts of more than %d tokens are refused: beyond, this model differs from the stock one", longest)
    limit_texts(model, longest)


def _check(model: PreTrainedModel, wanted: set[str], reads: bool) -> None:
    """Every part that is wanted; reads: the job uses the engine."""
    with contextlib.ExitStack() as engine:
        texts = _run(model, "a short text", lambda: checked_texts(model, STATES in wanted))
        _run(model, "a short text", lambda: parts.causal(model, texts))
        if LOGITS in wanted:
            check_head(model)
        if reads:
            _run(model, "attention", lambda: parts.attention(model, texts, GRADIENTS in wanted))
        if wanted & {EDITS, HEADS}:
            edit = _run(model, "ablation of heads", lambda: parts.heads(model, texts))
            if HEADS in wanted:
                _apart(model, texts, edit)
        if reads:
            engine.enter_context(attend(model))  # such a job gives what follows to the engine as well
        if wanted & {START, STATES}:
            _sharing(model, "a shared start", False, lambda: parts.start(model, texts, STATES in wanted))
        if GENERATION in wanted:
            _remembering(model, lambda: parts.answers(model, texts))


def _apart(model: PreTrainedModel, texts: Texts, edit: parts.Edited) -> None:
    """Texts side by side, and where that gives something else, each by itself, as the analysis then does."""
    note_packs(model, True)
    try:
        _run(model, "texts side by side", lambda: parts.side_by_side(model, texts, edit))
    except AtlasError as error:
        _LOG.info("prompts are run one by one: %s", error)
        note_packs(model, False)
        _run(model, "copies of one text", lambda: parts.one_by_one(model, texts, edit))


def _sharing(model: PreTrainedModel, what: str, padded: bool, part: Callable[[], None]) -> None:
    """Run `part` with a start that texts share, and where that gives something else, with each text on its own.

    What works is remembered (`shared_prefix.shares`), so that the analysis does the same. Raises AtlasError.
    """
    note_sharing(model, True, padded=padded)
    try:
        _run(model, what, part)
    except AtlasError as error:
        _LOG.info("texts are run one by one, and share nothing: %s", error)
        note_sharing(model, False, padded=padded)
        _run(model, what.replace("a shared start", "texts of two lengths"), part)


def _remembering(model: PreTrainedModel, part: Callable[[], None]) -> None:
    """Generation with a shared start, without it, and at last without a cache; what works is what the analysis does."""
    note_memory(model, True)
    try:
        _sharing(model, "generation", True, part)
    except AtlasError as error:
        _LOG.info("answers are computed without a cache: %s", error)
        note_memory(model, False)
        _run(model, "generation", part)


def _run(model: PreTrainedModel, what: str, part: Callable[[], Result]) -> Result:
    """What `part` returns; its errors as a sentence that names the family and `what` was tried."""
    family = f"{type(model).__name__} ('{model.config.model_type}')"
    try:
        return part()
    except AtlasError as error:
        raise AtlasError(f"{family}, {what}: {error}") from error
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise AtlasError(
            f"{family}, {what}: the family's code cannot be run this way ({type(error).__name__}: "
            f"{lines[0] if lines else ''}); leave this model out of the analysis, or choose a model of another family."
        ) from error
