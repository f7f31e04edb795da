"""The effect of a span from few prompts."""

import numpy as np
import pytest

from atlas.analyses.meaningless_tokens.metrics import head_effects
from atlas.analyses.meaningless_tokens.storage import CONDITIONS, SUMS


@pytest.mark.parametrize("prompts", [1, 2])
def test_one_prompt_has_an_effect_but_no_interval(prompts):
    rng = np.random.default_rng(0)
    counts = {"prefix": 3, "merged": 0, "span": 4, "question": 5, "suffix": 1}
    arrays = {name: np.full(prompts, count, np.int32) for name, count in counts.items()}
    arrays |= {"prompt": np.arange(prompts, dtype=np.int32), "span_mass": rng.random((prompts, 2, 3))}
    for condition in CONDITIONS:
        tokens = prompts * (9 + 4 * (condition == "with"))
        arrays[f"{condition}.ids"] = np.arange(tokens, dtype=np.int32)
        arrays |= {f"{condition}.{name}": rng.random((tokens, 2, 3)) for name in SUMS[condition]}
    found = head_effects(arrays, "drop_columns", confidence=0.9, draws=200, seed=0)
    assert found["effect"].notna().all()
    if prompts == 1:
        assert found[["effect_low", "effect_high"]].isna().all(axis=None)
    else:
        assert (found["effect_low"] < found["effect_high"]).all()
