"""Predictions are drawn over the recording that they are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kikiwake.drawing import draw
from kikiwake.errors import AudioError, ManifestError
from kikiwake.predictions import Predictions


@pytest.fixture
def heard(tmp_path: Path) -> Path:
    """Two recordings of one name in two folders, and what was predicted of each."""
    paths = [tmp_path / site / "night.wav" for site in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 8000), 8000)
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    table = Predictions(
        [str(paths[0])] * 2 + [str(paths[1])] * 2,
        np.array([0.0, 0.5, 0.0, 0.5]),
        np.array([0.5, 1.0, 0.5, 1.0]),
        np.concatenate([probabilities, 1 - probabilities]),
        ["owl", "frog"],
    )
    table.write(tmp_path / "heard.csv")
    (tmp_path / "truth.csv").write_text(
        "filename,start,end,label\nnight.wav,0.1,0.4,owl\nnight.wav,0.6,0.9,owl\nother.wav,0,1,owl\n"
    )
    return tmp_path


def test_events_are_judged_by_the_windows_over_them(heard):
    one, other = (
        draw(
            heard / site / "night.wav",
            heard / "heard.csv",
            heard / f"{site}.png",
            truth=heard / "truth.csv",
        )
        for site in ("a", "b")
    )
    assert (one.right, one.events) == (1, 2)
    assert (other.right, other.events) == (1, 2)
    assert (heard / "a.png").read_bytes() != (heard / "b.png").read_bytes()


def test_a_name_that_two_recordings_have_is_not_guessed(heard, tmp_path):
    (heard / "night.wav").write_bytes((heard / "a" / "night.wav").read_bytes())
    with pytest.raises(ManifestError, match="2 recordings in it are called night"):
        draw(heard / "night.wav", heard / "heard.csv", heard / "p.png")
    soundfile.write(heard / "day.wav", np.zeros(8000), 8000)
    with pytest.raises(ManifestError, match="no recordings in it are called day"):
        draw(heard / "day.wav", heard / "heard.csv", heard / "p.png")


def test_tables_and_recordings_that_are_not_there_are_told(heard):
    with pytest.raises(AudioError):
        draw(heard / "nope.wav", heard / "heard.csv", heard / "p.png")
    with pytest.raises(ManifestError, match="no such table"):
        draw(heard / "a" / "night.wav", heard / "nope.csv", heard / "p.png")
    with pytest.raises(ManifestError, match="not a table of predictions"):
        draw(heard / "a" / "night.wav", heard / "truth.csv", heard / "p.png")
    with pytest.raises(ManifestError, match="lacks the columns"):
        draw(heard / "a" / "night.wav", heard / "heard.csv", heard / "p.png", truth=heard / "heard.csv")
