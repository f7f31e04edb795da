"""Within its limits a text's numbers do not depend on the other texts of its batch; beyond them stock models' do."""

import pytest
import torch

import families
from atlas.models.limits import read_limits

SHORT, LONG = [1.0, 1.1, 1.2, 1.3], [2.0, 3.0, 4.0, 5.0]
ROTATIONS = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
    "longrope": {
        "rope_type": "longrope", "factor": 2.0, "rope_theta": 1e4, "short_factor": SHORT, "long_factor": LONG,
        "original_max_position_embeddings": 24,
    },
}  # fmt: skip


@pytest.mark.parametrize("rotation", sorted(ROTATIONS))
def test_neighbours_do_not_matter_up_to_the_limit_and_do_beyond(rotation):
    model = families.build("llama", rope_parameters=ROTATIONS[rotation], max_position_embeddings=48)
    limit = read_limits(model.config.to_dict()).tokens
    assert limit == (48 if rotation == "dynamic" else 24)
    generator = torch.Generator().manual_seed(0)
    text, neighbour = (torch.randint(3, 199, (limit + 8,), generator=generator) for _ in range(2))

    def beside(length):
        """Logits of the first ten tokens in a batch whose other text has `length`."""
        ids = torch.zeros(2, length, dtype=torch.long)
        ids[0, :10], ids[1] = text[:10], neighbour[:length]
        with torch.no_grad():
            return model(ids).logits[0, :10]

    alone = beside(10)
    torch.testing.assert_close(beside(limit), alone, rtol=1e-5, atol=1e-5)
    assert (beside(limit + 8) - alone).abs().max() > 0.01
