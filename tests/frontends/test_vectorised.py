"""Operations that numpy does for torch say what torch's own would."""

from __future__ import annotations

import pytest
import torch

from kikiwake.frontends._vectorised import extremes, greater, kth, true_places, write_magnitudes


@pytest.mark.parametrize("width", [100, 728])
@pytest.mark.parametrize("levels", [4, 1 << 20])
def test_extremes_are_the_ends_of_sorted_rows(width, levels):
    drawn = torch.randint(levels, (5, width + 3), generator=torch.Generator().manual_seed(0))
    values = (drawn / 7)[:, 1 : 1 + width]
    before, ordered = values.clone(), values.sort().values
    smallest, largest = extremes(values, 15)
    assert torch.equal(smallest.sort().values, ordered[:, :15])
    assert torch.equal(largest.sort().values, ordered[:, -15:])
    assert torch.equal(values, before)


def test_comparing_and_selecting_are_torchs():
    values = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    limits = values.amax(1, keepdim=True) / 2
    assert torch.equal(greater(values, limits), values > limits)
    assert torch.equal(true_places((values > 0).view(-1)), (values > 0).view(-1).nonzero()[:, 0])
    assert all(kth(values[0], place) == values[0].sort().values[place] for place in (0, 25, 49))


def test_magnitudes_are_written_beside_what_is_there():
    spectrum = torch.complex(torch.tensor([[3.0, 0.0]]), torch.tensor([[-4.0, 0.0]]))
    room = torch.ones(1, 3)
    write_magnitudes(spectrum, out=room[:, :2])
    assert room.tolist() == [[5.0, 0.0, 1.0]]
