"""What a decoder process returns: the faces of a video as bytes, and back."""

import numpy as np
import pytest

from dfutils.serving.decoder_process import pack, unpack


def test_what_a_decoder_finds_survives_the_way(seen):
    back = unpack(pack(seen))
    for name in ("frames", "indices", "times", "boxes", "scores", "landmarks", "pose"):
        np.testing.assert_array_equal(getattr(back.clip, name), getattr(seen.clip, name))
    assert (back.facts, back.cut, back.clip.status) == (seen.facts, seen.cut, seen.clip.status)
    for broken in (b"", b"\x05\x00\x00\x00{}", pack(seen)[:-100], b"\xff" * 50):
        with pytest.raises(ValueError, match=r"."):
            unpack(broken)
