"""The stand-in for a separator: what lasts and what strikes, low and high."""

from __future__ import annotations

import numpy as np
import pytest

from kikiwake.errors import RecipeError
from kikiwake.separators import SpanSeparation
from kikiwake.separators.bands import Bands

RATE = 8000
SECONDS = 13


def stems(mixture: np.ndarray, *, start: int = 0, stop: int | None = None, block: int = 9000) -> np.ndarray:
    """The stems of samples `start` to `stop` of a mono mixture, read in blocks from where it must be."""
    span = SpanSeparation(Bands(sample_rate=RATE), start=start, stop=stop)
    heard = mixture[None, span.first : span.last]
    return np.concatenate(list(span(np.split(heard, range(block, heard.shape[1], block), axis=1))), axis=1)


def shares(mixture: np.ndarray) -> dict[str, float]:
    """What share of the energy each stem has."""
    energies = np.square(stems(mixture)).sum(1)
    return dict(zip(Bands.stems, (energies / energies.sum()).tolist(), strict=True))


def tone(hz: float) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(SECONDS * RATE) / RATE)).astype(np.float32)


def noise() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, SECONDS * RATE + 77).astype(np.float32)


@pytest.mark.parametrize(("hz", "stem"), [(80, "bass"), (1000, "vocals")])
def test_a_tone_lands_in_the_band_of_its_pitch(hz: float, stem: str) -> None:
    assert shares(tone(hz))[stem] > 0.99


def test_a_tone_above_the_voice_is_other() -> None:
    span = SpanSeparation(Bands(sample_rate=RATE, vocals_below_hz=1500), start=0, stop=None)
    energies = np.square(np.concatenate(list(span([tone(3000)[None]])), axis=1)).sum(1)
    assert energies[Bands.stems.index("other")] > 0.99 * energies.sum()


def test_clicks_are_drums() -> None:
    clicks = np.zeros(SECONDS * RATE, np.float32)
    clicks[RATE // 2 :: RATE] = 0.8
    assert shares(clicks)["drums"] > 0.95


@pytest.mark.parametrize("mixture", [noise(), tone(300), np.zeros(5, np.float32)], ids=["noise", "tone", "5"])
def test_stems_sum_to_the_mixture(mixture: np.ndarray) -> None:
    np.testing.assert_allclose(stems(mixture).sum(0), mixture, atol=1e-5)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (20_000, 70_000), (36_000, 36_001), (90_000, None), (SECONDS * RATE, None)]
)
def test_any_span_is_separated_as_the_whole_is(start: int, stop: int | None) -> None:
    mixture = noise()
    np.testing.assert_allclose(
        stems(mixture, start=start, stop=stop), stems(mixture)[:, start:stop], atol=1e-7
    )


@pytest.mark.parametrize("block", [1000, 47_999, 1_000_000])
def test_how_the_mixture_comes_makes_no_difference(block: int) -> None:
    np.testing.assert_array_equal(stems(noise(), block=block), stems(noise()))


def test_bands_must_ascend() -> None:
    with pytest.raises(RecipeError, match="must ascend"):
        Bands(sample_rate=RATE, bass_below_hz=5000)
