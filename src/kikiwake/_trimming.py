"""Where in a clip the sound is, and where there is but silence around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kikiwake import audio
from kikiwake._laying import faded
from kikiwake._sounds import Waveform
from kikiwake.clip import Clip

_FRAME_SECONDS = 0.01


@dataclass(frozen=True)
class Piece:
    """A stretch of a clip that holds its sound, with a fade at each end.

    `begin`: where the waveform `[T]` begins, in samples from the beginning of the clip's first piece. The
    sound is heard from `onset` to `offset`, in samples of the waveform; around it is the fade.
    """

    begin: int
    waveform: Waveform
    onset: int
    offset: int


def pieces(
    clip: Clip, *, sample_rate: int, trim_db: float, split_gap_seconds: float, longest_seconds: float
) -> list[Piece]:
    """Return the sound of a clip at `sample_rate` in Hz: a piece for each of its `stretches`.

    A fade of 10 ms lies before and after a stretch, or within it where the clip has no more. What lies more
    than `longest_seconds` after the first piece begins is cut off.

    Raises:
        AudioError: the clip cannot be read.
    """
    heard = audio.load(
        clip.path,
        sample_rate=sample_rate,
        start=round(clip.start_seconds * sample_rate),
        frames=round(clip.duration_seconds * sample_rate),
    )
    waveform = heard.waveform[0].astype(np.float64)
    edge = round(_FRAME_SECONDS * sample_rate)
    found: list[Piece] = []
    stop = len(waveform)
    origin = 0
    for onset, offset in stretches(
        waveform, sample_rate=sample_rate, trim_db=trim_db, split_gap_seconds=split_gap_seconds
    ):
        begin = max(0, onset - edge)
        if not found:
            origin, stop = begin, min(stop, begin + int(longest_seconds * sample_rate))
        end = min(offset + edge, stop)
        if onset < end:
            cut = faded(waveform[begin:end].copy(), seconds=_FRAME_SECONDS, sample_rate=sample_rate)
            found.append(Piece(begin - origin, cut, onset - begin, min(offset, end) - begin))
    return found


def stretches(
    waveform: Waveform, *, sample_rate: int, trim_db: float, split_gap_seconds: float
) -> list[tuple[int, int]]:
    """Return begin and end, in samples, of each stretch of `[T]` in which something is heard.

    A frame of 10 ms is heard where its power is at most `trim_db` below that of the loudest one. Frames that
    are not heard belong to the sound where they last for no more than `split_gap_seconds` between two that
    are; a longer gap parts it in two. A stretch is whole frames: it begins up to 10 ms before the sound does.
    """
    frame = max(1, round(_FRAME_SECONDS * sample_rate))
    count = -(-len(waveform) // frame)
    energy = np.square(np.pad(waveform, (0, count * frame - len(waveform)))).reshape(count, frame).sum(axis=1)
    if not energy.any():
        return []
    heard = np.flatnonzero(energy >= energy.max() * 10 ** (-trim_db / 10))
    gaps = (np.diff(heard) - 1) * frame
    parts = np.split(heard, np.flatnonzero(gaps > split_gap_seconds * sample_rate) + 1)
    return [(int(part[0]) * frame, min((int(part[-1]) + 1) * frame, len(waveform))) for part in parts]
