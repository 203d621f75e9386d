"""Spectrograms read at other places than those of their own bands and frames, on any device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Places = npt.NDArray[np.float64]


def read_at(
    features: Tensor,
    *,
    clips: npt.NDArray[np.int64],
    bands: Places | None = None,
    frames: Places | None = None,
) -> Tensor:
    """Return features in which some clips are read at other bands or frames, interpolated linearly.

    `clips`: which. `bands` `[n, F]`, `frames` `[n, N]`: for each of them where its new bands or frames are
    read in the old ones, in bands or frames; None reads all where they are. What would be read outside is the
    least value of the clip's channel: silence.

    Shape: `[B, C, F, N]` -> same.
    """
    if not len(clips):
        return features
    rows = torch.from_numpy(clips).to(features.device)
    chosen = features[rows]
    heights, widths = chosen.shape[-2:]
    down = _relative(bands, size=heights, count=len(clips)).to(chosen)
    across = _relative(frames, size=widths, count=len(clips)).to(chosen)
    grid = torch.stack(
        [across[:, None, :].expand(-1, heights, -1), down[:, :, None].expand(-1, -1, widths)], dim=-1
    )
    found = functional.grid_sample(chosen, grid, mode="bilinear", padding_mode="border", align_corners=True)
    outside = (grid.abs() > 1 + 1e-4).any(-1)[:, None]
    silence = chosen.amin(dim=(-2, -1), keepdim=True)
    return features.index_copy(0, rows, torch.where(outside, silence, found).to(features.dtype))


def _relative(places: Places | None, *, size: int, count: int) -> Tensor:
    """Return places along an axis of `size` as torch counts them, from -1 to 1. Shape: `[count, size]`."""
    if places is None:
        places = np.broadcast_to(np.arange(size, dtype=np.float64), (count, size))
    return torch.from_numpy(2.0 * places / max(1, size - 1) - 1.0).float()
