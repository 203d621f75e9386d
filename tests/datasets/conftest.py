from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

Tone = Callable[..., Path]


@pytest.fixture
def tone(tmp_path: Path) -> Tone:
    """Writes a tone under a name below `tmp_path`."""

    def write(name: str, *, seconds: float = 0.1, sample_rate: int = 8000, level: float = 0.1) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * sample_rate)) / sample_rate
        soundfile.write(path, level * np.sin(2 * np.pi * 440 * time), sample_rate)
        return path

    return write
