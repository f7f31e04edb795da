"""What a plot refuses is told with the key of the figure that it draws."""

import pandas as pd
import pytest

from atlas.analyses.meaningless_tokens.plot_attention_sinks import choose_heads
from atlas.errors import AtlasError
from atlas.plots.sentences import of_figure
from places import ROOT

EFFECT = pd.DataFrame(
    [(layer, head, 0.1, -0.1) for layer in range(4) for head in range(6)],
    columns=["layer", "head", "weight_without", "effect"],
)


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ([[9, 0]], "figures.mine.heads: tiny has no head [9, 0]: its layers are 0 to 3, its heads 0 to 5; correct it."),
        ({"tiny": [[0, 6]]}, "figures.mine.heads: tiny has no head [0, 6]: its layers are 0 to 3, its heads 0 to 5; "),
        ({"auto": 1, "layer": 4}, "figures.mine.heads.layer: tiny has no layer 4; its layers are 0 to 3."),
    ],
)
def test_heads_beyond_the_model(heads, said):
    with pytest.raises(AtlasError) as raised, of_figure("mine"):
        choose_heads(EFFECT, heads, "tiny")
    assert str(raised.value).startswith(said)


def test_every_sentence_of_a_plot_has_a_place_for_the_key():
    plots = [
        *(ROOT / "scripts" / "atlas" / "analyses").rglob("plot_*.py"),
        *(ROOT / "scripts" / "atlas" / "plots").rglob("*.py"),
    ]
    assert len(plots) > 15
    for path in plots:
        assert '"figures: ' not in path.read_text(), path
