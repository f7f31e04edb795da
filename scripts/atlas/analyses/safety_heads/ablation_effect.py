"""How often answers refuse when heads are ablated (no model needed).

Source: Zhou et al., ICLR 2025, arXiv 2410.13708, section 3.3; the control with random heads is ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import regex

from atlas.data.words import fold, scripts, straight, unread
from atlas.errors import AtlasError
from atlas.statistics.intervals import wilson_rate

if TYPE_CHECKING:
    from pathlib import Path


def read_phrases(path: Path) -> list[str]:
    """The phrases of a list (one a line, # starts a comment), in the form that texts are compared in."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    phrases = [_plain(line) for line in lines if line and not line.startswith("#")]
    for phrase in phrases:
        if unread(phrase):
            raise AtlasError(f"{path}: {phrase!r} is {unread(phrase)}; give a phrase of words, or remove the line.")
    if not phrases:
        raise AtlasError(f"{path}: it holds no phrase; give one refusal phrase a line.")
    return phrases


def refuses(text: str, phrases: Sequence[str]) -> bool:
    """True if `text` holds one of the phrases, whatever the case, the accents' encoding and the form of apostrophes."""
    plain = _plain(text)
    # A mark behind the phrase makes its last letter another one.
    return any(phrase in plain and regex.search(regex.escape(phrase) + r"(?!\p{M})", plain) for phrase in phrases)


def _plain(text: str) -> str:
    return " ".join(straight(fold(text)).split())


def _check_scripts(answers: pd.DataFrame, phrases: Sequence[str]) -> None:
    known, whole = (
        scripts("".join(phrases)),
        answers.loc[answers["heads_ablated"] == answers["heads_ablated"].min(), "answer"],
    )
    found = [scripts(fold(text)) for text in whole]
    foreign = [each for each in found if 2 * sum(each[name] for name in known) < each.total()]
    if 2 * len(foreign) > len(found):
        theirs = Counter({name: n for name, n in sum(foreign, Counter()).items() if name not in known})
        raise AtlasError(
            f"analyses.ablation_effect.phrases: {len(foreign)} of {len(found)} answers are mostly in "
            f"another script ({theirs.most_common(1)[0][0]}) than the phrases ({', '.join(known)}), so that none could "
            "be found; list phrases in the language of the answers."
        )


def effect_table(
    answers: pd.DataFrame, phrases: Sequence[str], keys: Mapping[str, str], confidence: float
) -> pd.DataFrame:
    """The table ablation_effect of one model and data set.

    Rates are means over prompts and draws. Intervals are Wilson's with the number of prompts as sample size: draws
    answer the same prompts, so they do not count as more of them.
    Raises AtlasError where no phrase could stand in most answers with the fewest heads ablated: another script.
    """
    _check_scripts(answers, phrases)
    answers = answers.assign(refused=answers["answer"].map(lambda text: refuses(text, phrases)))
    rows = []
    for (ablation, selection, n), part in answers.groupby(["ablation", "selection", "heads_ablated"], sort=True):
        prompts, rate = part["prompt"].nunique(), part["refused"].mean()
        low, high = wilson_rate(rate, prompts, confidence)
        refused, draws = int(part["refused"].sum()), part["draw"].nunique()
        rows.append((ablation, n, selection, rate, low, high, refused, prompts, draws))
    columns = ["ablation", "heads_ablated", "selection", "refusal_rate", "low", "high", "refused", "prompts", "draws"]
    return pd.DataFrame(rows, columns=columns).assign(**keys)
