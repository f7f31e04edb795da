"""Layers are cut into consecutive parts, of which none is empty."""

import pytest

from atlas.errors import AtlasError
from atlas.results.shards import layers_of


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_every_layer_is_in_one_part_and_no_part_is_empty(shards):
    parts = [layers_of(7, shard, shards) for shard in range(1, shards + 1)]
    assert [layer for part in parts for layer in part] == list(range(7))
    assert all(parts)


def test_more_parts_than_layers_are_refused():
    with pytest.raises(AtlasError, match="shards = 8 is more than the model's 7 layers; ask for at most 7"):
        layers_of(7, 1, 8)
