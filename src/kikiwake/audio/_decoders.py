"""Decoders behind one face: libsndfile first, FFmpeg for what it cannot read or not to the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from kikiwake.audio import _mpeg
from kikiwake.audio._containers import Promise, read_promise
from kikiwake.audio._content import (
    FileBytes,
    foreign_format,
    id3_end,
    is_text,
    open_regular,
    refuse_what_is_no_audio,
)
from kikiwake.audio._mpeg import Spliced
from kikiwake.errors import AudioError, MissingExtra, require

MAX_CHANNELS = 64
_RATES_HZ = (100, 4_000_000)
_MPEG_PREROLL = 11520
_OGG_TAIL = 1 << 17
_UNKNOWN_LENGTH = 1 << 48
_ESTIMATE_SECONDS = 0.1

Samples = NDArray[np.float32]


class Decoder(Protocol):
    """An open file. `frames` is None where only decoding would tell; `exact` says that the count is sure."""

    name: str
    format: str
    sample_rate: int
    channels: int
    frames: int | None
    exact: bool
    finite: bool

    def seek(self, frame: int) -> None:
        """Go to `frame`."""

    def read(self, out: Samples) -> int:
        """Fill `out` `[n, channels]` and return how many frames were there."""

    def damage(self) -> str | None:
        """Say what could not be decoded so far."""

    def close(self) -> None:
        """Let go of the file."""


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A SoundFile that does not seek unasked.

    The library seeks to where it is after each read. In an MP3 of low bit rate that loses the bits that
    frames borrow from those before them, and it costs time in every format.
    """

    def seekable(self) -> bool:
        return False


class SoundfileDecoder:
    """Reads with libsndfile. `lead`: frames at the start that are none of the recording's."""

    name = "soundfile"

    def __init__(
        self, source: int | Spliced, *, lead: int = 0, frames: int | None = None, preroll: int = 0
    ) -> None:
        self._file = _SequentialFile(source)
        self._lead = lead
        self._preroll = preroll
        self.format = f"{self._file.format} {self._file.subtype}"
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        counted = self._file.frames - lead if frames is None else min(frames, self._file.frames - lead)
        self.frames: int | None = counted if counted < _UNKNOWN_LENGTH else None
        self.exact = self.frames is not None
        self.finite = self._file.subtype not in ("FLOAT", "DOUBLE")
        if lead:
            self.seek(0)

    def seek(self, frame: int) -> None:
        before = min(self._preroll, frame)
        if self._file.format == "OGG" and self.frames is not None and frame < self.frames:
            # libvorbis counts a last page that was cut to length from the wrong end: come from an earlier one
            before = min(max(before, frame - self.frames + _OGG_TAIL), frame)
        try:
            self._file.seek(self._lead + frame - before)
            if before:
                self._file.read(before, dtype="float32")
        except soundfile.LibsndfileError:
            pass  # the next read finds nothing and says so

    def read(self, out: Samples) -> int:
        done = 0
        while done < len(out):
            rest = out[done:]
            rest.fill(np.nan)
            try:
                got = len(self._file.read(out=rest))
            except soundfile.LibsndfileError:
                # What was decoded before the error stands in the array, but its length is not told.
                missing = np.flatnonzero(np.isnan(rest[:, 0]))
                return done + (int(missing[0]) if len(missing) else len(rest))
            if not got:
                break
            done += got
        return done

    def damage(self) -> str | None:
        return None

    def close(self) -> None:
        self._file.close()


class AvDecoder:
    """Reads the first audio track with FFmpeg through PyAV, from the start on: its seeking is not exact."""

    name = "av"

    def __init__(self, path: Path, *, av: Any) -> None:
        self._av = av
        self._path = path
        self.finite = False
        self._open()
        container = self._container
        if self._first is None:
            raise AudioError("no audio that can be decoded", where=path)
        self.format = f"{container.format.name.split(',')[0]} {self._codec}"
        self.sample_rate: int = self._first.sample_rate
        self.channels: int = len(self._first.layout.channels)
        stream = self._stream
        seconds = None
        if stream.duration is not None:
            seconds = stream.duration * stream.time_base
        elif container.duration is not None:
            seconds = container.duration / 1_000_000
        self.frames: int | None = None if seconds is None else round(seconds * self.sample_rate)
        self.exact = container.format.name.startswith("mov") and self.frames is not None

    def _open(self) -> None:
        self._errors = 0
        self._changed = False
        self._position = 0
        self._rest: Samples = np.empty((0, 0), np.float32)
        try:
            self._container = self._av.open(f"file:{self._path}", options={"protocol_whitelist": "file"})
            if not self._container.streams.audio:
                raise AudioError("no audio track", where=self._path)
            self._stream = self._container.streams.audio[0]
            self._codec = self._stream.codec_context.name
        except (self._av.FFmpegError, AttributeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "unknown codec"
            raise AudioError(reason, where=self._path) from error
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        self._pending = self._first

    def _decode(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                frames = next(packets).decode()
            except StopIteration:
                return
            except self._av.EOFError:
                return
            except (self._av.FFmpegError, ValueError):
                self._errors += 1
                if self._errors > 1000 and self._position == 0:
                    return
                continue
            yield from frames

    def _next(self) -> Samples | None:
        frame, self._pending = self._pending, None
        if frame is None:
            frame = next(self._decoded, None)
        if frame is None or self._changed:
            return None
        if frame.sample_rate != self.sample_rate or len(frame.layout.channels) != self.channels:
            self._changed = True
            return None
        return _as_float(frame, channels=self.channels)

    def seek(self, frame: int) -> None:
        if frame < self._position:
            self.close()
            self._open()
        scratch = np.empty((1 << 15, self.channels), np.float32)
        while self._position < frame and self.read(scratch[: frame - self._position]):
            pass

    def read(self, out: Samples) -> int:
        done = 0
        while done < len(out):
            if not len(self._rest):
                block = self._next()
                if block is None:
                    break
                self._rest = block
            taken = self._rest[: len(out) - done]
            out[done : done + len(taken)] = taken
            self._rest = self._rest[len(taken) :]
            done += len(taken)
        self._position += done
        return done

    def damage(self) -> str | None:
        notes = []
        if self._errors:
            notes.append(f"packets that could not be decoded: {self._errors}")
        if self._changed:
            notes.append(
                f"sample rate or channels change after {self._position} frames, the rest was not read"
            )
        return "; ".join(notes) or None

    def close(self) -> None:
        self._container.close()


def _as_float(frame: Any, *, channels: int) -> Samples:
    """Turn a frame of any sample format into float32 `[n, channels]`, full scale 1."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if values.dtype.kind == "f":
        return np.asarray(values, np.float32)
    if values.dtype == np.uint8:
        values = (values.astype(np.int16) - 128) << 8
    scaled: Samples = values.astype(np.float32) * np.float32(2.0 ** (1 - 8 * values.dtype.itemsize))
    return scaled


class Recording:
    """A file opened with what reads it best, and with what is tried when that gives up.

    Raises:
        AudioError: nothing here reads it; the message says what it is and what would help.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._notes: list[str] = []
        self._spare: list[Callable[[], Decoder]] = []
        self._descriptor = open_regular(path)
        self._decoder: Decoder | None = None
        try:
            decoder = self._decoder = self._choose()
            self._check(decoder)
        except BaseException:
            self.close()
            raise
        self.sample_rate = decoder.sample_rate
        self.channels = decoder.channels
        self.frames = decoder.frames
        self.format = decoder.format
        self.decoder = decoder.name
        self._exact = decoder.exact
        self._position = 0
        self._short = False

    @property
    def finite(self) -> bool:
        """Whether the samples cannot be NaN or infinite."""
        return self._decoder is not None and self._decoder.finite

    def seek(self, frame: int) -> None:
        """Go to `frame`, or to the end where that comes first."""
        if self._exact and self.frames is not None:
            frame = min(frame, self.frames)
        assert self._decoder is not None, "a closed recording is not read"
        self._decoder.seek(frame)
        self._position = frame

    def read(self, out: Samples) -> int:
        """Fill `out` `[n, channels]` and return how many frames were there; fewer only at the end."""
        assert self._decoder is not None, "a closed recording is not read"
        wanted = len(out)
        if self._exact and self.frames is not None:
            wanted = min(wanted, self.frames - self._position)
        done = self._decoder.read(out[:wanted]) if wanted else 0
        self._position += done
        while done < wanted and self._exact and self._fall_back():
            more = self._decoder.read(out[done:wanted])
            if more:
                self._notes.append(
                    f"damaged at frame {self._position}, what follows was read as well as can be"
                )
            self._position += more
            done += more
        self._short |= done < wanted
        return done

    def damage(self) -> str | None:
        """Say what the header or the decoding so far has shown to be lost."""
        notes = list(self._notes)
        if self._decoder is not None and (said := self._decoder.damage()):
            notes.append(said)
        if self._short and self.frames is not None:
            lost = (self.frames - self._position) / self.sample_rate
            if lost > (0.0 if self._exact else _ESTIMATE_SECONDS):
                notes.append(
                    f"only {self._position} of {self.frames} frames could be read ({lost:.2f} s are lost)"
                )
        return "; ".join(notes) or None

    def close(self) -> None:
        """Let go of the file."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _fall_back(self) -> bool:
        """Go on at the same frame with the next decoder that can."""
        while self._spare:
            try:
                other = self._spare.pop(0)()
            except (AudioError, MissingExtra, soundfile.LibsndfileError):
                continue
            if (other.sample_rate, other.channels) != (self.sample_rate, self.channels):
                other.close()
                continue
            assert self._decoder is not None, "a closed recording is not read"
            other.seek(self._position)
            self._decoder.close()
            self._decoder = other
            return True
        return False

    def _check(self, decoder: Decoder) -> None:
        if decoder.channels > MAX_CHANNELS:
            raise AudioError(
                f"has more than {MAX_CHANNELS} channels", where=self.path, value=decoder.channels
            )
        if not _RATES_HZ[0] <= decoder.sample_rate <= _RATES_HZ[1]:
            raise AudioError(
                "has a sample rate that no recorder writes", where=self.path, value=decoder.sample_rate
            )

    def _choose(self) -> Decoder:
        data = FileBytes(self._descriptor)
        head = data.at(0, 4096)
        refuse_what_is_no_audio(head, path=self.path)
        if foreign := foreign_format(head):
            return self._open_av(f"is {foreign}, which libsndfile does not read")
        if head[:3] == b"ID3" or (head[0] == 0xFF and len(head) > 1 and head[1] >= 0xE0):
            after = data.at(id3_end(data), 16)
            if foreign := foreign_format(after):
                return self._open_av(f"is {foreign}, which libsndfile does not read")
            if after[:4] != b"fLaC":
                return self._open_mpeg(data)
        promise = read_promise(data)
        if promise.mpeg is not None:
            return self._open_mpeg(data, start=promise.mpeg[0], end=promise.mpeg[1])
        try:
            return self._open_soundfile(data, promise)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
        if is_text(head):
            raise AudioError("is plain text, not a recording", where=self.path)
        if _mpeg.find_stream(data) is not None:
            return self._open_mpeg(data)
        if promise.damage:
            self._notes.append(promise.damage)
        return self._open_av(f"cannot be read by libsndfile: {reason}")

    def _open_soundfile(self, data: FileBytes, promise: Promise) -> Decoder:
        if promise.unsized is not None:
            self._notes.append("the header says that there are no samples; all that follows was read as such")
            begin = data.at(0, promise.unsized) + b"\xff\xff\xff\xff"
            return SoundfileDecoder(Spliced(data.descriptor, [begin, (len(begin), data.size - len(begin))]))
        decoder = SoundfileDecoder(os.dup(self._descriptor))
        if promise.frames and decoder.frames and 0 < decoder.frames - promise.frames <= promise.padded_to:
            decoder.frames = promise.frames
        if promise.damage:
            self._notes.append(promise.damage)
        self._spare.append(self._av_decoder)
        return decoder

    def _open_mpeg(self, data: FileBytes, *, start: int = 0, end: int | None = None) -> Decoder:
        stream = _mpeg.find_stream(data, start=start, end=end)
        if stream is None:
            what = "holds tags but no audio" if data.at(0, 3) == b"ID3" else "holds no whole MPEG audio frame"
            raise AudioError(what, where=self.path, remedy="get the file again")

        def repaired() -> Decoder:
            found = _mpeg.scan(data, stream)
            if found.damage:
                self._notes.append(found.damage)
            file, lead = _mpeg.splice(data, stream, found)
            tagged = stream.tag is not None and stream.tag.frames is not None
            counted = None if tagged else found.frames * stream.first.samples
            return SoundfileDecoder(file, lead=lead, frames=counted, preroll=_MPEG_PREROLL)

        if start == 0 and stream.trustworthy:
            with suppress(soundfile.LibsndfileError):
                decoder = SoundfileDecoder(os.dup(self._descriptor), preroll=_MPEG_PREROLL)
                self._spare += [repaired, self._av_decoder]
                return decoder
        self._spare.append(self._av_decoder)
        try:
            return repaired()
        except soundfile.LibsndfileError as error:
            return self._open_av(f"cannot be read by libsndfile: {error.error_string}")

    def _av_decoder(self) -> Decoder:
        return AvDecoder(self.path, av=require("av", extra="ffmpeg"))

    def _open_av(self, reason: str) -> Decoder:
        try:
            return self._av_decoder()
        except MissingExtra as error:
            remedy = "FFmpeg reads more formats, get it with: pip install 'kikiwake[ffmpeg]'"
            raise AudioError(reason, where=self.path, remedy=remedy) from error
        except AudioError as error:
            raise AudioError(
                f"{reason}; with FFmpeg: {error.what}", where=self.path, remedy=error.remedy
            ) from error
