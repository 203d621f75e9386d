"""Separates a signal of any length with a separator of windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kikiwake.separators._batches import separated
from kikiwake.separators._separator import Separator

Samples = NDArray[np.float32]


class _Window(NamedTuple):
    """Samples `begin` to `begin + length` of the signal, in the middle of `mixture` `[C, window]`."""

    begin: int
    length: int
    mixture: Samples


class SpanSeparation:
    """Gives samples `start` to `stop` of a signal's stems; `stop` None for the signal's end.

    `first` and `last` are the mixture's samples that are needed for it; `last` is None where they go to the
    end.

    Windows begin at multiples of `hop`, are weighted by triangles and joined, as Demucs does it: each sample
    is the mean of what the windows around it say, so stems that sum to the mixture in every window do so
    everywhere. A window that the signal's end cuts short is moved to the middle of what the separator hears,
    with the signal before it and silence behind.
    """

    def __init__(self, separator: Separator, *, start: int, stop: int | None) -> None:
        window, hop = separator.window, separator.hop
        self.separator = separator
        self.start, self.stop = start, stop
        self._first_window = max(0, (start - window) // hop + 1)
        self._last_window = None if stop is None else max(stop - 1, 0) // hop
        self.first = max(0, self._first_window * hop - window // 2)
        self.last = None if self._last_window is None else self._last_window * hop + window

    def __call__(self, pieces: Iterable[Samples]) -> Iterator[Samples]:
        """Yield the stems `[S, n]` in pieces of any length.

        `pieces`: the mixture `[C, n]` from `first` to `last`, or to its end.
        """
        position = self._first_window * self.separator.hop
        for piece in self._joined(self._windows(pieces)):
            begin, end = position, position + piece.shape[1]
            position = end
            low = max(self.start, begin)
            high = end if self.stop is None else min(self.stop, end)
            if low < high:
                yield piece[:, low - begin : high - begin]

    def _windows(self, pieces: Iterable[Samples]) -> Iterator[_Window]:
        """Cut the mixture; what is held of it begins half a window before the next one."""
        window, hop = self.separator.window, self.separator.hop
        source = iter(pieces)
        held = np.empty((self.separator.channels, 0), np.float32)
        begin = heard = self.first
        number = self._first_window
        while self._last_window is None or number <= self._last_window:
            at = number * hop
            waiting = [held]
            while heard < at + window and (piece := next(source, None)) is not None:
                waiting.append(piece)
                heard += piece.shape[1]
            held = np.concatenate(waiting, axis=1) if len(waiting) > 1 else held
            if at >= heard:
                return
            length = min(window, heard - at)
            from_ = at - (window - length) // 2
            low, high = max(from_, begin), min(from_ + window, heard)
            mixture = np.zeros((len(held), window), np.float32)
            mixture[:, low - from_ : high - from_] = held[:, low - begin : high - begin]
            yield _Window(at, length, mixture)
            number += 1
            keep = max(begin, number * hop - window // 2)
            held, begin = held[:, keep - begin :], keep

    def _joined(self, windows: Iterator[_Window]) -> Iterator[Samples]:
        """Fade the windows' stems into each other; yield what no later window reaches."""
        window, hop = self.separator.window, self.separator.hop
        rising = np.arange(1, window // 2 + 1)
        weights = np.concatenate([rising, np.arange(window - window // 2, 0, -1)]).astype(np.float32)
        weights /= weights.max()
        stems = np.zeros((len(self.separator.stems), window), np.float32)
        sums = np.zeros(window, np.float32)
        left = 0
        while batch := list(islice(windows, self.separator.batch_size)):
            mixtures = torch.from_numpy(np.stack([each.mixture for each in batch]))
            for each, found in zip(batch, separated(self.separator, mixtures).numpy(), strict=True):
                shift = (window - each.length) // 2
                fade = weights[: each.length]
                stems[:, : each.length] += fade * found[:, shift : shift + each.length]
                sums[: each.length] += fade
                left = max(left, each.length)
                ready = min(hop, left)
                yield stems[:, :ready] / sums[:ready]
                left -= ready
                for waiting in (stems, sums):
                    waiting[..., : window - hop] = waiting[..., hop:]
                    waiting[..., window - hop :] = 0
        if left:
            yield stems[:, :left] / sums[:left]
