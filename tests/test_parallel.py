"""One item fails alone: crash, hang, kill, memory, exceptions, values; order and bounds are kept."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kikiwake import parallel
from kikiwake.errors import AudioError, KikiwakeError
from kikiwake.parallel import Result, map_isolated, progress


class CannotTravelError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("needs two")


def act(order: str) -> str | int:
    """What a worker is told to do, by name."""
    if order == "exit":
        os._exit(3)
    if order == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "hang":
        time.sleep(600)
    if order == "say and hang":
        os.write(1, b"here\n")
        time.sleep(600)
    if order == "audio":
        raise AudioError("holds no samples", where="a.wav", value=0, remedy="record again")
    if order == "bug":
        raise TypeError("a bug in the caller's function")
    if order == "cannot travel":
        raise CannotTravelError(1, 2)
    if order == "unpicklable":
        return lambda: None  # type: ignore[return-value]
    if order == "memory":
        return len(np.empty(1 << 31, np.uint8))
    if order == "pid":
        return os.getpid()
    if order == "set up":
        return os.environ.get("KIKIWAKE_TEST_SET_UP", "no")
    if order.startswith("slow"):
        time.sleep(0.2)
    return order.upper()


def set_up(value: str) -> None:
    os.environ["KIKIWAKE_TEST_SET_UP"] = value


def die() -> None:
    os._exit(1)


def collect(orders: list[str], **options: object) -> list[Result]:
    options = {"workers": 2, **options}
    pairs = list(map_isolated(act, orders, **options))
    assert [order for order, _ in pairs] == orders
    return [result for _, result in pairs]


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_worker_that_dies_fails_its_item_alone(how: str) -> None:
    results = collect(["a", how, "b", "c", how, "d"])
    assert [result.value for result in results] == ["A", None, "B", "C", None, "D"]
    assert [result.crashed for result in results] == [False, True, False, False, True, False]
    assert ("exit status 3" if how == "exit" else "signal 9") in results[1].error
    assert [result.starved for result in results] == [
        False,
        how == "kill",
        False,
        False,
        how == "kill",
        False,
    ]
    with pytest.raises(KikiwakeError, match="died"):
        results[1].get()


def test_an_item_that_hangs_is_stopped_and_fails_alone() -> None:
    begun = time.monotonic()
    results = collect(["a", "hang", "b"], timeout_seconds=1.0)
    assert time.monotonic() - begun < 20
    assert [result.value for result in results] == ["A", None, "B"]
    assert results[1].crashed
    assert "longer than 1 s" in results[1].error


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_come_back_the_same_from_a_worker_and_from_this_process(workers: int) -> None:
    audio, bug, foreign, well = collect(["audio", "bug", "cannot travel", "a"], workers=workers)
    assert audio.error == "a.wav: holds no samples (got 0); record again"
    assert not audio.crashed
    with pytest.raises(AudioError, match="holds no samples"):
        audio.get()
    assert "Traceback" in bug.error
    assert "in act" in bug.error
    with pytest.raises(TypeError, match="a bug"):
        bug.get()
    assert "needs two" in foreign.error
    assert foreign.exception is None
    assert well.get() == "A"


def test_a_value_that_cannot_be_sent_fails_alone() -> None:
    first, second, third = collect(["a", "unpicklable", "b"])
    assert (first.value, third.value) == ("A", "B")
    assert "cannot be passed between processes" in second.error


def test_a_greedy_item_fails_alone_under_a_memory_limit() -> None:
    greedy, modest = collect(["memory", "a"], workers=1, memory_bytes=1 << 30)
    assert "memory" in greedy.error
    assert not greedy.crashed
    assert modest.value == "A"
    assert collect(["memory"], workers=1)[0].value == 1 << 31


@pytest.mark.parametrize("workers", [0, 1])
def test_initializer_runs_in_each_worker(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIKIWAKE_TEST_SET_UP", "outside")
    assert collect(["set up"], workers=workers, initializer=set_up, initargs=("yes",))[0].value == "yes"


def test_order_is_kept_when_later_items_are_faster() -> None:
    assert [result.value for result in collect(["slow", "a", "b", "slow2", "c"])] == [
        "SLOW",
        "A",
        "B",
        "SLOW2",
        "C",
    ]


def test_an_endless_iterator_is_read_only_a_little_ahead() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield f"item {number}"

    results = map_isolated(act, endless(), workers=2)
    values = [result.value for _, result in itertools.islice(results, 20)]
    results.close()
    assert values == [f"ITEM {number}" for number in range(20)]
    assert taken <= 20 + parallel._AHEAD * 2


def test_a_worker_killed_between_items_loses_nothing() -> None:
    def orders() -> Iterator[str]:
        yield "pid"
        yield from ["a"] * 10

    results = map_isolated(act, orders(), workers=1)
    _, first = next(results)
    time.sleep(0.5)
    os.kill(first.value, signal.SIGKILL)
    assert [result.value for _, result in results] == ["A"] * 10


def test_workers_that_cannot_start_are_one_clear_error() -> None:
    with pytest.raises(KikiwakeError, match="die before they begin"):
        collect(["a"], workers=1, initializer=die)


def test_workers_are_gone_when_the_loop_is_left() -> None:
    results = map_isolated(act, ["pid", "hang"], workers=1)
    _, first = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first.value, 0)


def test_interrupting_stops_at_once() -> None:
    script = (
        "from test_parallel import act\nfrom kikiwake.parallel import map_isolated\n"
        "if __name__ == '__main__':\n"
        "    list(map_isolated(act, ['say and hang'] * 2, workers=2))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore interrupts, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert [child.stdout.readline() for _ in range(2)] == ["here\n"] * 2
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode in (1, -signal.SIGINT, 130)
    assert "KeyboardInterrupt" in said


def test_progress_writes_plain_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(parallel.time, "monotonic", lambda: now)
    with progress(40, description="train", unit="clips") as shown:
        shown.advance(10)
        now = 110.0
        shown.advance(10, loss=0.51234567, stage="first")
        now = 120.0
        shown.advance(20, loss=0.25)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: 20/40, 2 clips/s, 0:10 left, loss 0.5123 stage first"
    assert lines[1:] == ["train: 40/40, 2 clips/s, loss 0.25 stage first"]


def test_what_was_done_before_an_interruption_counts_but_is_no_speed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(parallel.time, "monotonic", lambda: now)
    with progress(40, description="train", unit="clips", done=20) as shown:
        now = 110.0
        shown.advance(10)
    assert capsys.readouterr().err == "train: 30/40, 1 clips/s, 0:10 left\n"


def test_a_loop_that_ends_at_once_writes_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2, description="train", unit="clips") as shown:
        shown.advance(2)
    assert capsys.readouterr().err == ""


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2, description="train", unit="clips", quiet=True) as shown:
        shown.advance(2, loss=0.5)
    assert capsys.readouterr() == ("", "")


def test_progress_draws_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    with progress(2, description="decode", unit="files") as shown:
        shown.advance()
        shown.advance(score=0.875)
    said = capsys.readouterr().err
    assert "decode" in said
    assert "2/2" in said
    assert "files/s" in said
    assert "score 0.875" in said


def test_importing_the_room_does_not_import_rich_or_pebble() -> None:
    code = (
        "import sys, kikiwake.parallel; print([m for m in ('rich', 'pebble', 'torch') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
