"""Timetables of recordings: which sounds are heard when, and how far they stand above the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kikiwake._laying import Placed
from kikiwake._sounds import Rng, Waveform, between
from kikiwake._trimming import Piece, pieces
from kikiwake.manifest import Manifest

_APART_SECONDS = 0.2
_FAINTEST_NOISE = 0.01
_ROUNDING_POWER = 2.0**-30 / 12
"""That of rounding to 16 bits, which silence has in the file."""


@dataclass(frozen=True)
class Happening:
    """A sound in a recording: what is added to it, and from which sample to which the sound is heard."""

    placed: Placed
    start: int
    end: int
    snr_db: float

    @property
    def label(self) -> str:
        """The class."""
        return self.placed.label


@dataclass(frozen=True)
class Settings:
    """How recordings are filled; `synthesise_set` says what each means."""

    sample_rate: int
    seconds: float
    least_events: int
    most_events: int
    lowest_snr_db: float
    highest_snr_db: float
    overlap: bool
    trim_db: float
    split_gap_seconds: float


def timetable(
    noise: Waveform, manifest: Manifest, rows: Mapping[str, Sequence[int]], settings: Settings, rng: Rng
) -> tuple[list[Happening], bool]:
    """Return what happens in a recording of `noise` `[T]`, in time, and whether all found room that should.

    `rows`: the clips of the manifest that may be heard, by class; each is heard once at most.

    Raises:
        AudioError: a clip cannot be read.
    """
    wanted = int(rng.integers(settings.least_events, settings.most_events + 1))
    left = {name: list(own) for name, own in rows.items()}
    taken: list[tuple[str, int, int]] = []
    happening: list[Happening] = []
    while len(taken) < wanted and left:
        name = sorted(left)[int(rng.integers(len(left)))]
        row = left[name].pop(int(rng.integers(len(left[name]))))
        if not left[name]:
            del left[name]
        found = pieces(
            manifest[row],
            sample_rate=settings.sample_rate,
            trim_db=settings.trim_db,
            split_gap_seconds=settings.split_gap_seconds,
            longest_seconds=settings.seconds,
        )
        if not found:
            continue
        length = found[-1].begin + len(found[-1].waveform)
        start = free_start(
            length,
            total=len(noise),
            taken=[(begin, end) for label, begin, end in taken if not settings.overlap or label == name],
            apart=round(_APART_SECONDS * settings.sample_rate),
            rng=rng,
        )
        if start is None:
            continue
        taken.append((name, start, start + length))
        snr_db = between(rng, settings.lowest_snr_db, settings.highest_snr_db)
        happening += [_happening(piece, start, name, noise, snr_db) for piece in found]
    return sorted(happening, key=lambda each: (each.start, each.label)), len(taken) == wanted


def _happening(piece: Piece, start: int, label: str, noise: Waveform, snr_db: float) -> Happening:
    """Return a piece of the clip that begins at `start`, made to stand `snr_db` above the noise below it."""
    begin = start + piece.begin
    onset, offset = begin + piece.onset, begin + piece.offset
    below = _power(noise[onset:offset])
    reference = max(below, _FAINTEST_NOISE * _power(noise))
    own = _power(piece.waveform[piece.onset : piece.offset])
    sound = piece.waveform * np.sqrt(reference / own * 10 ** (snr_db / 10))
    ratio_db = snr_db + 10 * float(np.log10(reference / below))
    return Happening(Placed(begin, sound, label), onset, offset, ratio_db)


def _power(waveform: Waveform) -> float:
    return max(float(np.mean(waveform**2)), _ROUNDING_POWER)


def free_start(
    length: int, *, total: int, taken: Sequence[tuple[int, int]], apart: int, rng: Rng
) -> int | None:
    """Return where a sound of `length` samples may begin in `total`, every free place as likely as another.

    `taken`: begin and end of stretches that it must stay `apart` samples from. None: there is no such place.
    """
    stop = total - length + 1
    free: list[tuple[int, int]] = []
    at = 0
    for begin, end in sorted((begin - apart - length + 1, end + apart) for begin, end in taken):
        free.append((at, min(begin, stop)))
        at = max(at, end)
    free.append((at, stop))
    places = sum(max(0, end - begin) for begin, end in free)
    if places <= 0:
        return None
    drawn = int(rng.integers(places))
    for begin, end in free:
        if drawn < end - begin:
            return begin + drawn
        drawn -= max(0, end - begin)
    raise AssertionError("the places were counted wrongly")
