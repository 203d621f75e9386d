"""Features of fixed windows, computed once and kept: for front ends that are slow and never change.

An embedding is a function of the recording, the window and the front end alone, so that training a small
network on it need not compute it again in every epoch, nor the next recipe that asks for the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from kikiwake import __version__, components
from kikiwake.cache import key as cache_key
from kikiwake.classifier import Classifier
from kikiwake.data import Batch, ClipDataset, ClipReader, Request
from kikiwake.engine import Engine
from kikiwake.errors import RecipeError, StorageError
from kikiwake.loader import Loader
from kikiwake.parallel import progress
from kikiwake.recipe import Recipe


def keeps_features(recipe: Recipe) -> bool:
    """Return whether the recipe's front end is one whose features are worth keeping, and may be kept."""
    return bool(components.part("frontends", recipe.frontend["name"]).cached and recipe.data.cache)


class Features:
    """The features of windows of a manifest's clips, from the cache where they are kept.

    `loader`: over the clips, without augmentations.
    """

    def __init__(self, classifier: Classifier, loader: Loader, *, recipe: Recipe, engine: Engine) -> None:
        self.classifier = classifier
        self.loader = loader
        self.recipe = recipe
        self.engine = engine
        settings = repr([sorted(recipe.frontend.items()), recipe.data.pad])
        identity = _identity(classifier.frontend, settings)
        self.keys = FeatureKeys(loader.dataset.reader, front_end=identity)
        self.cache = loader.dataset.reader.cache if keeps_features(recipe) else None

    def __call__(self, requests: Sequence[Request]) -> Iterator[np.ndarray]:
        """Yield the features `[D, N]` of each window, in order; those that are missing are computed first.

        Raises:
            AudioError: a recording cannot be read.
        """
        if self.cache is None:
            for _, found in self._computed(self._batches(requests)):
                yield from found
            return
        self.fill(requests)
        for request in requests:
            yield self.cache.get(self.keys(request), _gone)

    def fill(self, requests: Sequence[Request]) -> None:
        """Compute and keep the features that are not kept yet.

        Batches are cut from all of `requests` and computed whole: what is in a batch, and with it the last
        bits of the features, does not depend on where an earlier attempt was interrupted.

        Raises:
            AudioError: a recording cannot be read.
        """
        assert self.cache is not None
        batches = self._batches(requests)
        missing = [batch for batch in batches if not all(self.keys(one) in self.cache for one in batch)]
        if not missing:
            return
        with progress(sum(map(len, missing)), description="features", unit="windows") as bar:
            for batch, found in self._computed(missing):
                for request, features in zip(batch, found, strict=True):
                    self.cache.get(self.keys(request), lambda features=features: features)
                bar.advance(len(batch))

    def _batches(self, requests: Sequence[Request]) -> list[Sequence[Request]]:
        size = self.recipe.predict.batch_size
        return [requests[at : at + size] for at in range(0, len(requests), size)]

    def _computed(
        self, batches: Sequence[Sequence[Request]]
    ) -> Iterator[tuple[Sequence[Request], np.ndarray]]:
        front_end, device = self.classifier.frontend, self.engine.device
        front_end.eval()
        for batch, loaded in zip(batches, self.loader(batches), strict=True):
            with torch.no_grad(), self.engine.autocast():
                found = front_end(loaded.inputs.to(device), lengths=loaded.lengths.to(device))
            yield batch, found.float().cpu().numpy()


class FeatureKeys:
    """Names the cache entry of a window's features."""

    def __init__(self, reader: ClipReader, *, front_end: str) -> None:
        self.reader = reader
        self.front_end = front_end

    def __call__(self, request: Request) -> str:
        """Return the name of the entry; it holds all that the features depend on."""
        return cache_key(
            self.reader.key(request.clip),
            start=request.start,
            window=request.frames,
            front_end=self.front_end,
            made_by=__version__,
        )


@lru_cache(maxsize=4)
def _identity(front_end: nn.Module, settings: str) -> str:
    """Return the hash of a front end's settings and weights, which do not change."""
    digest = blake2b(settings.encode(), digest_size=20)
    for name, tensor in sorted(front_end.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _gone() -> np.ndarray:
    raise StorageError(
        "features that were just kept are gone",
        where="data.cache_folder",
        remedy="let nothing clear the cache while a training runs; the same command goes on",
    )


class FeatureDataset(Dataset[Batch]):
    """The training clips' features in place of their waveforms, for crops that are always the same.

    Everything else is as in the `clips` that it stands for.
    """

    def __init__(self, clips: ClipDataset, features: Features) -> None:
        self.clips = clips
        self.keys = features.keys
        self.cache = features.cache

    def __getitem__(self, requests: Sequence[Request]) -> Batch:
        """Return the batch of `requests`: its inputs are features `[B, D, N]`.

        Raises:
            RecipeError: the features of its clips differ in length.
        """
        assert self.cache is not None
        fixed = [self.clips.fixed(request) for request in requests]
        found = [self.cache.get(self.keys(request), _gone) for request in fixed]
        lengths = {features.shape[1] for features in found}
        if len(lengths) > 1:
            raise RecipeError(
                f"the clips of a batch have features of {len(lengths)} lengths",
                where="frontend.pooling",
                remedy="pool them over time, or give the crop a length in seconds",
            )
        return self.clips.with_inputs(torch.from_numpy(np.stack(found)), requests)

    @cached_property
    def targets(self) -> Any:
        """Targets of all clips `[N, K]`."""
        return self.clips.targets
