from __future__ import annotations

import librosa
import numpy as np
import pytest

from kikiwake.frontends._filterbank import blocks, mel_filters
from kikiwake.mel_scale import hz_to_mel, mel_to_hz


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_mels", "f_min", "f_max"),
    [
        (32_000, 1024, 128, 0.0, 14_000.0),
        (22_050, 2048, 128, 20.0, 11_025.0),
        (16_000, 501, 40, 300.0, 8000.0),
    ],
)
def test_filters_equal_those_of_librosa(sample_rate, n_fft, n_mels, f_min, f_max, scale, norm) -> None:
    ours = mel_filters(
        sample_rate=sample_rate, n_fft=n_fft, n_mels=n_mels, f_min=f_min, f_max=f_max, scale=scale, norm=norm
    )
    theirs = librosa.filters.mel(
        sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max, htk=scale == "htk", norm=norm
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-9)


def test_scales_have_their_known_points() -> None:
    assert hz_to_mel(1000.0, scale="slaney") == pytest.approx(15.0)
    # 27 steps above 1 kHz lies 6.4 times that, by the definition of the scale.
    assert hz_to_mel(6400.0, scale="slaney") == pytest.approx(42.0)
    assert hz_to_mel(700.0, scale="htk") == pytest.approx(2595.0 * np.log10(2.0))
    for scale in ("slaney", "htk"):
        there = np.array([hz_to_mel(f, scale=scale) for f in (0.0, 440.0, 9000.0)])
        np.testing.assert_allclose(mel_to_hz(there, scale=scale), [0.0, 440.0, 9000.0], atol=1e-9)


def test_empty_filters_are_warned_of_with_their_number() -> None:
    with pytest.warns(UserWarning, match=r"\d+ of 128 mel filters are empty"):
        mel_filters(
            sample_rate=16_000, n_fft=256, n_mels=128, f_min=0.0, f_max=8000.0, scale="slaney", norm="slaney"
        )


def test_blocks_leave_out_nothing_but_zeros() -> None:
    filters = mel_filters(
        sample_rate=32_000, n_fft=1024, n_mels=100, f_min=0.0, f_max=10_000.0, scale="slaney", norm=None
    )
    rest = filters.copy()
    for block in blocks(filters):
        rest[block.filters, block.bins] = 0.0
    assert not rest.any()
    work = sum((b.filters.stop - b.filters.start) * (b.bins.stop - b.bins.start) for b in blocks(filters))
    assert work < filters.size / 7
