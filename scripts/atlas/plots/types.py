"""What every draw function takes and gives; imported for type checkers alone."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

# The tables of a figure's models, by name.
Tables = Mapping[str, pd.DataFrame]
# A figure's own options, with the labels of models and data sets.
Options = Mapping[str, Any]
# The provenance of one file, of the files of one table by path, and of all tables by name.
Document = Mapping[str, Any]
Documents = Mapping[str, Document]
Sources = Mapping[str, Documents]
# A figure and its caption.
Drawn = tuple[Figure, str]
