"""ESC-10, five official folds, no pretrained weights: accuracy and time of `kikiwake crossval esc10`."""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from kikiwake.crossvalidation import crossvalidate
from kikiwake.datasets import prepare


def run(*, data: Path, folder: Path | None = None, jobs: int = 2) -> dict[str, Any]:
    """Return accuracies of all folds, their mean, and the minutes it took from nothing but the recordings.

    `folder`: where the runs are kept; None forgets them.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = folder or Path(scratch)
        started = time.perf_counter()
        manifest = place / "esc10.csv"
        prepare(data / "esc10", manifest, dataset="esc50", workers=2, options={"clip_seconds": 5})
        crossvalidate(
            "esc10",
            f"data.manifest={manifest}",
            f"data.cache_folder={place / 'cache'}",
            f"run={place / 'run'}",
            jobs=jobs,
        )
        minutes = (time.perf_counter() - started) / 60
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = json.loads((place / "run" / "summary.json").read_text())
        cpu_minutes = (used.ru_utime + used.ru_stime) / 60
        return {"minutes": minutes, "cpu_minutes": cpu_minutes, "summary": summary, "at least": 0.88}


def main() -> None:
    """Print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KIKIWAKE_DATA", "../shared/data")))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    print(json.dumps(run(data=arguments.data, folder=arguments.folder, jobs=arguments.jobs), indent=2))


if __name__ == "__main__":
    main()
