"""Mapping over items in processes, so that one that crashes or hangs fails alone; progress to look at."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from kikiwake.errors import KikiwakeError

Item = TypeVar("Item")
Value = TypeVar("Value")

_AHEAD = 4
_ATTEMPTS = 2
_PLAIN_LINE_SECONDS = 10.0


@dataclass(frozen=True)
class Result(Generic[Value]):
    """What became of one item: its `value`, or the `error` in words.

    `crashed`: the process died or ran out of time. `exception`: what the function raised, where it could be
    brought here; of one that is no KikiwakeError, `error` holds the traceback. `starved`: no memory was left
    in Python, or the process was killed from outside, as Linux does when memory runs out.
    """

    value: Value | None = None
    error: str | None = None
    crashed: bool = False
    exception: Exception | None = None
    starved: bool = False

    def get(self) -> Value:
        """Return the value, or raise what went wrong."""
        if self.exception is not None:
            raise self.exception
        if self.error is not None:
            raise KikiwakeError(self.error)
        return cast(Value, self.value)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_isolated(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    workers: int,
    timeout_seconds: float | None = None,
    memory_bytes: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    start_method: str | None = None,
) -> Iterator[tuple[Item, Result[Value]]]:
    """Yield each item with what `function` made of it, in order; a few items ahead are in work.

    `function`, `initializer` and items are pickled, so functions must stand at the top of a module.
    `workers`: 0 for this process, without protection. `timeout_seconds`: for one item, from when it is begun.
    `memory_bytes`: what a worker may take beyond what it has after `initializer` (Linux). `start_method`: of
    multiprocessing, `forkserver` unless given: a plain fork of a process with threads can deadlock.

    Raises:
        KikiwakeError: the workers cannot be started at all.
    """
    if workers == 0:
        if initializer is not None:
            initializer(*initargs)
        for item in items:
            yield item, _call(function, item)
        return
    setup = (memory_bytes, initializer, initargs)
    pool = _Pool(workers, setup=setup, start_method=start_method or "forkserver")
    waiting: deque[_Task[Item, Value]] = deque()
    source = iter(items)
    try:
        while True:
            while len(waiting) < _AHEAD * workers:
                try:
                    item = next(source)
                except StopIteration:
                    break
                waiting.append(_Task(item, pool.schedule(function, item, timeout_seconds)))
            if not waiting:
                return
            task = waiting[0]
            try:
                result: Result[Value] = _outcome(task.future, timeout_seconds)
            except BrokenProcessPool:
                # A worker died between two items, and pebble gave up its pool: begin again with what is open.
                task.attempts += 1
                pool.restart()
                if task.attempts < _ATTEMPTS:
                    for other in waiting:
                        if not other.done_well():
                            other.future = pool.schedule(function, other.item, timeout_seconds)
                    continue
                raise KikiwakeError(
                    "worker processes die before they begin to work",
                    remedy="call this under `if __name__ == '__main__':`, give more memory, or try workers=0",
                ) from None
            waiting.popleft()
            yield task.item, result
    finally:
        pool.stop()


@dataclass
class _Task(Generic[Item, Value]):
    item: Item
    future: Future[bytes]
    attempts: int = 0

    def done_well(self) -> bool:
        return self.future.done() and not isinstance(self.future.exception(), BrokenProcessPool)


class _Pool:
    """A pebble pool that can be begun again."""

    def __init__(self, workers: int, *, setup: tuple[Any, ...], start_method: str) -> None:
        self._workers = workers
        self._setup = setup
        self._context = multiprocessing.get_context(start_method)
        self._pool = self._make()

    def _make(self) -> Any:
        from pebble import ProcessPool

        return ProcessPool(
            max_workers=self._workers, initializer=_set_up, initargs=self._setup, context=self._context
        )

    def schedule(self, function: Callable[..., Any], item: Any, timeout: float | None) -> Future[Any]:
        try:
            future: Future[Any] = self._pool.schedule(
                _call_for_sending, args=(function, item), timeout=timeout
            )
        except RuntimeError:  # the pool is broken already
            future = Future()
            future.set_exception(BrokenProcessPool())
        return future

    def restart(self) -> None:
        self.stop()
        self._pool = self._make()

    def stop(self) -> None:
        self._pool.stop()
        self._pool.join()


def _outcome(future: Future[bytes], timeout_seconds: float | None) -> Result[Value]:
    from pebble import ProcessExpired

    try:
        return cast("Result[Value]", pickle.loads(future.result()))  # noqa: S301 - from our own worker
    except TimeoutError:
        return Result(error=f"took longer than {timeout_seconds:g} s and was stopped", crashed=True)
    except ProcessExpired as error:
        code = error.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        starved = code == -signal.SIGKILL
        return Result(error=f"the process working on it died ({how})", crashed=True, starved=starved)
    except BrokenProcessPool:
        raise
    except Exception as error:
        return Result(error=f"it cannot be passed between processes: {error}", exception=error)


def _set_up(memory_bytes: int | None, initializer: Callable[..., object] | None, initargs: Any) -> None:
    # The fork server is the parent of most workers, and ends with the process that it serves.
    ending_with_parent(signal.SIGKILL, parent=os.getppid())()
    if initializer is not None:
        initializer(*initargs)
    statm = Path("/proc/self/statm")
    if memory_bytes is not None and statm.exists():
        in_use = int(statm.read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (in_use + memory_bytes, hard))


def _call(function: Callable[[Item], Value], item: Item) -> Result[Value]:
    """Run `function`, and turn what it raises into a Result that can be sent."""
    try:
        return Result(value=function(item))
    except KikiwakeError as error:
        return Result(error=str(error), exception=_sendable(error))
    except MemoryError:
        return Result(error="needs more memory than it may use", starved=True)
    except Exception as error:
        return Result(error=traceback.format_exc().rstrip(), exception=_sendable(error))


def _call_for_sending(function: Callable[[Any], Any], item: Any) -> bytes:
    """Pickle the result here: pebble lets a worker die, or its whole pool, over a value that cannot be."""
    try:
        return pickle.dumps(_call(function, item))
    except Exception as error:
        return pickle.dumps(Result[Any](error=f"its value cannot be passed between processes: {error}"))


def _sendable(error: Exception) -> Exception | None:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes of a moment ago
    except Exception:
        return None
    return error


def ending_with_parent(by: signal.Signals, *, parent: int | None = None) -> Callable[[], None]:
    """Return what a new process calls so that Linux ends it when the thread that made it is gone.

    Made beforehand, since between fork and exec nothing may be imported or loaded. `parent`: its process, by
    default this one. On other systems it does nothing.
    """
    if sys.platform != "linux":
        return lambda: None
    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1  # PR_SET_PDEATHSIG, man 2 prctl
    expected = os.getpid() if parent is None else parent

    def call() -> None:
        prctl(set_death_signal, by)
        if os.getppid() != expected:
            os.kill(os.getpid(), by)

    return call


class Progress(Protocol):
    """What `progress` hands out."""

    def advance(self, n: int = 1, **shown: float | str) -> None:
        """Count `n` more, and show values (loss, score) beside the bar."""


@contextmanager
def progress(
    total: int | None, *, description: str, unit: str, done: int = 0, quiet: bool = False
) -> Iterator[Progress]:
    """Show how far a loop is: bar, count, rate in `unit` a second, time left.

    Where the error stream is no terminal, a plain line is written about every ten seconds. `total` is None
    where the end is not known. `done`: what was counted before an interruption. `quiet`: nothing is shown, as
    of all processes but one.
    """
    if quiet:
        yield _Silent()
        return
    if not sys.stderr.isatty():
        lines = _Lines(total, description, unit, done)
        yield lines
        lines.finish()
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[shown]}"),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(description, total=total, completed=done, rate="", shown="")
        yield _Bar(display, task, unit)


class _Silent:
    def advance(self, n: int = 1, **shown: float | str) -> None:
        pass


class _Bar:
    def __init__(self, display: Any, task: Any, unit: str) -> None:
        self._display, self._task, self._unit = display, task, unit
        self._begun = time.monotonic()
        self._count = 0

    def advance(self, n: int = 1, **shown: float | str) -> None:
        self._count += n
        rate = _rate(self._count, self._begun, self._unit)
        fields = {"shown": _spelled(shown)} if shown else {}
        self._display.update(self._task, advance=n, rate=rate, **fields)


class _Lines:
    def __init__(self, total: int | None, description: str, unit: str, done: int) -> None:
        self._total, self._description, self._unit = total, description, unit
        self._begun = self._written = time.monotonic()
        self._done = done
        self._count = 0
        self._told = 0
        self._shown: dict[str, float | str] = {}

    def advance(self, n: int = 1, **shown: float | str) -> None:
        self._count += n
        self._shown.update(shown)
        if time.monotonic() - self._written >= _PLAIN_LINE_SECONDS:
            self.write()

    def finish(self) -> None:
        """Write where a loop that was slow enough for lines has ended."""
        if self._told != self._count and self._told:
            self.write()

    def write(self) -> None:
        now = self._written = time.monotonic()
        self._told, count = self._count, self._done + self._count
        of_total = "" if self._total is None else f"/{self._total}"
        parts = [f"{self._description}: {count}{of_total}", _rate(self._count, self._begun, self._unit)]
        if self._total and self._count and count < self._total:
            left = (now - self._begun) * (self._total - count) / self._count
            parts.append(f"{int(left // 60)}:{int(left % 60):02d} left")
        parts.append(_spelled(self._shown))
        print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)  # noqa: T201


def _rate(count: int, begun: float, unit: str) -> str:
    return f"{count / max(time.monotonic() - begun, 1e-9):.3g} {unit}/s"


def _spelled(shown: dict[str, float | str]) -> str:
    return " ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in shown.items()
    )
