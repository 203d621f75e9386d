"""Runs the benchmarks one after another, prints what they found, and writes it as JSON.

    python benchmarks/run.py                      all of them (the last one takes half an hour)
    python benchmarks/run.py startup mel          some of them

Leave the machine alone meanwhile. The results stand in docs/benchmarks.md with the commit they belong to.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = (
    "startup",
    "mel",
    "clip_statistics",
    "classical",
    "decode",
    "predict",
    "memory",
    "train",
    "stems",
    "segments",
    "sed",
    "esc10",
)


def main() -> None:
    """Run what is asked for; each result is on disk before the next benchmark begins."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], help="by default all")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KIKIWAKE_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "benchmarks.json")
    arguments = parser.parse_args()
    found: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    for name in arguments.names or NAMES:
        print(f"== {name}", flush=True)
        benchmark = importlib.import_module(name)
        started = time.perf_counter()
        wants_data = "data" in inspect.signature(benchmark.run).parameters
        result = benchmark.run(data=arguments.data) if wants_data else benchmark.run()
        found[name] = {"result": result, "seconds": time.perf_counter() - started, **circumstances()}
        print(json.dumps(result, indent=2, default=str), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=2, default=str))
    print(f"written to {arguments.out}")


def circumstances() -> dict[str, Any]:
    """Return where and on what a result was measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
