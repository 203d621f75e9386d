"""The losses of a stage's batches: summed, shown, and refused where one is not finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kikiwake.errors import TrainingError
from kikiwake.manifest import Manifest

DIVERGED = "the last good checkpoint is kept; lower the learning rate or set gradient_clip"

_LOOK_STEPS = 20


class Losses:
    """The losses of an epoch so far, on the device until they are looked at.

    `manifest`: the stage's clips, to name those of a batch. `shown`: the last loss that was looked at. `sum`:
    of the epoch's batches, a scalar on the device.
    """

    def __init__(self, manifest: Manifest, *, stage: str, device: torch.device) -> None:
        self.manifest = manifest
        self.stage = stage
        self.device = device
        self.shown = math.nan
        self.sum = torch.zeros((), dtype=torch.float64, device=device)
        self._unseen: list[tuple[int, int, Tensor, Tensor]] = []

    def add(self, loss: Tensor, *, epoch: int, batch: int, clips: Tensor) -> None:
        """Count the loss of a batch of `clips`, and now and then look at those since the last look.

        Raises:
            TrainingError: one of them is not finite.
        """
        self._unseen.append((epoch, batch, clips, loss))
        self.sum += loss
        if self.device.type == "cpu" or len(self._unseen) == _LOOK_STEPS:  # a look makes a GPU wait
            self.look()

    def look(self) -> None:
        """Look at the losses since the last look.

        Raises:
            TrainingError: one of them is not finite.
        """
        for epoch, batch, clips, loss in self._unseen:
            self.shown = float(loss)
            if not math.isfinite(self.shown):
                paths = [str(self.manifest[int(clip)].path) for clip in clips]
                place = f"epoch {epoch + 1}, batch {batch + 1}, clips {paths}"
                raise TrainingError(
                    f"the loss is no longer finite in {place}",
                    where=f"stage {self.stage}",
                    value=self.shown,
                    remedy=f"{DIVERGED}, or take faulty clips out of the manifest",
                )
        self._unseen.clear()
