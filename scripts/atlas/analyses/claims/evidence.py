"""What the functions of claims look at: results of one analysis on one data set, of a model and of its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.analyses.claims.measured import NotApplicable
from atlas.results.files import read_arrays, read_frame

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# relative -> why a claim that needs it is not applicable where there is none
RELATIVES = {
    "control": "it has no control in the configuration",
    "smaller": "there is no smaller model of its family and generation (models.KEY.family, size)",
    "older": "there is no model of an earlier generation of its family (models.KEY.family, generation)",
    "sibling": "there is no other model of its family (models.KEY.family)",
}


@dataclass(frozen=True)
class Evidence:
    """Results of one analysis on one data set.

    model: whose claims these are. files: {(model, table or extraction): its file} of this data set. relatives:
    {relative: model} of those that the analysis covers. options: of the analysis. repo: where the hub has the model.
    is_control: whether the model is one.
    """

    model: str
    dataset: str
    files: Mapping[tuple[str, str], str]
    relatives: Mapping[str, str]
    options: Mapping[str, Any]
    confidence: float
    draws: int
    seed: int
    minimum: int
    repo: str = ""
    is_control: bool = False

    def relative(self, name: str) -> str:
        """The key of a relative. Raises NotApplicable where there is none."""
        if name not in self.relatives:
            raise NotApplicable(RELATIVES[name])
        return self.relatives[name]

    def frame(self, table: str, relative: str = "") -> pd.DataFrame:
        """A table of the model or of one of its relatives. Raises NotApplicable where there is none."""
        return read_frame(self._file(table, relative))

    def arrays(self, name: str, relative: str = "") -> dict[str, np.ndarray]:
        """Stored arrays, likewise."""
        return read_arrays(self._file(name, relative))[0]

    def _file(self, name: str, relative: str) -> str:
        model = self.relative(relative) if relative else self.model
        if (model, name) not in self.files:
            raise NotApplicable(f"there is no {name} of {model}")
        return self.files[model, name]
