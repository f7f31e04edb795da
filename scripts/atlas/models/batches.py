"""Batches that do not fit on a GPU: run again in halves, down to a single text, and said so."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import torch

from atlas.errors import AtlasError

_LOG = logging.getLogger("atlas")
_Item = TypeVar("_Item")
_Found = TypeVar("_Found")

# What CUDA's libraries say where they could not have memory of their own; torch's allocator has an exception for it.
_SAID = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a GPU had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)
    )


class Batches:
    """Runs the batches of a stage, in parts where a batch is more than the GPU has memory for.

    After a batch that did not fit, those behind it are cut into as many parts from the start. The numbers are those of
    whole batches: no stage lets a text's results depend on what stands beside it, up to the rounding of products.

        fitted = Batches("batch_tokens", one="a text")
        for group in groups:
            found += fitted.run(lambda some: [forward(text) for text in some], group)
    """

    def __init__(self, option: str, *, one: str = "a text", shorten: str | None = None) -> None:
        """option: what says how large a batch is; one: an item of a batch; shorten: what makes an item smaller."""
        self._option, self._one, self._shorten = option, one, shorten
        self._parts = 1

    def run(self, work: Callable[[Sequence[_Item]], _Found], items: Sequence[_Item]) -> list[_Found]:
        """[work(part)] of the consecutive parts that `items` had to be cut into, in order; usually one.

        Raises AtlasError where a single item does not fit.
        """
        found: list[_Found] = []
        todo = _cut(items, self._parts)
        while todo:
            reason = None
            try:
                found.append(work(todo[0]))
            except Exception as error:
                if not out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
                if len(todo[0]) == 1:
                    raise AtlasError(self._refusal(reason)) from None
            if reason is None:
                todo = todo[1:]
                continue
            # Here the exception is gone, and with it what the frames that it passed through held.
            gc.collect()
            torch.cuda.empty_cache()
            self._parts *= 2
            _LOG.warning(
                "a batch of %d does not fit on the GPU (%s): it is halved and run again, and those after it are cut "
                "into %d parts; a smaller %s spares the attempt",
                len(todo[0]), reason, self._parts, self._option,
            )  # fmt: skip
            todo = [half for part in todo for half in _cut(part, 2)]
        return found

    def _refusal(self, reason: str) -> str:
        shorter = "" if self._shorten is None else f"a smaller {self._shorten}, "
        return (
            f"The GPU has no room for {self._one} beside the model, whatever {self._option} is ({reason}). Use "
            f"{shorter}a smaller dtype, more GPUs with device_map: auto, or a GPU with more memory."
        )


def _cut(items: Sequence[_Item], parts: int) -> list[Sequence[_Item]]:
    """`items` in at most so many consecutive parts of nearly equal size, none of them empty."""
    parts = min(parts, len(items))
    borders = [len(items) * part // parts for part in range(parts + 1)] if parts else [0]
    return [items[start:stop] for start, stop in pairwise(borders)]


@contextlib.contextmanager
def memory_named() -> Iterator[None]:
    """Inside the block a GPU without memory for something that is no batch is an AtlasError and no traceback."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise AtlasError(
            f"The GPU has no room for what this job needs beside its batches ({str(error).splitlines()[0]}). Use a "
            "smaller dtype, more GPUs with device_map: auto, or a GPU with more memory; other programs on the GPU take "
            "of it too."
        ) from None
