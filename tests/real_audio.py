"""Where the real recordings are that some tests use."""

from __future__ import annotations

import os
from pathlib import Path


def find_data_folder() -> Path | None:
    """The folder of real recordings: `KIKIWAKE_DATA`, else `shared/data` beside the project."""
    named = os.environ.get("KIKIWAKE_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None
