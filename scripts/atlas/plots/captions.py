"""What captions say of several models: once where all agree, else model by model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from atlas.plots.types import Document, Documents, Options


def by_model(documents: Documents) -> dict[str, Document]:
    """{model: provenance of its first file}; files are .../{model}/{table}/{dataset}.parquet."""
    found: dict[str, Document] = {}
    for file, document in documents.items():
        found.setdefault(Path(file).parts[-3], document)
    return found


def told(values: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """`values` {model: words} as one phrase: the words alone where all models share them, else each with its models."""
    kinds = dict.fromkeys(values.values())
    if len(kinds) == 1:
        return next(iter(kinds))
    return ", ".join(
        f"{words} ({', '.join(labels[model] for model, own in values.items() if own == words)})" for words in kinds
    )


def blank_layers(frame: pd.DataFrame, column: str, options: Options, among: str = "layers") -> list[str]:
    """A sentence for each model of a figure that has layers without attention: `column` of `frame` is null there.

    among: what the layers of `frame` are, in the plural.
    """
    said = []
    for model in options["models"]:
        known = frame[frame["model"] == model].groupby("layer")[column].count() > 0
        if not known.all():
            said.append(
                f"Of {options['model_labels'][model]} {int(known.sum())} of {len(known)} {among} have attention; the "
                "others are blank."
            )
    return said


def option_of(documents: Documents, options: Options, words: Callable[[Document], str]) -> str:
    """What `words` makes of the provenance of each model of a figure, as `told` joins it."""
    own = by_model(documents)
    return told({model: words(own[model]) for model in options["models"] if model in own}, options["model_labels"])
