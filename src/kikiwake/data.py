"""From manifest rows to batches of waveforms; what a batch holds is a pure function of its request."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kikiwake import __version__, audio, components
from kikiwake.cache import ArrayCache, default_cache_folder, source_key
from kikiwake.cache import key as cache_key
from kikiwake.errors import AudioError
from kikiwake.manifest import Manifest
from kikiwake.randomness import generator
from kikiwake.recipe import Data as DataSection
from kikiwake.stems import Stems

OPEN_CLIPS = 64
CACHED_SECONDS = 600
"""Longer clips are read piece by piece from their recordings, so that memory stays flat."""


class Request(NamedTuple):
    """One item of a batch: a whole training draw (`start` None) or a fixed window of a clip.

    `clip`: row of the manifest. `draw`: names the random stream. `start`, `frames`: samples from the start of
    the clip at the recipe's rate; what lies before the clip is filled up as what lies behind it. `extra`:
    which of the stage's extra augmentations changes it; -1 is none.
    """

    clip: int
    draw: tuple[int | str, ...] = ()
    start: int | None = None
    frames: int | None = None
    extra: int = -1


class Batch(NamedTuple):
    """Waveforms, or features that are kept, with what belongs to them.

    Shape: inputs `[B, C, T]` or `[B, D, N]`; targets `[B, K]`; weights `[B]`; lengths `[B]` (samples before
    padding); clips `[B]` (rows of the manifest); extra `[B]` (which extra augmentation changes it, or -1).
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    lengths: Tensor
    clips: Tensor
    extra: Tensor


class ClipReader:
    """Reads stretches of a manifest's clips as waveforms `[C, T]` at the recipe's rate.

    With a cache, a clip is decoded once and read from a memory map ever after. Stems are read from where they
    are kept, and never separated here.
    """

    def __init__(self, manifest: Manifest, *, data: DataSection) -> None:
        self.manifest = manifest
        self.sample_rate = data.sample_rate
        self.channels = data.waveform_channels
        self.stems = Stems(data) if data.separator else None
        self.cache = ArrayCache(data.cache_folder or default_cache_folder()) if data.cache else None
        self._open: OrderedDict[int, np.ndarray] = OrderedDict()
        self._keys: dict[int, str] = {}

    def total(self, index: int) -> int:
        """Return the samples of a clip at the recipe's rate."""
        first, last = self._span(index)
        return last - first

    def read(self, index: int, start: int, frames: int) -> np.ndarray:
        """Return samples `start` to `start + frames` of a clip, fewer where it ends.

        Shape: `[C, T]`.

        Raises:
            AudioError: the recording cannot be read.
            StorageError: its stems are wanted and not there.
        """
        first, last = self._span(index)
        if self.stems is None and self.cache and last - first <= CACHED_SECONDS * self.sample_rate:
            return self._whole(index, self.cache)[:, start : start + frames]
        return self._load(index, first + start, max(0, min(frames, last - first - start)))

    def key(self, index: int) -> str:
        """Return the name of what decoding a clip gives: a function of its content, place, rate and channels.

        Raises:
            AudioError: the recording cannot be read.
        """
        if index not in self._keys:
            first, last = self._span(index)
            self._keys[index] = cache_key(
                source_key(self.manifest[index].path),
                decoder=__version__,
                sample_rate=self.sample_rate,
                channels=self.channels,
                start=first,
                frames=last - first,
                **self._separation(index),
            )
        return self._keys[index]

    def _separation(self, index: int) -> dict[str, Any]:
        """Return what names a clip's stems, nothing where it is not separated."""
        if self.stems is None:
            return {}
        return {"separated": self.stems.key(self.manifest[index].path), "stems": self.stems.names}

    def _span(self, index: int) -> tuple[int, int]:
        """Return the first sample of a clip and the one after its last, in its recording."""
        clip = self.manifest[index]
        first = round((clip.start or 0.0) * self.sample_rate)
        whole = math.floor(clip.frames * self.sample_rate / clip.sr + 0.5)
        last = whole if clip.end is None else min(whole, round(clip.end * self.sample_rate))
        return first, max(first, last)

    def _load(self, index: int, start: int, frames: int) -> np.ndarray:
        path = self.manifest[index].path
        if self.stems is not None:
            loaded = self.stems.read(path, start, frames)
        else:
            loaded = audio.load(
                path, sample_rate=self.sample_rate, channels=self.channels, start=start, frames=frames
            ).waveform
        missing = (frames - loaded.shape[1]) / self.sample_rate
        if missing > 0.01:
            raise AudioError(
                f"the recording holds {missing:.2f} s less than the manifest says",
                where=path,
                remedy="it has changed since `kikiwake prepare`: prepare it again",
            )
        return loaded

    def _whole(self, index: int, cache: ArrayCache) -> np.ndarray:
        """Return the memory map of a clip; the last few are kept open, for each holds a file descriptor."""
        if index in self._open:
            self._open.move_to_end(index)
            return self._open[index]
        first, last = self._span(index)
        decoded = cache.get(self.key(index), lambda: self._load(index, first, last - first))
        self._open[index] = decoded
        if len(self._open) > OPEN_CLIPS:
            self._open.popitem(last=False)
        return decoded


class ClipDataset(Dataset[Batch]):
    """Makes batches on request, in any process, in any order, always the same.

    `augmentations`: parts of level "waveform". `extra`: a stage's extra augmentations; those of level
    "waveform" are applied here, to the requests that ask for them. A waveform that is shorter than its window
    or crop, or became so, is filled up; whole clips without a set length are filled up to the longest of
    their batch.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        data: DataSection,
        seed: int,
        augmentations: Sequence[Any] = (),
        extra: Sequence[Any] = (),
    ) -> None:
        self.reader = ClipReader(manifest, data=data)
        self.crop = components.build("crops", data.crop, where="data.crop")
        seconds = self.crop.seconds
        self.crop_frames = None if seconds is None else round(seconds * data.sample_rate)
        self.pad = data.pad
        self.seed = seed
        self.augmentations = list(augmentations)
        self.extra = list(extra)
        self.targets = manifest.targets(secondary=data.secondary_target)
        self.weights = manifest.weights(rating_floor=data.rating_floor)

    def __getitem__(self, requests: Sequence[Request]) -> Batch:
        """Return the batch of `requests`."""
        missing = [max(0, -(request.start or 0)) for request in requests]
        wanted = [request.frames or self.crop_frames or 0 for request in requests]
        waveforms: Iterable[np.ndarray] = (self._waveform(request) for request in requests)
        if not all(wanted):  # the longest is known when all are read
            waveforms = list(waveforms)
            wanted = [w or x.shape[1] for w, x in zip(wanted, waveforms, strict=True)]
        frames = max(1, *wanted)
        stacked = np.zeros((len(requests), self.reader.channels, frames), np.float32)
        lengths = []
        for row, waveform, before in zip(stacked, waveforms, missing, strict=True):
            fill(row, waveform, pad=self.pad, before=before)
            lengths.append(min(frames, before + waveform.shape[1]) if self.pad == "zero" else frames)
        return self.with_inputs(torch.from_numpy(stacked), requests, lengths=lengths)

    def with_inputs(
        self, inputs: Tensor, requests: Sequence[Request], *, lengths: Sequence[int] | None = None
    ) -> Batch:
        """Return the batch of `requests` with inputs already made; `lengths`: of each before padding."""
        clips = np.array([request.clip for request in requests])
        return Batch(
            inputs,
            torch.from_numpy(self.targets[clips]),
            torch.from_numpy(self.weights[clips]),
            torch.tensor([inputs.shape[-1]] * len(requests) if lengths is None else lengths),
            torch.from_numpy(clips),
            torch.tensor([request.extra for request in requests]),
        )

    def fixed(self, request: Request) -> Request:
        """Return the window that a training draw means, for crops that draw nothing."""
        reader, index = self.reader, request.clip
        start, _ = self.crop.choose(
            reader.total(index),
            sample_rate=reader.sample_rate,
            rng=generator(self.seed, "crop", *request.draw),
            read=lambda first, count: reader.read(index, first, count),
        )
        return Request(index, start=start, frames=self.crop_frames)

    def _waveform(self, request: Request) -> np.ndarray:
        reader, index = self.reader, request.clip
        if request.start is not None:
            frames = request.frames or reader.total(index)
            return reader.read(index, max(0, request.start), max(0, frames + min(0, request.start)))
        start, frames = self.crop.choose(
            reader.total(index),
            sample_rate=reader.sample_rate,
            rng=generator(self.seed, "crop", *request.draw),
            read=lambda first, count: reader.read(index, first, count),
        )
        waveform = reader.read(index, start, frames)
        for position, augmentation in enumerate(self.augmentations):
            rng = generator(self.seed, "waveform", position, *request.draw)
            waveform = augmentation(waveform, sample_rate=reader.sample_rate, rng=rng)
        if request.extra >= 0 and self.extra[request.extra].level == "waveform":
            rng = generator(self.seed, "extra", *request.draw)
            waveform = self.extra[request.extra](waveform, sample_rate=reader.sample_rate, rng=rng)
        return waveform


def fill(row: np.ndarray, waveform: np.ndarray, *, pad: str, before: int = 0) -> None:
    """Copy `waveform` `[C, t]` into the zeros of `row` `[C, T]`, cut, or filled up on both sides.

    `before`: samples of the row that lie before the waveform. `pad`: "zero" leaves the zeros; "repeat" begins
    again; "reflect" goes back and forth.
    """
    frames, count = row.shape[1], waveform.shape[1]
    after = max(0, frames - before - count)
    if count and (before or after) and pad != "zero":
        if pad == "repeat":
            waveform = waveform[:, (np.arange(frames) - before) % count]
        else:
            mode: Literal["reflect", "edge"] = "reflect" if count > 1 else "edge"
            waveform = np.pad(waveform, ((0, 0), (before, after)), mode=mode)
        before = 0
    row[:, before : before + waveform.shape[1]] = waveform[:, : max(0, frames - before)]


def training_requests(
    indices: Sequence[int],
    *,
    seed: int,
    stage: str,
    epoch: int,
    chances: np.ndarray | None = None,
    extra: float = 0.0,
    kinds: int = 0,
    beside: Sequence[int] = (),
    ratio: float = 0.0,
) -> list[Request]:
    """Return an epoch's draws in their order: a function of the seed, the stage and the epoch alone.

    `indices`: rows of the training clips. `chances`: how often each is drawn in relation to the others; None
    draws each once. `extra`: as many more examples, as a share of the clips, each for one of `kinds` extra
    augmentations in turn. `beside`: rows of other clips, of which `ratio` times as many are drawn as of the
    training clips, each as often as the others.
    """

    def drawn(rng: np.random.Generator) -> np.ndarray:
        if chances is None:
            return rng.permutation(len(indices))
        return rng.choice(len(indices), size=len(indices), p=chances / chances.sum())

    order = drawn(generator(seed, "order", stage, epoch))
    mixed = [Request(indices[at], (stage, epoch, position)) for position, at in enumerate(order.tolist())]
    if count := round(extra * len(indices)):
        rng = generator(seed, "extra order", stage, epoch)
        more = np.concatenate([drawn(rng) for _ in range(math.ceil(extra))])[:count].tolist()
        mixed += [
            Request(indices[at], (stage, epoch, "extra", position), extra=position % kinds)
            for position, at in enumerate(more)
        ]
        mixed = [mixed[at] for at in rng.permutation(len(mixed))]
    if count := round(ratio * len(indices)) if len(beside) else 0:
        rng = generator(seed, "beside order", stage, epoch)
        rounds = math.ceil(count / len(beside))
        others = np.concatenate([rng.permutation(len(beside)) for _ in range(rounds)])[:count].tolist()
        mixed += [
            Request(beside[at], (stage, epoch, "beside", position)) for position, at in enumerate(others)
        ]
        mixed = [mixed[at] for at in rng.permutation(len(mixed))]
    return mixed


def training_batches(
    requests: Sequence[Request], *, batch_size: int, rank: int = 0, processes: int = 1
) -> list[list[Request]]:
    """Return this process's share of each batch; clips that do not fill a last batch wait for another epoch.

    Where there are fewer clips than a batch holds, they are one batch.
    """
    full = len(requests) // batch_size or 1
    batches = [list(requests[at * batch_size : (at + 1) * batch_size]) for at in range(full)]
    return [batch[rank::processes] for batch in batches]


def windows(total: int, *, window: int, hop: int) -> list[tuple[int, int]]:
    """Return start and length of the windows that cover `total` samples; the last may be shorter.

    >>> windows(12, window=5, hop=5)
    [(0, 5), (5, 5), (10, 2)]
    """
    count = 1 + math.ceil(max(0, total - window) / hop)
    starts = [at * hop for at in range(count) if at == 0 or at * hop < total]
    return [(start, min(window, total - start)) for start in starts]
