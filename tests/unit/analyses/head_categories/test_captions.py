"""What captions say of the state that stands for a source."""

from atlas.analyses.head_categories.plot_head_categories import _STATES
from atlas.models.weights import FIRST_EXPERTS


def test_every_first_state_has_its_words():
    assert set(_STATES) == {"first_mlp", *FIRST_EXPERTS}
    assert len(set(_STATES.values())) == len(_STATES)
