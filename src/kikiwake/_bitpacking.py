"""16-bit numbers in as few bits as each stretch of them needs, packed and unpacked in machine code.

A frame is 1024 numbers. Kept are the numbers, their differences or the differences of those, whichever spans
the least, less the smallest of them, each in as many bits as the span needs. Number i of a frame lies in lane
i modulo 32, and the words of the lanes take turns, so that a processor unpacks many lanes at once (Lemire and
Boytsov 2015, "Decoding billions of integers per second through vectorization", section 4). Nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

FRAME = 1024
ROW = 4
"""Values of a frame in its table: order and bits, least, last number before the frame, its difference."""

_LANES = 32
_ORDERS = 3

Whole = NDArray[np.int32]
_Function = TypeVar("_Function", bound=Callable[..., object])


def packed(values: NDArray[np.int16]) -> tuple[Whole, NDArray[np.uint32]]:
    """Return the table of the frames, `[frames, 4]`, and the words that hold the numbers."""
    table = np.empty((-(-len(values) // FRAME), ROW), np.int32)
    words = np.zeros((_plan(values, table), _LANES), np.uint32)
    _pack(values, table, words)
    return table, words.reshape(-1)


def words_before(table: Whole) -> NDArray[np.int64]:
    """Return where each frame's words begin, and where the last one's end. Shape: `[frames + 1]`."""
    return np.concatenate([[0], np.cumsum((table[:, 0] & 255).astype(np.int64) * _LANES)])


def unpack(
    words: NDArray[np.uint32], table: Whole, *, skip: int, step: np.float32, out: NDArray[np.float32]
) -> None:
    """Fill `out` with the numbers after the first `skip` of the frames in `table`, times `step`."""
    _unpack(words.reshape(-1, _LANES), table, skip, step, out)


def _compiled(function: _Function) -> _Function:
    """Return the function, to be made machine code when it is first called, and kept as such."""
    try:
        return cast(_Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # there is no folder to keep it in
        return cast(_Function, numba.njit(nogil=True)(function))


@_compiled
def _plan(values: NDArray[np.int16], table: Whole) -> int:
    """Choose how each frame is kept, and return how many words a lane takes."""
    words = 0
    before = slope = np.int64(0)
    kept, least, most = np.empty((3, _ORDERS), np.int64)
    for frame in range(len(table)):
        table[frame, 2], table[frame, 3] = before, slope
        least[:], most[:] = 1 << 30, -(1 << 30)
        for value in values[frame * FRAME : (frame + 1) * FRAME]:
            number = np.int64(value)
            difference = number - before
            kept[0], kept[1], kept[2] = number, difference, difference - slope
            for order in range(_ORDERS):
                least[order] = min(least[order], kept[order])
                most[order] = max(most[order], kept[order])
            before, slope = number, difference
        best = np.argmin(most - least)
        span, bits = most[best] - least[best], 0
        while span >> bits:
            bits += 1
        table[frame, 0], table[frame, 1] = best << 8 | bits, least[best]
        words += bits
    return words


@_compiled
def _pack(values: NDArray[np.int16], table: Whole, words: NDArray[np.uint32]) -> None:
    at = 0
    for frame in range(len(table)):
        bits, order = table[frame, 0] & 255, table[frame, 0] >> 8
        width, least = np.uint32(bits), np.int64(table[frame, 1])
        before, slope = np.int64(table[frame, 2]), np.int64(table[frame, 3])
        for place, value in enumerate(values[frame * FRAME : (frame + 1) * FRAME]):
            number = np.int64(value)
            difference = number - before
            kept = number if order == 0 else difference if order == 1 else difference - slope
            before, slope = number, difference
            if not bits:
                continue
            first = np.uint32(place // _LANES) * width
            word, lane, shift = at + np.int64(first >> np.uint32(5)), place % _LANES, first & np.uint32(31)
            rest = np.uint32(kept - least)
            words[word, lane] |= rest << shift
            if shift + width > 32:
                words[word + 1, lane] |= rest >> (np.uint32(32) - shift)
        at += bits


@_compiled
def _unpack_frame(words: NDArray[np.uint32], at: int, bits: int, least: int, frame: Whole) -> None:
    width, low = np.uint32(bits), np.int32(least)
    mask = (np.uint32(1) << width) - np.uint32(1)
    for row in range(FRAME // _LANES):
        first = np.uint32(row) * width
        word = at + np.int64(first >> np.uint32(5))
        shift = first & np.uint32(31)
        if shift + width > 32:
            back = np.uint32(32) - shift
            for lane in range(_LANES):
                both = words[word, lane] >> shift | words[word + 1, lane] << back
                frame[row, lane] = np.int32(both & mask) + low
        else:
            for lane in range(_LANES):
                frame[row, lane] = np.int32(words[word, lane] >> shift & mask) + low


@_compiled
def _unpack(
    words: NDArray[np.uint32], table: Whole, skip: int, step: np.float32, out: NDArray[np.float32]
) -> None:
    lanes = np.empty((FRAME // _LANES, _LANES), np.int32)
    numbers = lanes.reshape(-1)
    at = done = 0
    for frame in range(len(table)):
        bits, order = table[frame, 0] & 255, table[frame, 0] >> 8
        if bits:
            _unpack_frame(words, at, bits, table[frame, 1], lanes)
        else:
            lanes[:] = table[frame, 1]
        at += bits
        number, slope = table[frame, 2], table[frame, 3]
        if order == 1:
            for place in range(FRAME):
                number += numbers[place]
                numbers[place] = number
        elif order == 2:
            for place in range(FRAME):
                slope += numbers[place]
                number += slope
                numbers[place] = number
        begin = skip if frame == 0 else 0
        count = min(FRAME - begin, len(out) - done)
        wanted, found = out[done : done + count], numbers[begin : begin + count]
        for place in range(count):
            wanted[place] = np.float32(found[place]) * step
        done += count
