from __future__ import annotations

import pytest
import torch

from kikiwake.frontends._threads import each_row


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8])
def test_every_row_is_computed_by_one_thread(threads) -> None:
    torch.set_num_threads(threads)
    for _ in range(5):
        seen: dict[int, int] = {}

        def look(row: int, seen: dict[int, int] = seen) -> None:
            torch.rand(40_000).add(1.0)
            seen[row] = torch.get_num_threads()

        each_row(look, 20)
        assert seen == dict.fromkeys(range(20), 1)
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_row_is_raised(threads) -> None:
    torch.set_num_threads(threads)

    def fail(row: int) -> None:
        raise ValueError(f"row {row}")

    with pytest.raises(ValueError, match="row 0"):
        each_row(fail, 3)
    assert torch.get_num_threads() == threads
