"""What all tests share: the folder of real audio, and silence from third-party loggers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def find_data_folder() -> Path | None:
    """The folder of real recordings: `KIKIWAKE_DATA`, else `shared/data` beside the project."""
    named = os.environ.get("KIKIWAKE_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def data_folder() -> Path:
    folder = find_data_folder()
    if folder is None:
        pytest.skip("no folder of real audio: set KIKIWAKE_DATA or put it at ../shared/data")
    return folder
