"""Trains several runs side by side, each in a process of its own that ends when this one does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kikiwake.files import write_text
from kikiwake.parallel import ending_with_parent

LAST_LINES = 12
"""Lines of a failed training's output that are shown."""

PATIENCE_SECONDS = 10.0


def train_apart(folders: Sequence[Path], *, jobs: int) -> Generator[tuple[Path, str | None], None, None]:
    """Train the run directories `folders`, `jobs` at a time; yield each when it ends, and why if it failed.

    Each holds its recipe. When the iterator is closed, or this process dies, the trainings under way are
    stopped, and can be gone on with.
    """
    waiting = list(folders)
    running: list[_Child] = []
    try:
        while waiting or running:
            ended = [child for child in running if child.process.poll() is not None]
            running = [child for child in running if child not in ended]
            while waiting and len(running) < jobs:
                running.append(_Child.start(waiting.pop(0)))
            for child in ended:
                yield child.folder, child.outcome()
            if not ended:
                time.sleep(0.1)
    finally:
        for child in running:
            child.stop()


@dataclass(eq=False)
class _Child:
    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path) -> _Child:
        with _console(folder).open("wb") as console:
            process = subprocess.Popen(  # noqa: S603 - our own command line
                _command(folder),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=ending_with_parent(signal.SIGTERM),
            )
        return cls(folder, process)

    def outcome(self) -> str | None:
        """Return why the training failed, with the last lines of its output, or None if it did not.

        The training has written its own log; of a failed one, all else that it said is added there.
        """
        console, status = _console(self.folder), self.process.returncode
        said = console.read_text(encoding="utf-8", errors="replace").splitlines()
        console.unlink()
        if status == 0:
            return None
        log = self.folder / "log.txt"
        logged = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        known = set(logged)
        write_text(log, "\n".join([*logged, *(line for line in said if line not in known), ""]))
        ending = f"exit status {status}" if status > 0 else f"killed by {signal.Signals(-status).name}"
        return "\n  ".join([f"{ending}; {log} ends with", *said[-LAST_LINES:]])

    def stop(self) -> None:
        """End the training and its loaders."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        _console(self.folder).unlink(missing_ok=True)


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "kikiwake", "train", str(folder / "recipe.yaml")]


def _console(folder: Path) -> Path:
    return folder / "console.txt"
