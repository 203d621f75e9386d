"""Examples to look at and listen to: which clips, how much of them, and how they are brought into a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kikiwake import audio, figures
from kikiwake.exploring._clips import MeasuredClip
from kikiwake.parallel import map_isolated, progress
from kikiwake.randomness import generator

LONGEST_SECONDS = 10.0
SHORTEST_SECONDS = 3.0
PAGE_BYTES = 13_000_000
LISTENING_RATE = 32_000
_BYTES_A_SECOND = 6_000
_PICTURE_BYTES = 14_000
_MP3_LEVEL = (320 - 8 * _BYTES_A_SECOND / 1000) / (320 - 32)
"""libsndfile's compression level for 48 kbit/s: it runs from 320 kbit/s (0) to 32 kbit/s (1)."""

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """How many examples a class, how many seconds of each at most, and of how many classes."""

    examples: int
    seconds: float
    classes: int


@dataclass(frozen=True)
class Excerpt:
    """The stretch of a clip that is shown: `start` and `seconds` in the recording."""

    clip: MeasuredClip
    start: float
    seconds: float


@dataclass(frozen=True)
class Example:
    """A clip's excerpt as a PNG and as coded sound. `media_type`: of the sound. `top_hz`: the picture's."""

    clip: MeasuredClip
    start: float
    seconds: float
    top_hz: float
    picture: bytes
    sound: bytes
    media_type: str


def plan(classes: int, wanted: int) -> Plan:
    """Return what fits into a page of about `PAGE_BYTES`.

    First there are fewer examples, then shorter ones, then examples of fewer classes.

    >>> plan(10, 3)
    Plan(examples=3, seconds=10.0, classes=10)
    """
    if not classes or not wanted:
        return Plan(0, LONGEST_SECONDS, 0)
    room = PAGE_BYTES / (4 / 3) / classes
    longest = _PICTURE_BYTES + LONGEST_SECONDS * _BYTES_A_SECOND
    if room >= longest:
        return Plan(min(wanted, int(room / longest)), LONGEST_SECONDS, classes)
    seconds = max((room - _PICTURE_BYTES) / _BYTES_A_SECOND, SHORTEST_SECONDS)
    shortest = _PICTURE_BYTES + seconds * _BYTES_A_SECOND
    return Plan(1, float(int(10 * seconds)) / 10, min(classes, int(PAGE_BYTES / (4 / 3) / shortest)))


def choose(clips: Sequence[MeasuredClip], count: int, *, seed: int, name: str) -> list[MeasuredClip]:
    """Draw `count` of a class's clips that can be read, from as many groups as there are.

    `name`: of the class; each has a draw of its own.
    """
    readable = [clip for clip in clips if clip.measures is not None]
    order = generator(seed, "examples", name).permutation(len(readable)).tolist()
    seen: dict[str, int] = {}
    ranked = []
    for place, at in enumerate(order):
        group = readable[at].group
        seen[group] = seen.get(group, 0) + 1
        ranked.append((seen[group], place, readable[at]))
    ranked.sort(key=lambda one: one[:2])
    return [clip for _, _, clip in ranked[:count]]


def excerpt(clip: MeasuredClip, seconds: float) -> Excerpt:
    """Return the `seconds` of a clip around its loudest moment, or all of a clip that is shorter."""
    assert clip.measures is not None, "only clips that were read are shown"
    length = min(seconds, clip.measures.seconds)
    latest = clip.measures.seconds - length
    start = min(max(clip.measures.loudest_seconds - length / 2, 0.0), latest)
    return Excerpt(clip, clip.clip.start_seconds + start, length)


def render(piece: Excerpt) -> Example:
    """Read an excerpt, draw it and code it.

    Raises:
        AudioError: it cannot be read.
    """
    assert piece.clip.measures is not None, "only clips that were read are shown"
    rate = piece.clip.measures.sample_rate
    span = round(piece.start * rate), max(round(piece.seconds * rate), 1)
    heard = audio.load(piece.clip.clip.path, sample_rate=None, start=span[0], frames=span[1])
    sound, media_type = coded(heard.waveform, rate)
    picture = figures.spectrogram_thumbnail(heard.waveform[0], rate)
    return Example(piece.clip, piece.start, piece.seconds, rate / 2, picture, sound, media_type)


def coded(waveform: Samples, sample_rate: int) -> tuple[bytes, str]:
    """Return a mono waveform as a small file that browsers and phones play, and its media type.

    MP3 at 32 kHz and 48 kbit/s; Ogg Vorbis where libsndfile was built without MP3.

    Shape: waveform `[1, T]`.
    """
    import soundfile

    mono = audio.resample(waveform, source_rate=sample_rate, target_rate=LISTENING_RATE)[0]
    mono = np.clip(mono, -1, 1)
    made = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        soundfile.write(
            made,
            mono,
            LISTENING_RATE,
            format="MP3",
            subtype="MPEG_LAYER_III",
            compression_level=_MP3_LEVEL,
            bitrate_mode="CONSTANT",
        )
        return made.getvalue(), "audio/mpeg"
    with soundfile.SoundFile(made, "w", LISTENING_RATE, 1, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(mono), LISTENING_RATE):  # libsndfile crashes over a long Ogg in one call
            file.write(mono[start : start + LISTENING_RATE])
    return made.getvalue(), "audio/ogg"


def render_all(
    chosen: Mapping[str, Sequence[MeasuredClip]],
    seconds: float,
    *,
    workers: int,
    timeout_seconds: float,
    memory_bytes: int,
) -> dict[str, list[Example]]:
    """Return the examples of each class; one that can no longer be read is left out.

    `chosen`: clips by class. `seconds`: of each at most. The rest as in `map_isolated`.
    """
    pieces = [excerpt(clip, seconds) for clips in chosen.values() for clip in clips]
    names = [name for name, clips in chosen.items() for _ in clips]
    results = map_isolated(
        render, pieces, workers=workers, timeout_seconds=timeout_seconds, memory_bytes=memory_bytes
    )
    found: dict[str, list[Example]] = {name: [] for name in chosen}
    with progress(len(pieces), description="drawing examples", unit="clips") as bar:
        for name, (_, result) in zip(names, results, strict=True):
            if result.value is not None:
                found[name].append(result.value)
            bar.advance()
    return found
