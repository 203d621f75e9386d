"""Loads batches in worker processes that may die, hang or be slow without a batch being lost."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from kikiwake.data import Batch, Request
from kikiwake.engine import return_freed_memory
from kikiwake.errors import KikiwakeError, TrainingError
from kikiwake.parallel import ending_with_parent

PATIENCE_SECONDS = 30.0
RESTARTS = 3
_LOOK_SECONDS = 2.0


@dataclass
class Loader:
    """Yields the batches of any list of requests, made by `workers` processes that live on between epochs.

    `dataset` gives the batch of a list of requests, as `kikiwake.data.ClipDataset` does. A worker that
    dies is noticed within seconds, one that gives nothing after half a minute; `say` is told, and the loader
    starts again at the first batch that is missing, each time with twice the patience.
    """

    dataset: Any
    workers: int
    say: Callable[[str], None]
    pin_memory: bool = False

    def __post_init__(self) -> None:
        self._loader: DataLoader[Any] | None = None
        self._froze = False
        self._pending: list[Sequence[Request]] = []

    def __call__(self, batches: Sequence[Sequence[Request]]) -> Iterator[Batch]:
        """Yield the batch of each list of requests, in order.

        Raises:
            KikiwakeError: a recording cannot be read.
            TrainingError: the workers died or hung again and again.
        """
        done = restarts = 0
        while done < len(batches):
            self._pending[:] = batches[done:]
            try:
                for answer in self._answers(patience=PATIENCE_SECONDS * 2**restarts):
                    if isinstance(answer, KikiwakeError):
                        raise answer
                    yield _aligned(answer)
                    done += 1
            except _WorkerFailure as failure:
                self.close()
                restarts += 1
                if restarts > RESTARTS:
                    raise TrainingError(
                        f"the loader's workers failed {restarts} times: {failure}",
                        where="data.workers",
                        value=self.workers,
                        remedy="use fewer workers, or 0 to load in the main process",
                    ) from failure
                self.say(f"loader: {failure}; starting the workers again ({restarts} of {RESTARTS} times)")

    def close(self) -> None:
        """Stop the workers."""
        self._loader = None
        if self._froze:
            gc.unfreeze()
            self._froze = False

    def _answers(self, *, patience: float) -> Iterator[Batch | KikiwakeError]:
        """Yield what the workers give for the pending requests.

        Raises:
            _WorkerFailure: one of them died, or none gave anything for `patience` seconds.
        """
        iterator = self._iterator()
        waited_since = time.monotonic()
        while True:
            try:
                answer = next(iterator)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                if _says_that_a_worker_died(error):
                    reason = "a worker died (killed from outside, or no memory left)"
                    raise _WorkerFailure(reason) from error
                if "DataLoader timed out" not in str(error):
                    raise
                if time.monotonic() - waited_since >= patience:
                    raise _WorkerFailure(f"no batch came for {patience:g} s") from error
                continue
            yield answer
            waited_since = time.monotonic()

    def _iterator(self) -> Iterator[Any]:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if self._loader is None:
            many = self.workers > 0
            forked = many and sys.platform == "linux"
            if forked:
                return_freed_memory()  # or each worker inherits it, and copies it when this process writes
                gc.freeze()  # a collection writes to all that it looks at, which is then shared no more
                self._froze = True
            self._loader = DataLoader(
                _Answers(self.dataset),
                batch_size=None,
                sampler=_Pending(self._pending),
                num_workers=self.workers,
                # Workers start at once and share what is loaded; they touch neither devices nor thread pools.
                multiprocessing_context="fork" if forked else None,
                persistent_workers=many,
                prefetch_factor=2 if many else None,
                timeout=_LOOK_SECONDS if many else 0,
                pin_memory=self.pin_memory,
                worker_init_fn=_tie_to_parent() if forked and in_main_thread else None,
            )
        if not in_main_thread:
            return iter(self._loader)
        # Torch's handler would raise the death of a worker in the middle of an optimizer step.
        handler = signal.getsignal(signal.SIGCHLD)
        iterator = iter(self._loader)
        signal.signal(signal.SIGCHLD, handler)
        return iterator


def _says_that_a_worker_died(error: Exception) -> bool:
    if "Caught" in str(error):  # raised by the data set in a worker that lives
        return False
    # A batch whose maker is gone cannot be fetched: its memory is reached through a socket of the maker.
    return "DataLoader worker" in str(error) or isinstance(error, OSError | EOFError)


def _tie_to_parent() -> Callable[[int], None]:
    """Return what makes a worker die with a killed training at once, instead of seconds later or never."""
    tie = ending_with_parent(signal.SIGKILL)
    return lambda _: tie()


class _WorkerFailure(Exception):  # noqa: N818 - it never leaves this room
    """The workers of a loader died or hang."""


class _Answers(Dataset[Any]):
    """Gives a recording's error as an answer, since a worker would turn its message into a traceback."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, requests: Sequence[Request]) -> Batch | KikiwakeError:
        try:
            found: Batch = self.dataset[requests]
            return found
        except KikiwakeError as error:
            return error


class _Pending:
    """The batches still to be loaded, as torch's loader wants them."""

    def __init__(self, pending: list[Sequence[Request]]) -> None:
        self.pending = pending

    def __iter__(self) -> Iterator[Sequence[Request]]:
        return iter(list(self.pending))

    def __len__(self) -> int:
        return len(self.pending)


def _aligned(batch: Batch) -> Batch:
    """Copy to torch's own memory: vector code may round differently at other alignments."""
    return Batch(*(tensor.clone() for tensor in batch))
