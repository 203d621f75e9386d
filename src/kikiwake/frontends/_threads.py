"""Work on many rows at once, each row on one thread of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import torch


def each_row(function: Callable[[int], None], rows: int) -> None:
    """Call `function` with 0 to `rows` - 1, on as many threads as torch is set to use.

    Each row is computed by one thread from start to end. Torch's own way, to share every single operation
    among all threads, makes them wait for each other dozens of times a row and lets the number of threads and
    the other rows of a batch change the last bits; this way a row's result depends on the row alone.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        for row in range(rows):
            function(row)
        return
    try:
        for _ in _pool(os.getpid(), threads).map(partial(_alone, function), range(rows)):
            pass
    finally:
        # Setting its number of threads, a pool thread also sets the number that threads to come start with.
        torch.set_num_threads(threads)


def _alone(function: Callable[[int], None], row: int) -> None:
    # Asking first matters: a thread takes the process's number when it first asks, whatever was set before.
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    function(row)


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:  # noqa: ARG001 - a forked child has no threads
    """Return a pool of threads; one for each process and size."""
    return ThreadPoolExecutor(threads, thread_name_prefix="kikiwake-rows")
