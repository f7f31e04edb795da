"""Arrays for the explorer's page: {"type": "float32" | "uint16" | "uint8", "data": base64 of little-endian bytes}."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


def packed(values: Any, dtype: str) -> dict[str, str]:
    """One array for the page."""
    data = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    return {"type": np.dtype(dtype).name, "data": base64.b64encode(data.tobytes()).decode()}
