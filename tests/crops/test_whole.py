from __future__ import annotations

import numpy as np
import pytest

from kikiwake.crops.whole import Whole
from kikiwake.randomness import generator


@pytest.mark.parametrize(
    ("seconds", "total", "expected"), [(None, 12_345, 12_345), (1.0, 12_345, 8000), (5.0, 12_345, 12_345)]
)
def test_the_crop_is_everything_or_the_first_seconds(
    seconds: float | None, total: int, expected: int
) -> None:
    crop = Whole(seconds=seconds)
    chosen = crop.choose(total, sample_rate=8000, rng=generator(0), read=lambda s, n: np.empty(0))
    assert chosen == (0, expected)
