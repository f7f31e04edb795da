"""What a configuration writes into figures: whether the font has its characters, and how it is drawn as it stands."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# It comes with matplotlib, so that a figure does not depend on the fonts of a machine.
FONT = "DejaVu Sans"
LONGEST = 80  # characters of a label; longer ones run into the next panel


def font_problem(path: Path) -> str | None:
    """Why `path` is no font that figures can take signs from, as the end of a sentence; None where it is."""
    try:
        if not path.is_file():
            return "does not exist; correct the path"
        _code_points(path)
    except (RuntimeError, OSError, ValueError):
        return "cannot be read as a font; give a .ttf or .otf file"
    return None


def label_problem(label: str, fonts: tuple[Path, ...] = ()) -> str | None:
    """Why `label` cannot name a model or data set in figures, as the end of a sentence; None where it can.

    fonts: files that are asked for what FONT does not have.
    """
    if not label.strip():
        return "is empty; give a name"
    if label != label.strip():
        return "has white space around it; remove it"
    if label.startswith("_"):
        return "begins with an underscore, and legends leave such entries out; begin with another character"
    if len(label) > LONGEST:
        return f"has {len(label)} characters; a panel has room for at most {LONGEST}"
    return _controls(label) or glyph_problem(label, fonts)


def title_problem(title: str, fonts: tuple[Path, ...] = ()) -> str | None:
    """The same of a title, which may have several lines and mathematics between dollar signs."""
    if found := _controls(title.replace("\n", "")) or glyph_problem(title, fonts):
        return found
    dollars = title.count("$") - title.count(r"\$")
    if not dollars or dollars % 2:  # as matplotlib decides: an odd one is a sign like any other
        return None
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(title.format_map(_Anything()))
    except ValueError as error:
        reason = str(error).strip().splitlines()[-1]
        return rf"holds mathematics that cannot be drawn ({reason}); correct it, or write \$ for a dollar sign"
    return None


def glyph_problem(text: str, fonts: tuple[Path, ...] = ()) -> str | None:
    """Which characters of `text` the fonts of the figures do not have, as the end of a sentence."""
    # Latin-1 is all in FONT, and a plan may be made without matplotlib, which knows what else is.
    latin = all(letter.isascii() or "\xa0" <= letter <= "\xff" for letter in text)
    missing = "" if latin else "".join(_missing(text, fonts))
    if not missing:
        return None
    asked = ", ".join([FONT, *(font.name for font in fonts)])
    return (
        f"holds {missing[:20]!r}, for which the font of the figures ({asked}) has no signs; name a "
        "font file that has them under `fonts`, or write it in Latin, Greek or Cyrillic letters"
    )


def plain(label: str) -> str:
    """`label` for a text of matplotlib, which shows it as it stands: a dollar sign begins no mathematics."""
    return label.replace("$", r"\$")


class _Anything(dict):
    """Fills every {name} of a title in."""

    def __missing__(self, key: str) -> int:
        return 1


def _controls(text: str) -> str | None:
    found = [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    if not found:
        return None
    return f"holds {', '.join(sorted({ascii(letter) for letter in found}))}, which cannot be seen; write it on one line"


def _missing(text: str, fonts: tuple[Path, ...]) -> Iterable[str]:
    known = frozenset().union(*map(_code_points, (_own_font(), *fonts)))
    return dict.fromkeys(letter for letter in text if ord(letter) not in known and letter != "\n")


def _own_font() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{FONT.replace(' ', '')}.ttf"


@cache
def _code_points(file: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(file)).get_charmap())
