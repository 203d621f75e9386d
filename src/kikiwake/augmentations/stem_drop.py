"""Stems that fall silent, so that a network does not rely on one of them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from kikiwake.augmentations._draws import Probability

Waveforms = npt.NDArray[np.float32]


class StemDrop:
    """Silences one channel of the waveform, drawn at random; a waveform of one channel is left alone.

    `p`: how often.

    Shape: `[C, T]` -> same.
    """

    level: ClassVar[Literal["waveform"]] = "waveform"
    example: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, p: Probability = 0.5) -> None:
        self.p = p

    def __call__(self, waveform: Waveforms, *, sample_rate: int, rng: np.random.Generator) -> Waveforms:  # noqa: ARG002
        """Return the clip, with one channel less where it is its turn."""
        channel = int(rng.integers(len(waveform)))
        if rng.random() >= self.p or len(waveform) == 1:
            return waveform
        changed = waveform.copy()
        changed[channel] = 0
        return changed
