"""One look for all figures, and byte-identical files."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.text import Text

from atlas.disk import replacing
from atlas.errors import AtlasError
from atlas.plots.fitting import lay_out
from atlas.plots.labels import FONT, glyph_problem, plain

# Okabe-Ito, as seaborn's "colorblind"
BLUE, ORANGE, GREEN, VERMILION, PURPLE, BROWN, PINK, GREY, YELLOW, CYAN = sns.color_palette("colorblind")

_RC = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.linewidth": 1.1,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # editable text in the pdf
    "svg.fonttype": "none",
    "svg.hashsalt": "atlas",  # without it svg ids differ from run to run
    "figure.dpi": 100,
    "savefig.dpi": 250,
}
_MARGIN = 0.03  # inches
_added: dict[str, Path] = {}  # fonts behind FONT, by name
# No dates in the files: the same content gives the same bytes.
_METADATA: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def add_fonts(files: Sequence[str | Path]) -> None:
    """Take from these font files, in this order, what the figures' own font lacks; for all figures of the process."""
    for file in files:
        name = FontProperties(fname=file).get_name()
        # Another file of that name on this machine must not be taken instead.
        fontManager.ttflist[:] = [known for known in fontManager.ttflist if known.name != name]
        fontManager.addfont(file)
        _added.setdefault(name, Path(file))


def begin() -> None:
    """Set the common style, whatever matplotlibrc a machine has; call before making a figure."""
    matplotlib.rcdefaults()
    sns.set_theme(style="ticks", rc={**_RC, "font.family": [FONT, *_added, "sans-serif"]})


def save(figure: Figure, caption: str, output: Any) -> None:
    """Write `figure` to output.pdf, .svg, .png and its `caption` (plain text) to output.caption.

    All three have one layout, by the measures of text under which `fit` fitted it.
    Raises AtlasError for a text that the fonts have no signs for, as the name of a relation may be: it would be boxes.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if problem := glyph_problem(text.get_text(), tuple(_added.values())):
            raise AtlasError(f"figures.*: a text of the figure, {text.get_text()[:60]!r}, {problem}.")
    for _ in range(2):  # ticks that one layout leaves out or adds change the room for the next
        lay_out(figure)
    figure.set_layout_engine(None)  # it stands; each format would make another one
    whole = figure.get_tightbbox().padded(_MARGIN)
    for extension, metadata in _METADATA.items():
        drawn = BytesIO()  # not to the file: on a full disk the pdf writer hides the cause behind an error of its own
        figure.savefig(drawn, format=extension, metadata=metadata, bbox_inches=whole)
        with replacing(output[extension] if isinstance(output, dict) else getattr(output, extension)) as temporary:
            temporary.write_bytes(drawn.getvalue())
    with replacing(Path(output.caption)) as temporary:
        temporary.write_text(caption + "\n", encoding="utf-8")
    plt.close(figure)


def title(template: str, label: str, **places: int) -> str:
    """A panel's title: the figure's `template`, which may hold mathematics, with `label` as it stands."""
    return template.format(label=plain(label), **places)


def option(value: Any, model: str | None) -> Any:
    """A figure option that is one value for all panels or {model key: value}."""
    return value.get(model) if isinstance(value, dict) else value


def headroom(axes: Axes, share: float) -> None:
    """Leave `share` of the panel's height free at the top, for a legend or a label over no curve."""
    low, high = axes.dataLim.intervaly
    axes.set_ylim(low - 0.05 * (high - low), low + (high - low) / (1 - share))


def apply_axes(axes: Axes, options: Mapping[str, Any], model: str | None) -> None:
    """Set limits and ticks of `axes` where the configuration gives them."""
    for name, setter in (
        ("xlim", axes.set_xlim),
        ("ylim", axes.set_ylim),
        ("xticks", axes.set_xticks),
        ("yticks", axes.set_yticks),
    ):
        value = option(options[name], model)
        if value is not None:
            setter(value)
