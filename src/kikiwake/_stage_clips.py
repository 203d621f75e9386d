"""What a stage trains on: the recipe's clips or those of a manifest of its own, and pseudo labels beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kikiwake._stage_tables import stage_manifest
from kikiwake.data import Request, training_requests
from kikiwake.errors import ManifestError
from kikiwake.manifest import Manifest
from kikiwake.recipe import Stage
from kikiwake.run import Run


@dataclass(frozen=True)
class StageClips:
    """The clips of a stage, with the targets that they have in it.

    `own`: rows that are drawn once an epoch, or as often as `chances` says. `beside`: rows with pseudo
    labels, drawn `ratio` times as often in sum. `left_out`: how many clips were, since they are held out or
    only there to be named.
    """

    manifest: Manifest
    own: list[int]
    chances: np.ndarray | None
    beside: list[int]
    ratio: float
    left_out: int

    @property
    def rows(self) -> list[int]:
        """All rows that are drawn."""
        return [*self.own, *self.beside]

    def requests(self, stage: Stage, *, seed: int, epoch: int) -> list[Request]:
        """Return an epoch's draws in their order."""
        return training_requests(
            self.own,
            seed=seed,
            stage=stage.name,
            epoch=epoch,
            chances=self.chances,
            extra=stage.extra.share if stage.extra else 0.0,
            kinds=len(stage.extra.augmentations) if stage.extra else 0,
            beside=self.beside,
            ratio=self.ratio,
        )


def secondary_target(run: Run, stage: Stage) -> float:
    """Return the target of secondary labels in a stage: its own where it has one, else the recipe's."""
    return run.recipe.data.secondary_target if stage.secondary_target is None else stage.secondary_target


def stage_clips(run: Run, stage: Stage, *, pseudo: Path | None = None) -> StageClips:
    """Return what a stage trains on. `pseudo`: the manifest of its pseudo-labelled clips, where it has any.

    Raises:
        ManifestError: a manifest is wrong, has other classes, or nothing in it may be trained on.
    """
    secondary = secondary_target(run, stage)
    manifest, own, left_out = run.manifest, run.indices("train"), 0
    if stage.manifest is not None:
        manifest = Manifest.read(stage_manifest(run, stage) or stage.manifest, classes=run.manifest.classes)
        own = _trainable(run, manifest)
        left_out = len(manifest) - len(own)
        if not own:
            raise ManifestError(
                "no clip of this manifest may be trained on: each, its recording or its group is held out, "
                "by the run's split or by this manifest's own",
                where=stage.manifest,
                remedy="give others, hold fewer out in split, or mend the column 'split'",
            )
    chances = None
    if stage.sampling == "balanced":
        counted = secondary if stage.sampling_secondary is None else stage.sampling_secondary
        targets = manifest.targets(secondary=counted)[own]
        chances = (targets / np.maximum(targets.sum(0), 1)).max(1).astype(np.float64)
    targets = manifest.targets(secondary=secondary)
    if pseudo is None:
        return StageClips(
            Manifest(manifest.clips, manifest.classes, targets), own, chances, [], 0.0, left_out
        )
    assert stage.pseudo is not None
    added = Manifest.read(pseudo, classes=manifest.classes)
    usable = _trainable(run, added)
    weight = stage.pseudo.weight
    clips = [replace(added[row], weight=weight) for row in usable]
    joined = Manifest(
        [*manifest.clips, *clips],
        manifest.classes,
        np.concatenate([targets, added.targets()[usable]]),
    )
    beside = list(range(len(manifest), len(joined)))
    left_out += len(added) - len(usable)
    return StageClips(joined, own, chances, beside, stage.pseudo.ratio, left_out)


def _trainable(run: Run, manifest: Manifest) -> list[int]:
    """Return the rows that may train: not those that their own split or the run's gives to something else.

    The run holds out what shares its recording or group with a labelled clip that validates or tests. A clip
    that nobody has labelled does not train either where the run has its recording only to be named.
    """
    labelled = (run.manifest.targets(secondary=1.0) > 0).max(axis=1, initial=False)
    held = [row for part in ("validation", "test") for row in run.indices(part) if labelled[row]]
    groups = _of(run.manifest.groups(), held)
    paths = {run.manifest[row].path.resolve() for row in held}
    named = {
        clip.path.resolve()
        for clip, there in zip(run.manifest, labelled, strict=True)
        if not there and clip.split in (None, "test")
    }
    numbers = manifest.class_ids().tolist()
    return [
        row
        for row, (clip, group) in enumerate(zip(manifest, manifest.groups(), strict=True))
        if clip.split not in ("validation", "test")
        and group not in groups
        and clip.path.resolve() not in paths
        and not (numbers[row] < 0 and clip.path.resolve() in named)
    ]


def _of(names: Sequence[str], rows: Sequence[int]) -> set[str]:
    return {names[row] for row in rows}
