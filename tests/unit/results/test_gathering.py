"""Shards that do not belong together are not joined."""

import pytest

from atlas.errors import AtlasError
from atlas.results.gathering import require_one_frame

FRAME = {"date": "2024-07-26", "kwargs": {}, "frames_sha256": "a" * 64}
FILES = ["1-of-2", "2-of-2"]


@pytest.mark.parametrize("frame", [FRAME, None])
def test_shards_of_one_frame_are_joined(frame):
    documents = [{} if frame is None else {"chat": dict(frame)} for _ in FILES]
    require_one_frame(documents, FILES)


@pytest.mark.parametrize(
    "other",
    [None, {**FRAME, "frames_sha256": "b" * 64}, {**FRAME, "date": None}, {**FRAME, "kwargs": {"a": 1}}],
)
@pytest.mark.parametrize("turned", [False, True])
def test_shards_of_two_frames_are_refused_by_name(other, turned):
    documents = [{"chat": FRAME}, {} if other is None else {"chat": other}]
    with pytest.raises(AtlasError, match=r"1-of-2.*chat template.*delete both and run again") as caught:
        require_one_frame(documents[::-1] if turned else documents, FILES)
    assert "2-of-2" in str(caught.value)
