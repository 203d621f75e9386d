"""Recordings as waveforms: probe, load, stream, resample.

Files are told by content, not by name. libsndfile decodes wav, flac, mp3, ogg, opus, aiff and more; FFmpeg
the rest, where the extra `ffmpeg` is installed. Frames read are always compared with frames promised, so that
a damaged file gives what is left of it and says what is lost. Resampling is soxr's high quality (-134 dB of
aliasing), after downmixing, in blocks that fit the processor's cache.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from kikiwake.audio._decoders import MAX_CHANNELS, Recording
from kikiwake.audio._resampling import SpanResampler, reblocked
from kikiwake.errors import AudioError

__all__ = [
    "AUDIO_SUFFIXES",
    "Audio",
    "AudioInfo",
    "SpanResampler",
    "Stream",
    "downmix",
    "load",
    "probe",
    "reblocked",
    "resample",
    "stream",
]

# fmt: off
AUDIO_SUFFIXES = frozenset({
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".flac",
    ".ogg", ".oga", ".opus", ".mp1", ".mp2", ".mp3", ".m4a", ".m4b", ".mp4", ".aac", ".ac3", ".wma", ".asf",
    ".webm", ".mka", ".mkv", ".wv", ".ape", ".tta", ".tak", ".mpc", ".amr", ".3gp", ".dsf", ".dff", ".voc",
    ".sph", ".avi", ".mov",
})
# fmt: on

_BLOCK_VALUES = 1 << 17

Samples = NDArray[np.float32]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says. `damage`: what is missing of it, as far as the header tells.

    `frames` are samples a channel at `sample_rate` in Hz; of formats that only FFmpeg reads it is what the
    header claims, within a tenth of a second. `decoder` is `soundfile` or `av`.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    format: str
    decoder: str
    damage: str | None = None

    @property
    def duration_seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate

    def frames_at(self, sample_rate: int | None) -> int:
        """Return the length in samples after resampling to `sample_rate` in Hz."""
        return self.frames if sample_rate is None else _scaled(self.frames, self.sample_rate, sample_rate)


@dataclass(frozen=True)
class Audio:
    """A waveform float32 `[C, T]` at `sample_rate` in Hz.

    `damage` says in words what was lost; `replaced_samples` counts NaN and infinite values set to zero.
    """

    waveform: Samples
    sample_rate: int
    damage: str | None = None
    replaced_samples: int = 0


class Stream(Iterator[Samples]):
    """Blocks `[C, block]` of one recording in order, the last one shorter.

    `format`: container and coding, as in "WAV PCM_16". `damage` and `replaced_samples` are complete when the
    last block has been read. It is also a context manager, which closes the file early.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        sample_rate: int | None,
        channels: int | None,
        block: int | None,
        start: int,
        frames: int | None,
    ) -> None:
        _check_request(sample_rate=sample_rate, channels=channels, start=start, frames=frames)
        self.path = Path(path)
        self.replaced_samples = 0
        self.damage: str | None = None
        self._recording = recording = Recording(self.path)
        if recording.frames == 0:
            recording.close()
            raise AudioError(_without_samples(recording), where=self.path)
        self._mixing = _Mixing(recording, wanted=channels)
        self.channels = self._mixing.kept * self._mixing.repeats
        self.sample_rate = sample_rate or recording.sample_rate
        self.format = recording.format
        self._pieces = self._read_span(start, frames)
        self._blocks = self._pieces if block is None else reblocked(self._pieces, block=block)

    def __next__(self) -> Samples:
        return next(self._blocks)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._pieces.close()
        self._recording.close()

    def _read_span(self, start: int, frames: int | None) -> Generator[Samples]:
        """Yield `[C, n]` of any n: the span's samples, each sample once."""
        recording, mixing = self._recording, self._mixing
        span = SpanResampler(
            source_rate=recording.sample_rate, target_rate=self.sample_rate, start=start, frames=frames
        )
        longest = _BLOCK_VALUES * span.down // max(span.up, span.down)
        source = self._read_source(span.first, span.stop, longest=longest)
        given = 0
        try:
            for piece in span(source, channels=mixing.kept):
                given += len(piece)
                yield mixing.spread(piece)
            if given == start == 0 and frames != 0:
                raise AudioError(f"is too short for one sample at {self.sample_rate} Hz", where=self.path)
        finally:
            self.damage = recording.damage()
            recording.close()

    def _read_source(self, first: int, stop: int | None, *, longest: int) -> Iterator[tuple[Samples, bool]]:
        """Yield the source's frames from `first` to `stop`, downmixed, and whether they are the last."""
        recording = self._recording
        size = max(min(longest, _BLOCK_VALUES // recording.channels), 1024)
        buffer = np.empty((size, recording.channels), np.float32)
        position, values = first, 0
        recording.seek(first)
        last = False
        while not last:
            wanted = size if stop is None else min(size, stop - position)
            got = recording.read(buffer[:wanted])
            position += got
            last = got < wanted or position == stop
            if not recording.finite:
                self.replaced_samples += _zero_what_is_not_finite(buffer[:got])
                values += got * recording.channels
            yield self._mixing.mix(buffer[:got]), last
        if values and self.replaced_samples == values:
            raise AudioError("holds nothing but NaN and infinite values", where=self.path)
        if position == 0 and stop != 0:
            raise AudioError(_without_samples(recording), where=self.path)


class _Mixing:
    """How the channels of a recording become the wanted ones."""

    def __init__(self, recording: Recording, *, wanted: int | None) -> None:
        has = recording.channels
        if wanted not in (None, 1, has) and has != 1:
            recording.close()
            raise AudioError(
                f"has {has} channels, which cannot become {wanted}",
                where=recording.path,
                remedy=f"ask for 1 (mean of all) or {has}",
            )
        self._downmix = wanted == 1 and has > 1
        self.repeats = wanted if wanted is not None and has == 1 else 1
        self.kept = 1 if self._downmix else has

    def mix(self, block: Samples) -> Samples:
        """Turn `[n, channels]` into `[n]`, or `[n, kept]` where several channels are kept; may be a view."""
        if self._downmix:
            return _mean_of_columns(block)
        return block[:, 0] if self.kept == 1 else block

    def spread(self, piece: Samples) -> Samples:
        """Turn `[n]` or `[n, kept]` into `[C, n]`."""
        if piece.ndim == 2:
            return np.ascontiguousarray(piece.T)
        return piece[None] if self.repeats == 1 else np.repeat(piece[None], self.repeats, axis=0)


def probe(path: PathLike) -> AudioInfo:
    """Read a file's header.

    An MP3 without a count of its frames is walked through, and a file without any length is decoded, both in
    flat memory.

    Raises:
        AudioError: the file is missing, empty, no recording, or of a format that needs the extra `ffmpeg`.
    """
    recording = Recording(Path(path))
    try:
        frames = recording.frames
        if frames is None:
            frames, buffer = (
                0,
                np.empty((_BLOCK_VALUES // recording.channels, recording.channels), np.float32),
            )
            while got := recording.read(buffer):
                frames += got
        if frames == 0:
            raise AudioError(_without_samples(recording), where=recording.path)
        return AudioInfo(
            recording.path,
            recording.sample_rate,
            recording.channels,
            frames,
            recording.format,
            recording.decoder,
            recording.damage(),
        )
    finally:
        recording.close()


def load(
    path: PathLike,
    *,
    sample_rate: int | None,
    channels: int | None = 1,
    start: int = 0,
    frames: int | None = None,
) -> Audio:
    """Decode a recording or a span of it, downmix and resample.

    `sample_rate` in Hz, None for the file's own. `channels`: 1 for the mean of all, None for what the file
    has, n to repeat a mono recording. `start` and `frames` are samples at the rate asked for; the span equals
    that of the whole recording within 1e-6, and is shorter, or empty, where the recording ends. (Where the
    ratio of the rates is one of numbers beyond 10000, as 44100 to 44056, soxr's own phase drifts by some 1e-4
    of a sample in ten minutes, and the span is the more exact.)

    Raises:
        AudioError: nothing of the file can be read; it holds no samples, or nothing but NaN; its channels do
            not fit; or it is too long for the memory.
    """
    stream = Stream(path, sample_rate=sample_rate, channels=channels, block=None, start=start, frames=frames)
    try:
        pieces = list(stream)
        if pieces:
            waveform = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
        else:
            waveform = np.empty((stream.channels, 0), np.float32)
    except MemoryError as error:
        raise AudioError(
            "is too long for the memory", where=stream.path, remedy="load a span of it or stream it"
        ) from error
    finally:
        stream.close()
    return Audio(waveform, stream.sample_rate, stream.damage, stream.replaced_samples)


def stream(
    path: PathLike,
    *,
    sample_rate: int | None,
    channels: int | None = 1,
    block: int,
    start: int = 0,
    frames: int | None = None,
) -> Stream:
    """Read a recording of any length in flat memory, as blocks `[C, block]`; together they equal `load`.

    `block`: samples a channel at the rate asked for; the rest as in `load`.

    Raises:
        AudioError: as `load`; of what shows only while decoding, when the block is read.
    """
    if block < 1:
        raise AudioError("block must be at least one sample", value=block)
    return Stream(path, sample_rate=sample_rate, channels=channels, block=block, start=start, frames=frames)


def resample(waveform: Samples, *, source_rate: int, target_rate: int) -> Samples:
    """Resample with soxr's high quality, as `load` does.

    Rates in Hz. Shape: `[C, T]` -> `[C, T * target_rate / source_rate]`, rounded.
    """
    if source_rate == target_rate:
        return waveform
    rows = [soxr.resample(np.ascontiguousarray(row), source_rate, target_rate, "HQ") for row in waveform]
    return np.stack(rows).astype(np.float32, copy=False)


def downmix(waveform: Samples, *, channels: int | None) -> Samples:
    """Change the number of channels: 1 for the mean of all, n to repeat a mono waveform, None for no change.

    Shape: `[C, T]` -> `[channels, T]`.

    Raises:
        AudioError: several channels cannot become another number of several.
    """
    has = len(waveform)
    if channels is None or channels == has:
        return waveform
    if channels == 1:
        return _mean_of_columns(waveform.T)[None]
    if has != 1:
        raise AudioError(
            f"{has} channels cannot become {channels}", remedy=f"ask for 1 (mean of all) or {has}"
        )
    return np.repeat(waveform, channels, axis=0)


def _mean_of_columns(block: Samples) -> Samples:
    """Mean over the channels of `[n, channels]`; adding column by column is twice as fast as `mean(1)`."""
    total = block[:, 0] + block[:, 1]
    for channel in range(2, block.shape[1]):
        total += block[:, channel]
    total *= np.float32(1 / block.shape[1])
    return total


def _zero_what_is_not_finite(block: Samples) -> int:
    bad = ~np.isfinite(block)
    count = int(np.count_nonzero(bad))
    if count:
        block[bad] = 0.0
    return count


def _scaled(frames: int, source_rate: int, target_rate: int) -> int:
    """Length after resampling, rounded half up as soxr does."""
    return (2 * frames * target_rate + source_rate) // (2 * source_rate)


def _without_samples(recording: Recording) -> str:
    damage = recording.damage()
    return f"holds no samples: {damage}" if damage else "holds no samples"


def _check_request(*, sample_rate: int | None, channels: int | None, start: int, frames: int | None) -> None:
    if sample_rate is not None and sample_rate < 1:
        raise AudioError("sample_rate must be positive, in Hz", value=sample_rate)
    if channels is not None and not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"channels must be 1 to {MAX_CHANNELS}, or None for as the file has", value=channels)
    if start < 0:
        raise AudioError("start must not be negative, in samples", value=start)
    if frames is not None and frames < 0:
        raise AudioError("frames must not be negative, in samples", value=frames)
