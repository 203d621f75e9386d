from __future__ import annotations

import numpy as np
import pytest

from kikiwake.crops.first import First
from kikiwake.randomness import generator


@pytest.mark.parametrize(("total", "expected"), [(100_000, (0, 80_000)), (500, (0, 500)), (0, (0, 0))])
def test_the_crop_is_the_clips_beginning(total: int, expected: tuple[int, int]) -> None:
    chosen = First(seconds=5.0).choose(
        total, sample_rate=16_000, rng=generator(0), read=lambda s, n: np.empty(0)
    )
    assert chosen == expected
