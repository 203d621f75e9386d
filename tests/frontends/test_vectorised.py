"""Operations that numpy does for torch say what torch's own would."""

from __future__ import annotations

import torch

from kikiwake.frontends._vectorised import greater, kth, true_places


def test_comparing_and_selecting_are_torchs():
    values = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    limits = values.amax(1, keepdim=True) / 2
    assert torch.equal(greater(values, limits), values > limits)
    assert torch.equal(true_places((values > 0).view(-1)), (values > 0).view(-1).nonzero()[:, 0])
    assert all(kth(values[0], place) == values[0].sort().values[place] for place in (0, 25, 49))
