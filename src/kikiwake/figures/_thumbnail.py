"""A small spectrogram for a page of many: pixels alone, in few colours, some 10 KB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kikiwake.figures._timeline import decibels

_COLUMNS, _ROWS, _COLOURS = 320, 96, 32
_RANGE_DB = 70.0


def spectrogram_thumbnail(waveform: NDArray[np.floating[Any]], sample_rate: int) -> bytes:
    """Return the PNG of a spectrogram from 0 Hz, below, to half the sample rate, without axes.

    A pixel is the loudest of what it stands for; 70 dB below the loudest point all is black.

    Shape: waveform `[T]`.
    """
    from matplotlib import colormaps
    from PIL import Image

    level = _loudest(_loudest(decibels(waveform, sample_rate), _ROWS, axis=0), _COLUMNS, axis=1)
    steps = np.clip((level / _RANGE_DB + 1) * _COLOURS, 0, _COLOURS - 1).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(steps[::-1]))
    colours = colormaps["magma"](np.linspace(0, 1, _COLOURS), bytes=True)
    image.putpalette(np.ascontiguousarray(colours[:, :3]).tobytes())
    made = io.BytesIO()
    image.save(made, format="PNG", optimize=True)
    return made.getvalue()


def _loudest(level: NDArray[np.floating[Any]], most: int, *, axis: int) -> NDArray[np.floating[Any]]:
    """Return at most `most` rows or columns, each the maximum of its neighbours."""
    length = level.shape[axis]
    starts = np.linspace(0, length, min(most, length), endpoint=False).astype(int)
    largest: NDArray[np.floating[Any]] = np.maximum.reduceat(level, starts, axis=axis)
    return largest
