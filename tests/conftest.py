"""What all tests share: the folder of real recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from real_audio import find_data_folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    folder = find_data_folder()
    if folder is None:
        pytest.skip("no folder of real audio: set KIKIWAKE_DATA or put it at ../shared/data")
    return folder
