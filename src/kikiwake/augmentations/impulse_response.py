"""Rooms: a clip as it would sound there, by convolution with an impulse response."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.signal import fftconvolve

from kikiwake import audio
from kikiwake.augmentations._draws import Probability
from kikiwake.augmentations._levels import with_power_of
from kikiwake.augmentations._recordings import probed
from kikiwake.errors import RecipeError
from kikiwake.randomness import generator

Samples = npt.NDArray[np.float32]
Room = tuple[float, float]
Share = Annotated[float, Field(ge=0, le=1)]

_RT60_SECONDS = (0.3, 0.6, 1.2)
_DISTANCES = (0.5, 1.0, 2.0)
_SEARCHED_SECONDS = 10.0
"""The direct sound of a recorded response is sought from its beginning to here."""
_BEFORE_SECONDS = 0.001
_KEPT_RESPONSES = 512
_WALLS = 6


class ImpulseResponse:
    """Convolves a clip with the impulse response of a room, recorded or synthesised.

    The direct sound stays at its place in time, and the clip's length and power stay as they were. All
    channels share the response and the gain. Of a recorded response, the first channel is used; its largest
    value is the direct sound, and what stands more than a millisecond before it is cut.

    A synthesised room is a direct sound, six reflections as of six walls within three mean free paths
    (RT60 / 16, where walls take a quarter of the sound: Eyring 1930), and from there Gaussian noise that
    decays exponentially (Moorer 1979, "About this reverberation business"). Every RT60 with every distance is
    one room, the same on every computer.

    Args:
        folder: of recorded responses, in subfolders too, of any format and rate; empty synthesises.
        rt60_seconds: without a folder: times in which the rooms' sound decays by 60 dB. By default those of a
            furnished room, a classroom and a hall.
        distances: without a folder: between source and microphone, as a multiple of the distance at which
            reverberation is as strong as the direct sound (about 0.057 sqrt(volume / RT60) metres, by
            Sabine's formula): direct over reverberant power is -20 log10(distance) dB.
        wet: lowest and highest share of the room, drawn evenly: 1 is the response as it is, 0 the clip.
        longest_seconds: responses are cut at this time after the direct sound.
        p: probability that a clip is changed.

    Shape: `[C, T]` -> same.

    Raises:
        RecipeError: there is no recording in the folder, one cannot be read, `wet` is upside down, or rooms
            are described beside a folder; when a clip is changed: a recorded response is silent.
        AudioError: when a clip is changed: a recording is damaged further inside.
    """

    level: ClassVar[Literal["waveform"]] = "waveform"
    example: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        *,
        folder: Path | None = None,
        rt60_seconds: Annotated[
            tuple[Annotated[float, Field(ge=0.05, le=20)], ...], Field(min_length=1)
        ] = _RT60_SECONDS,
        distances: Annotated[
            tuple[Annotated[float, Field(ge=0.01, le=100)], ...], Field(min_length=1)
        ] = _DISTANCES,
        wet: tuple[Share, Share] = (1.0, 1.0),
        longest_seconds: Annotated[float, Field(ge=0.01, le=20)] = 2.0,
        p: Probability = 0.5,
    ) -> None:
        if wet[0] > wet[1]:
            raise RecipeError(
                "the lower end lies above the upper",
                where="impulse_response.wet",
                value=wet,
                remedy="swap them",
            )
        if folder is not None and (rt60_seconds, distances) != (_RT60_SECONDS, _DISTANCES):
            raise RecipeError(
                "rooms are synthesised only where there is no folder",
                where="impulse_response",
                value={"rt60_seconds": rt60_seconds, "distances": distances},
                remedy="remove either the folder or these",
            )
        self.responses: list[audio.AudioInfo] | list[Room]
        if folder is None:
            self.responses = list(product(rt60_seconds, distances))
        else:
            self.responses = probed(
                folder,
                where="impulse_response.folder",
                remedy="name a folder of recorded impulse responses, or none to synthesise them",
            )
        self.wet = wet
        self.longest_seconds = longest_seconds
        self.p = p
        self._kept: dict[tuple[int, int], tuple[Samples, int]] = {}

    def __call__(self, waveform: Samples, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return the clip, changed where it is its turn."""
        turn, which, share = rng.random(3)
        if turn >= self.p or not waveform.any():
            return waveform
        response, direct = self._response(int(which * len(self.responses)), sample_rate)
        wet = self.wet[0] + share * (self.wet[1] - self.wet[0])
        mixed = response * np.float32(wet)
        mixed[direct] += 1.0 - wet
        samples = waveform.shape[1]
        heard = fftconvolve(waveform, mixed[None], axes=1)[:, direct : direct + samples]
        return with_power_of(heard, waveform)

    def _response(self, number: int, sample_rate: int) -> tuple[Samples, int]:
        """Return a response with a direct sound of 1, and the sample at which that is; keep it in memory."""
        key = number, sample_rate
        if key in self._kept:
            return self._kept[key]
        source = self.responses[number]
        longest = round(self.longest_seconds * sample_rate)
        if isinstance(source, audio.AudioInfo):
            made = _recorded(source, sample_rate=sample_rate, longest=longest)
        else:
            made = _synthesised(source, sample_rate=sample_rate)[: longest + 1], 0
        if len(self._kept) < _KEPT_RESPONSES:
            self._kept[key] = made
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": {}}  # every worker decodes for itself


def _recorded(recording: audio.AudioInfo, *, sample_rate: int, longest: int) -> tuple[Samples, int]:
    """Return a recorded response from shortly before its direct sound, and the sample at which that is."""
    frames = round(_SEARCHED_SECONDS * sample_rate) + longest
    loaded = audio.load(recording.path, sample_rate=sample_rate, channels=None, frames=frames)
    response = loaded.waveform[0]
    searched = np.abs(response[: frames - longest])
    if not searched.any():
        raise RecipeError(
            "an impulse response is silent",
            where="impulse_response.folder",
            value=str(recording.path),
            remedy="take it out",
        )
    direct = int(searched.argmax())
    first = max(0, direct - round(_BEFORE_SECONDS * sample_rate))
    return response[first : direct + longest + 1] / response[direct], direct - first


def _synthesised(room: Room, *, sample_rate: int) -> Samples:
    """Return the response of a room: a direct sound of 1, reflections, and noise that decays by 60 dB."""
    rt60_seconds, distance = room
    rng = generator(0, "impulse response", repr(rt60_seconds), repr(distance))
    places = rng.random(_WALLS)
    samples = 1 + round(rt60_seconds * sample_rate)
    early = max(2, samples // 16)
    later = rng.standard_normal(samples - early)
    room_sound = np.concatenate([np.zeros(early), later])
    # Together the walls' reflections have the power of the noise that they stand for.
    np.add.at(room_sound, 1 + (places * (early - 1)).astype(int), np.sqrt((early - 1) / _WALLS))
    room_sound *= 10.0 ** (-3.0 * np.arange(samples) / samples)
    response = np.asarray(room_sound * (distance / np.sqrt(np.sum(room_sound**2))), dtype=np.float32)
    response[0] = 1.0
    return response
