"""One vector a clip: statistics over time of what its spectrum is like."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kikiwake.errors import RecipeError
from kikiwake.frontends import _chroma, _descriptors
from kikiwake.frontends._descriptors import BINS_A_STRETCH, contrast_bands, cosine_basis, decibels
from kikiwake.frontends._filterbank import Block, blocks, mel_filters
from kikiwake.frontends._moments import MOMENTS, moments
from kikiwake.frontends._threads import each_row
from kikiwake.frontends._vectorised import write_magnitudes

Kind = Literal[
    "log_mel",
    "fma",
    "chroma_cens",
    "chroma_cqt",
    "chroma_stft",
    "mfcc",
    "mfcc_delta",
    "mfcc_delta2",
    "rmse",
    "spectral_bandwidth",
    "spectral_centroid",
    "spectral_contrast",
    "spectral_rolloff",
    "tonnetz",
    "zcr",
]

MFCC_BANDS, MFCCS = 128, 20

FMA_ROWS = {
    "chroma_cens": 12,
    "chroma_cqt": 12,
    "chroma_stft": 12,
    "mfcc": MFCCS,
    "rmse": 1,
    "spectral_bandwidth": 1,
    "spectral_centroid": 1,
    "spectral_contrast": 7,
    "spectral_rolloff": 1,
    "tonnetz": 6,
    "zcr": 1,
}
"""What the FMA paper measures over time, and in how many rows; in the order of its table."""

ROWS = {**FMA_ROWS, "mfcc_delta": MFCCS, "mfcc_delta2": MFCCS}
"""All that can be measured over time."""

_OF_SUMS = frozenset({"spectral_bandwidth", "spectral_centroid", "spectral_rolloff"})
_OF_CONSTANT_Q = frozenset({"chroma_cens", "chroma_cqt", "tonnetz"})
_OF_MFCC = frozenset({"mfcc", "mfcc_delta", "mfcc_delta2"})


_SAMPLES_AT_ONCE = 1 << 17
"""Windowed samples that one step takes on a CPU: 512 KiB, so that its results are still in the cache."""


def _in_blocks(filters: Tensor, parts: list[Block], power: Tensor) -> Tensor:
    """Return the power in each band, leaving out what filters weight with 0: `[N, F]` -> `[bands, N]`."""
    return torch.cat([filters[part.filters, part.bins] @ power[:, part.bins].T for part in parts])


class Statistics(nn.Module):
    """Mean and deviation of the log-mel spectrum, the 518 features of the FMA paper, or some of them.

    "fma" are those of Defferrard et al. 2017, "FMA: a dataset for music analysis", section 3.3: kurtosis,
    maximum, mean, median, minimum, skew and standard deviation over time of chroma (by Fourier transform, by
    constant-Q transform, and energy normalised), tonnetz, MFCC, RMS, zero crossing rate, and spectral
    centroid, bandwidth, contrast and rolloff, in the order of its table. They are librosa 0.11's, tuning
    estimates included. Measured on 80 clips of ESC-10, relative to the largest value of a feature in a clip
    (all but skew and kurtosis): without the constant-Q transform they differ by less than 0.004 %, only the
    contrast by 0.04 % in 95 % of values and 3 % at most, where valleys are rounding noise. Constant-Q chroma,
    CENS and tonnetz differ by 0.0003 % in the median, 0.07 % in 95 % and 3 % at most in clips without digital
    silence. With it, librosa's are those of its resampler's rounding noise, and here they are 0: there 5 % of
    values differ by a third or more.

    On a CPU clips are computed side by side, a thread each; on a GPU one after the other.

    Beside them there are slope and curvature of the MFCCs over nine frames (`mfcc_delta`, `mfcc_delta2`).

    Args:
        sample_rate: of the waveforms, in Hz; supplied by the pipeline.
        in_channels: of the waveforms; supplied by the pipeline. Their vectors follow each other.
        features: `log_mel` (2 values a band: all means, then all standard deviations), `fma` (all of the
            paper), or names of what is measured, such as `mfcc` (7 values a row); in the order given.
        n_fft: length of the Fourier transform and its Hann window in samples.
        hop_length: samples from one frame to the next.
        n_mels: bands of `log_mel`, in dB; MFCCs always come from 128.

    Shape: `[B, C, T]` -> `[B, C * D, 1]`, D = 2 `n_mels` for `log_mel` and 518 for `fma`. Samples behind a
    clip's `lengths` are not looked at. Features without a value, as the skew of silence, are 0.

    Raises:
        RecipeError: the sample rate is too low for the highest bands, or a kind of features stands twice.
    """

    output: ClassVar[Literal["picture", "sequence"]] = "sequence"
    cached: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"features": ["log_mel", "fma"]}

    window: Tensor
    mel: Tensor
    mfcc_mel: Tensor
    cosines: Tensor
    stretches: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        in_channels: int,
        features: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("fma",),
        n_fft: Annotated[int, Field(ge=64, multiple_of=2)] = 2048,
        hop_length: Annotated[int, Field(ge=64, multiple_of=64)] = 512,
        n_mels: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__()
        parts = [part for kind in features for part in (FMA_ROWS if kind == "fma" else [kind])]
        if len(set(parts)) < len(parts):
            what = "a kind of features stands twice"
            raise RecipeError(what, where="frontend.features", value=features, remedy="name each once")
        self.sample_rate = sample_rate
        self.parts = parts
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.in_channels = in_channels
        self.n_mels = n_mels
        self._check_resolution()
        frequencies = torch.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
        self.bands = tuple(contrast_bands(frequencies)) if "spectral_contrast" in parts else ()
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("mel", self._mel(n_mels), persistent=False)
        self.register_buffer("mfcc_mel", self._mel(MFCC_BANDS), persistent=False)
        self.mel_blocks = blocks(self.mel.numpy())
        self.mfcc_blocks = blocks(self.mfcc_mel.numpy())
        self.register_buffer("stretches", _descriptors.stretch_weights(), persistent=False)
        self.register_buffer("cosines", cosine_basis(MFCC_BANDS, MFCCS), persistent=False)
        self.out_channels = in_channels * len(self._names())

    @property
    def names(self) -> list[str]:
        """What each value is: `mfcc_mean_07`; of several channels, `2:mfcc_mean_07` for the third."""
        own = self._names()
        if self.in_channels == 1:
            return own
        return [f"{channel}:{name}" for channel in range(self.in_channels) for name in own]

    def frames(self, samples: int) -> int:  # noqa: ARG002 - all front ends are asked alike
        """Return 1: there is one vector a clip."""
        return 1

    def forward(self, waveform: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Return the vectors of a batch: `[B, C, T]` -> `[B, out_channels, 1]`.

        `lengths` `[B]`: samples of each clip before it was padded; without it all T belong to the clip.
        """
        batch, channels, samples = waveform.shape
        ends = [samples] * batch if lengths is None else lengths.tolist()
        rows = waveform.detach().float().reshape(batch * channels, samples)
        vectors = rows.new_empty(len(rows), self.out_channels // self.in_channels)

        def compute(row: int) -> None:
            end = max(1, int(ends[row // channels]))
            # A thread has modes of its own. Inference mode saves a tenth of the time.
            with torch.inference_mode(), torch.autocast(rows.device.type, enabled=False):
                vectors[row] = torch.cat(list(self._values(rows[row, :end])))

        if rows.device.type == "cpu":
            each_row(compute, len(rows))
        else:
            for row in range(len(rows)):
                compute(row)
        return vectors.view(batch, self.out_channels, 1)

    def _values(self, waveform: Tensor) -> Iterator[Tensor]:
        """Yield the values of each kind of one channel of one clip. Shape: `[T]` -> `[D]`."""
        spectrum, sums = self._spectra(waveform)
        power = spectrum[:, : self.n_fft // 2 + 1]
        rows = self._rows(waveform, power) | self._of_sums(spectrum, sums)
        measured = [part for part in self.parts if part != "log_mel"]
        found: dict[str, Tensor] = {}
        if measured:
            stacked = torch.cat([rows[part][:, : len(power)] for part in measured])
            tables = torch.split(moments(stacked), [ROWS[part] for part in measured], dim=1)
            found.update(zip(measured, tables, strict=True))
        for part in self.parts:
            if part == "log_mel":
                levels = decibels(_in_blocks(self.mel, self.mel_blocks, power)).double()
                yield torch.cat([levels.mean(1), levels.std(1, correction=0)]).float()
            else:
                yield found[part].flatten().float()

    def _spectra(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return the power of every bin, `[N, F]`, and sums of magnitudes, `[3, N, S]`.

        Behind the last bin there is silence up to a multiple of 32 bins. The magnitudes themselves never
        leave a CPU's cache.
        """
        half, hop = self.n_fft // 2, self.hop_length
        count = 1 + len(waveform) // hop
        width = math.ceil((half + 1) / BINS_A_STRETCH) * BINS_A_STRETCH
        power = waveform.new_empty(count, width)
        step = max(1, _SAMPLES_AT_ONCE // self.n_fft) if waveform.device.type == "cpu" else count
        with_sums = not _OF_SUMS.isdisjoint(self.parts)
        sums: list[Tensor] = []
        scratch = waveform.new_zeros(step, width)
        for start in range(0, count, step):
            found = power[start : start + step]
            magnitudes = scratch[: len(found)]
            first, end = start * hop - half, (start + len(found) - 1) * hop + half
            samples = nn.functional.pad(waveform, (-first, end - len(waveform)))
            spectrum = torch.fft.rfft(samples.unfold(0, self.n_fft, hop) * self.window)
            write_magnitudes(spectrum, out=magnitudes[:, : half + 1])
            torch.square(magnitudes, out=found)
            if with_sums:
                sums.append(_descriptors.stretch_sums(magnitudes, self.stretches))
        return power, torch.cat(sums, dim=1) if sums else power.new_empty(0)

    def _of_sums(self, spectrum: Tensor, sums: Tensor) -> dict[str, Tensor]:
        """Return what is wanted of where the magnitudes lie: `[1, N]` by name."""
        wanted, rows = _OF_SUMS & set(self.parts), dict[str, Tensor]()
        bin_hz = self.sample_rate / self.n_fft
        if wanted & {"spectral_bandwidth", "spectral_centroid"}:
            centroid, bandwidth = _descriptors.centroid_and_bandwidth(sums, bin_hz=bin_hz)
            rows |= {"spectral_centroid": centroid, "spectral_bandwidth": bandwidth}
        if "spectral_rolloff" in wanted:
            rows["spectral_rolloff"] = _descriptors.rolloff(spectrum, sums, bin_hz=bin_hz)
        return rows

    def _rows(self, waveform: Tensor, power: Tensor) -> dict[str, Tensor]:
        """Return what else is wanted of all that can be measured over time: `[rows, N]` by name."""
        wanted, rows = set(self.parts), dict[str, Tensor]()
        rate, n_fft, hop = self.sample_rate, self.n_fft, self.hop_length
        step, step_of_power = 0, 0
        if wanted & (_OF_CONSTANT_Q | {"chroma_stft"}):
            step, step_of_power = _chroma.tuning_steps(power, sample_rate=rate, n_fft=n_fft)
        if "chroma_stft" in wanted:
            filters = _chroma.chroma_filters(sample_rate=rate, n_fft=n_fft, step=step_of_power).to(
                power.device
            )
            rows["chroma_stft"] = _chroma.normalised(filters @ power.T, order="max")
        if wanted & _OF_CONSTANT_Q:
            constant_q = _chroma.constant_q(waveform, sample_rate=rate, hop_length=hop, step=step)
            classes = _chroma.pitch_classes(constant_q)
            rows["chroma_cqt"] = _chroma.normalised(classes, order="max")
            rows["chroma_cens"] = _chroma.cens(classes)
            rows["tonnetz"] = _chroma.tonnetz(rows["chroma_cens"])
        if wanted & _OF_MFCC:
            rows["mfcc"] = self.cosines @ decibels(
                _in_blocks(self.mfcc_mel, self.mfcc_blocks, power), top_db=80.0
            )
        if "mfcc_delta" in wanted:
            rows["mfcc_delta"] = _descriptors.trend(rows["mfcc"], order=1)
        if "mfcc_delta2" in wanted:
            rows["mfcc_delta2"] = _descriptors.trend(rows["mfcc"], order=2)
        if "spectral_contrast" in wanted:
            rows["spectral_contrast"] = _descriptors.contrast(power, self.bands)
        if "rmse" in wanted:
            rows["rmse"] = _descriptors.rms(power, n_fft=n_fft)
        if "zcr" in wanted:
            crossings = _descriptors.zero_crossing_rate(waveform, frame_length=n_fft, hop_length=hop)
            rows["zcr"] = crossings
        return rows

    def _names(self) -> list[str]:
        names: list[str] = []
        for part in self.parts:
            kinds, rows = (("mean", "std"), self.n_mels) if part == "log_mel" else (MOMENTS, ROWS[part])
            names += [
                f"{part}_{kind}_{row:0{max(2, len(str(rows)))}}"
                for kind in kinds
                for row in range(1, rows + 1)
            ]
        return names

    def _mel(self, bands: int) -> Tensor:
        filters = mel_filters(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            n_mels=bands,
            f_min=0.0,
            f_max=self.sample_rate / 2,
            scale="slaney",
            norm="slaney",
        )
        return torch.from_numpy(filters)

    def _check_resolution(self) -> None:
        bands = _descriptors.CONTRAST_START_HZ * 2 ** (_descriptors.CONTRAST_BANDS - 1)
        highest = {part: _chroma.highest_hz() for part in _OF_CONSTANT_Q} | {"spectral_contrast": bands}
        needed, part = max((2 * highest.get(part, 0.0), part) for part in self.parts)
        if self.sample_rate <= needed:
            raise RecipeError(
                f"{part} looks above half the sample rate",
                where="data.sample_rate",
                value=self.sample_rate,
                remedy=f"set it above {needed:.0f}, or name features without {part}",
            )
        if (
            "spectral_contrast" in self.parts
            and self.sample_rate / self.n_fft > _descriptors.CONTRAST_START_HZ
        ):
            least = 2 * math.ceil(self.sample_rate / _descriptors.CONTRAST_START_HZ / 2)
            raise RecipeError(
                "bands of the spectral contrast would lie between two bins of the Fourier transform",
                where="frontend.n_fft",
                value=self.n_fft,
                remedy=f"give at least {least} samples, or name features without spectral_contrast",
            )
