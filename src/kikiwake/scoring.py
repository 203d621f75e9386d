"""Scores the clips of a manifest window by window: for validation while training and for evaluation after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from kikiwake.classifier import Classifier
from kikiwake.data import Request, windows
from kikiwake.engine import Engine
from kikiwake.features import Features, keeps_features
from kikiwake.judging import Judge, Judged, judge_of
from kikiwake.loader import Loader
from kikiwake.recipe import Recipe


@dataclass(frozen=True)
class WindowScores:
    """Probabilities of all windows of some clips, in the clips' order and then in time.

    Shape: clips, starts, frames `[W]` (rows of the manifest; samples); logits, probabilities `[W, K]`.
    """

    clips: np.ndarray
    starts: np.ndarray
    frames: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray

    def clipwise(self, indices: Sequence[int], *, aggregate: str) -> np.ndarray:
        """Join each clip's windows: `[N, K]` in the order of `indices`.

        "mean" weighs a window by the sound in it, so that a nearly empty last window does not count as much
        as a full one; "max" takes each class's loudest window.
        """
        firsts = np.flatnonzero(np.diff(self.clips, prepend=-1))
        if aggregate == "max":
            joined = np.maximum.reduceat(self.probabilities, firsts)
        else:
            weights = np.maximum(self.frames, 1).astype(np.float64)[:, None]
            sums = np.add.reduceat(self.probabilities * weights, firsts)
            joined = (sums / np.add.reduceat(weights, firsts)).astype(np.float32)
        rows = {int(clip): row for row, clip in enumerate(self.clips[firsts])}
        return joined[[rows[index] for index in indices]]


def window_frames(recipe: Recipe) -> tuple[int | None, int | None]:
    """Return window and hop in samples; None for both where clips are scored whole."""
    seconds = recipe.predict.window_seconds or recipe.data.crop.get("seconds")
    if seconds is None:
        return None, None
    rate = recipe.data.sample_rate
    return round(seconds * rate), round((recipe.predict.hop_seconds or seconds) * rate)


def window_requests(
    indices: Sequence[int], *, total: Callable[[int], int], window: int | None, hop: int | None
) -> tuple[list[Request], list[int]]:
    """Return the windows of clips as requests, and the samples of sound in each."""
    requests, sounding = [], []
    for index in indices:
        samples = total(index)
        spans = [(0, samples)] if window is None else windows(samples, window=window, hop=hop or window)
        for start, frames in spans:
            requests.append(Request(index, start=start, frames=window))
            sounding.append(frames)
    return requests, sounding


@torch.no_grad()
def score_clips(
    classifier: Classifier,
    loader: Loader,
    *,
    indices: Sequence[int],
    recipe: Recipe,
    engine: Engine,
    shifted: bool = True,
) -> WindowScores:
    """Score every window of the clips `indices`; under `torchrun` the processes share the work.

    `shifted`: False hears every window once, without the recipe's shifts.

    Raises:
        AudioError: a recording cannot be read.
    """
    window, hop = window_frames(recipe)
    requests, sounding = window_requests(indices, total=loader.dataset.reader.total, window=window, hop=hop)
    starts = [request.start or 0 for request in requests]
    judge = None if window is None else judge_of(recipe, window=window, shifted=shifted)
    if judge is not None and not judge.plain:
        requests = [
            request._replace(start=start - judge.margin, frames=judge.stretch)
            for request, start in zip(requests, starts, strict=True)
        ]
    size = recipe.predict.batch_size
    batches = [requests[at : at + size] for at in range(0, len(requests), size)]
    mine = range(engine.rank, len(batches), engine.processes)
    classifier.eval()
    scored: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    own = [batches[at] for at in mine]
    found = _judged(classifier, loader, own, judge=judge, recipe=recipe, engine=engine)
    for number, judged in zip(mine, found, strict=True):
        scored[number] = (judged.logits[:, 0].cpu().numpy(), judged.probabilities[:, 0].cpu().numpy())
    everything = {number: pair for part in engine.gather(scored) for number, pair in part.items()}
    pairs = [everything[number] for number in range(len(batches))]
    return WindowScores(
        clips=np.array([request.clip for request in requests]),
        starts=np.array(starts),
        frames=np.array(sounding),
        logits=np.concatenate([logits for logits, _ in pairs]),
        probabilities=np.concatenate([probabilities for _, probabilities in pairs]),
    )


def _judged(
    classifier: Classifier,
    loader: Loader,
    batches: Sequence[Sequence[Request]],
    *,
    judge: Judge | None,
    recipe: Recipe,
    engine: Engine,
) -> Iterator[Judged]:
    """Yield the scores of each batch, by way of kept features where there are any."""
    if not keeps_features(recipe) or not (judge is None or judge.plain):
        for loaded in loader(batches):
            inputs = loaded.inputs.to(engine.device, non_blocking=True)
            with engine.autocast():
                yield (judge or Judge(inputs.shape[-1]))(classifier, inputs, loaded.lengths.to(engine.device))
        return
    features = Features(classifier, loader, recipe=recipe, engine=engine)
    found = features([request for batch in batches for request in batch])
    for batch in batches:
        rows = [torch.from_numpy(row.copy()) for row in islice(found, len(batch))]
        alike = len({row.shape for row in rows}) == 1
        stacks = [torch.stack(rows)] if alike else [row[None] for row in rows]
        with engine.autocast():
            outputs = [classifier.network(stack.to(engine.device)).clipwise for stack in stacks]
        logits = torch.cat(outputs).float()[:, None]
        yield Judged(logits, classifier.probabilities(logits))
