"""Any waveform transform of audiomentations."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from kikiwake import components
from kikiwake.augmentations._draws import Probability
from kikiwake.errors import RecipeError, require
from kikiwake.randomness import seeded_globals

Waveforms = npt.NDArray[np.float32]

_SLOWEST_EXACT_RATE = 0.5
"""Below this rate, Signalsmith's time stretch draws from a generator that it seeds from the clock."""


class Waveform:
    """Applies one transform of audiomentations (Jordal, https://iver56.github.io/audiomentations).

    Args:
        transform: its name there, such as `Gain` or `PitchShift`.
        arguments: its arguments there, without `p`.
        p: probability that a clip is changed. It is drawn here and only here.

    Shape: `[C, T]` -> `[C, t]`, t <= T: a longer result is cut at the end, a shorter one stays so, for then
    it is known how much of a batch is sound. `leave_length_unchanged` of TimeStretch, which would fill it up
    with zeros, is therefore false unless it is set.

    All channels share one draw of the transform's parameters (semitones, gain, place of a mask). Where a
    transform adds noise of its own making, the noise differs from channel to channel, at the same level.
    A result that is empty or not finite is dropped, and the clip kept as it was.

    Raises:
        RecipeError: no such transform or argument, a value that it refuses, or one that cannot be drawn
            exactly again.
        MissingExtra: the transform needs a package that is not installed.
    """

    level: ClassVar[Literal["waveform"]] = "waveform"
    example: ClassVar[dict[str, Any]] = {"transform": "Gain"}

    def __init__(
        self, *, transform: str, arguments: dict[str, Any] | None = None, p: Probability = 0.5
    ) -> None:
        self.transform = transform
        self.arguments = dict(arguments or {})
        self.p = p
        self._apply = _build(transform, self.arguments)

    def __call__(self, waveform: Waveforms, *, sample_rate: int, rng: np.random.Generator) -> Waveforms:
        """Return the clip, changed where it is its turn."""
        seed = int(rng.integers(1 << 63))
        if rng.random() >= self.p:
            return waveform
        try:
            with seeded_globals(seed):
                if self.transform == "RoomSimulator":
                    # This library keeps generators of its own.
                    _rooms().random.seed(numpy=seed, libroom=seed)
                changed = self._changed(np.array(waveform, dtype=np.float32, order="C"), sample_rate)
        except Exception as error:
            raise RecipeError(
                f"{self.transform} failed on a clip of shape {waveform.shape} at {sample_rate} Hz: {error}",
                where="waveform",
                value=self.arguments,
                remedy="change its arguments or leave it out",
            ) from error
        if not changed.size or not np.isfinite(changed).all():
            return waveform
        return np.ascontiguousarray(changed[:, : waveform.shape[1]], dtype=np.float32)

    def _changed(self, waveform: Waveforms, sample_rate: int) -> Waveforms:
        transform = self._apply
        if len(waveform) == 1:
            return np.asarray(transform(waveform[0], sample_rate=sample_rate))[None]
        if transform.supports_multichannel:
            return np.asarray(transform(waveform, sample_rate=sample_rate))
        # The first channel draws the parameters, the others are given the same.
        first = transform(waveform[0], sample_rate=sample_rate)
        transform.freeze_parameters()
        try:
            others = [transform(channel, sample_rate=sample_rate) for channel in waveform[1:]]
        finally:
            transform.unfreeze_parameters()
        return np.stack([first, *others])

    def __getstate__(self) -> dict[str, Any]:
        return {"transform": self.transform, "arguments": self.arguments, "p": self.p}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc] # a transform that was used may hold what cannot be pickled


def _build(name: str, arguments: dict[str, Any]) -> Any:
    """Return the transform, set to apply always: whether it does is drawn by `Waveform`."""
    import audiomentations
    from audiomentations.core.transforms_interface import BaseWaveformTransform

    found: dict[str, Any] = {
        key: value
        for key, value in vars(audiomentations).items()
        if inspect.isclass(value) and issubclass(value, BaseWaveformTransform)
    }
    if name not in found:
        raise components.unknown("transform", name, found, where="waveform.transform")
    allowed = [key for key in inspect.signature(found[name]).parameters if key not in ("p", "kwargs")]
    for key in arguments:
        if key == "p":
            raise RecipeError(
                "p is an argument of the augmentation, not of its transform",
                where="waveform.arguments",
                remedy="move it one level up, beside 'transform'",
            )
        if key not in allowed:
            raise components.unknown("argument", key, allowed, where=f"waveform.arguments ({name})")
    # Zeros that it fills up with would count as sound.
    lengths = {"leave_length_unchanged": False} if name == "TimeStretch" else {}
    try:
        transform = found[name](**{**lengths, **arguments}, p=1.0)
    except Exception as error:
        raise RecipeError(
            f"{name} refuses its arguments: {error or type(error).__name__}",
            where="waveform.arguments",
            value=arguments,
        ) from error
    _check_exact(name, transform)
    return transform


def _check_exact(name: str, transform: Any) -> None:
    """Refuse what could not be drawn again when a run is resumed."""
    if name == "RoomSimulator":
        _rooms()
    if (
        name == "TimeStretch"
        and transform.method == "signalsmith_stretch"
        and transform.min_rate < _SLOWEST_EXACT_RATE
    ):
        raise RecipeError(
            "so slow a stretch differs from one time to the next with the method signalsmith_stretch",
            where="waveform.arguments.min_rate",
            value=transform.min_rate,
            remedy=f"give at least {_SLOWEST_EXACT_RATE}, or set method: librosa_phase_vocoder",
        )


def _rooms() -> ModuleType:
    return require("pyroomacoustics", extra="rooms")
