"""JSON that somebody else wrote: whatever is wrong in it is a ValueError."""

import json
from typing import Any

__all__ = ["load"]


def load(text: str | bytes) -> Any:
    """The value of a text. Raises ValueError for one that is no JSON, no UTF-8, or is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
