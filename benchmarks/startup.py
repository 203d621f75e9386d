"""How long `kikiwake --help` takes beside `python -c pass`."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import Any


def seconds(command: list[str]) -> float:
    """Return how long a command takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def run(*, repetitions: int = 15) -> dict[str, Any]:
    """Return the medians of both commands, run in turns, and their difference in seconds."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "kikiwake --help": [sys.executable, "-m", "kikiwake", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            times[name].append(seconds(command))
    medians = {name: median(values) for name, values in times.items()}
    return {**medians, "difference": medians["kikiwake --help"] - medians["python -c pass"], "at most": 0.25}


def main() -> None:
    """Print the table."""
    for name, value in run().items():
        print(f"{name:20} {value:.3f} s")


if __name__ == "__main__":
    main()
