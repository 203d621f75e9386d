"""Packed numbers come back as they were, whatever they are and from wherever they are read."""

from __future__ import annotations

import numpy as np
import pytest

from kikiwake._bitpacking import FRAME, packed, unpack, words_before

RNG = np.random.default_rng(0)
LENGTH = 3 * FRAME + 100
NUMBERS = {
    "noise of 16 bits": RNG.integers(-32768, 32768, LENGTH),
    "noise of 3 bits": RNG.integers(-4, 4, LENGTH),
    "a walk": np.cumsum(RNG.integers(-3, 4, LENGTH)),
    "a slow wave": np.rint(30_000 * np.sin(np.arange(LENGTH) / 200)),
    "full scale back and forth": np.where(np.arange(LENGTH) % 2, 32767, -32768),
    "silence": np.zeros(LENGTH),
    "one number": np.array([-7]),
    "none": np.array([]),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(("first", "skip", "count"), [(0, 0, LENGTH), (0, 5, 1), (1, 1023, 1026), (3, 7, 93)])
def test_any_stretch_comes_back(name: str, first: int, skip: int, count: int) -> None:
    numbers = NUMBERS[name].astype(np.int16)
    table, words = packed(numbers)
    wanted = numbers[first * FRAME + skip :][:count]
    last = first - (-(skip + len(wanted)) // FRAME)
    bounds = words_before(table)
    out = np.empty(len(wanted), np.float32)
    if len(wanted):
        own = words[bounds[first] : bounds[last]]
        unpack(own, table[first:last], skip=skip, step=np.float32(0.5), out=out)
    np.testing.assert_array_equal(out, wanted * np.float32(0.5))


@pytest.mark.parametrize(
    ("name", "order", "bits"),
    [
        ("noise of 16 bits", 0, 16),
        ("noise of 3 bits", 0, 3),
        ("a walk", 1, 3),
        ("a slow wave", 2, 3),
        ("silence", 0, 0),
    ],
)
def test_what_spans_the_least_is_kept_in_as_few_bits_as_it_needs(name: str, order: int, bits: int) -> None:
    table, words = packed(NUMBERS[name].astype(np.int16))
    assert (table[1, 0] >> 8, table[1, 0] & 255) == (order, bits)
    assert len(words) == words_before(table)[-1] == 32 * (table[:, 0] & 255).sum()
