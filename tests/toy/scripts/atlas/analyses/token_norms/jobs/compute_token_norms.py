"""Mean over texts of the stored norms (no model needed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    arrays, document = task.arrays("activations")
    norms = arrays["norm"].astype(np.float64)
    frame = pd.DataFrame(
        {
            "layer": range(norms.shape[1]),
            "norm": norms.mean(0),
            "norm_sd": norms.std(0, ddof=1),
            "texts": len(norms),
        }
    )
    return {"token_norms": frame.assign(**task.keys)}, document
