"""Pictures: that they are written whole, show what they are given, and survive awkward input."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kikiwake import figures
from kikiwake.errors import StorageError
from kikiwake.figures import _canvas, _timeline


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were made, to look at what stands in them."""
    made: list[Figure] = []
    original = _canvas.empty_figure

    def remember(width: float, height: float) -> Figure:
        made.append(original(width, height))
        return made[-1]

    for module in ("figures", "figures._curves", "figures._pseudo_labels", "figures._timeline"):
        monkeypatch.setattr(f"kikiwake.{module}.empty_figure", remember)
    return made


def words(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.read_bytes().endswith(
        b"IEND\xaeB`\x82"
    )


ROWS = [
    {"stage": "a", "epoch": "1", "learning_rate": "1e-3", "train_loss": "2.0", "validation_accuracy": "0.25"},
    {"stage": "a", "epoch": "2", "learning_rate": "1e-3", "train_loss": "1.0", "validation_accuracy": "0.75"},
    {"stage": "b", "epoch": "1", "learning_rate": "1e-6", "train_loss": "0.5", "validation_accuracy": "0.5"},
]


def test_training_curves_name_the_best_epoch_and_the_stages(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.training_curves(ROWS, tmp_path / "curves.png")
    assert is_png(tmp_path / "curves.png")
    assert "best validation accuracy 0.750 in epoch 2" in words(drawn[0])
    assert len(drawn[0].axes) == 3
    # One line a stage: the curve is broken where a stage begins.
    lengths = [len(line.get_xdata()) for line in drawn[0].axes[0].lines]  # type: ignore[arg-type]
    assert sorted(length for length in lengths if length != 2) == [1]
    assert drawn[0].axes[2].get_yscale() == "log"


def test_training_curves_need_no_validation_columns(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"stage": "train", "epoch": e, "learning_rate": 0.1, "train_loss": 1 / e} for e in (1, 2, 3)]
    figures.training_curves(rows, tmp_path / "curves.png")
    assert len(drawn[0].axes) == 2
    assert "3 epochs" in words(drawn[0])


@pytest.mark.parametrize(
    "rows", [[], [{"stage": "a", "epoch": "1", "train_loss": "", "learning_rate": None}]]
)
def test_training_curves_of_nothing_are_drawn_without_complaint(
    tmp_path: Path, rows: list[dict[str, float | str | None]]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.training_curves(rows, tmp_path / "curves.png")
    assert is_png(tmp_path / "curves.png")


def test_confusion_matrix_shows_counts_and_percent_of_the_true_class(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    figures.confusion_matrix(np.array([[3, 1], [0, 0]]), ["cat", "dog"], tmp_path / "confusion.png")
    text = words(drawn[0])
    assert "3\n75 %" in text
    assert "1\n25 %" in text
    assert "3 of 4 clips right (75.0 %)" in text
    colours = drawn[0].axes[0].images[0].get_array()
    assert colours is not None
    np.testing.assert_array_equal(np.ma.getmaskarray(colours), [[False, False], [True, True]])


def test_confusion_matrix_of_200_classes_names_each_and_writes_no_numbers(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    figures.confusion_matrix(np.eye(200), [f"class {k}" for k in range(200)], tmp_path / "confusion.png")
    assert is_png(tmp_path / "confusion.png")
    assert len(drawn[0].axes[0].get_yticklabels()) == 200
    assert not drawn[0].axes[0].texts
    assert max(drawn[0].get_size_inches()) < 32


def test_reliability_diagram_computes_the_expected_calibration_error(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    nan = float("nan")
    figures.reliability_diagram(
        np.array([0.0, 0.25, 0.75, 1.0]),
        np.array([0, 30, 10]),
        np.array([nan, 0.5, 0.9]),
        np.array([nan, 0.4, 1.0]),
        tmp_path / "reliability.png",
    )
    # 0.75 * |0.4 - 0.5| + 0.25 * |1.0 - 0.9| = 0.1; on average 0.75 * -0.1 + 0.25 * 0.1 = -0.05.
    assert "Expected calibration error 0.100; too sure" in words(drawn[0])


def test_class_scores_are_sorted_and_a_class_without_clips_comes_last(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    figures.class_scores(
        ["low", "none", "high"],
        [0.25, float("nan"), 0.75],
        [(0.1, 0.4), None, (0.6, 0.9)],
        tmp_path / "scores.png",
        score="F1 score",
    )
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["high", "low", "none"]
    assert "F1 score of each class; mean 0.500" in words(drawn[0])
    assert "no clips" in words(drawn[0])


def test_spectrogram_finds_a_tone_at_its_frequency() -> None:
    sample_rate, hertz = 16_000, 2_000
    tone = np.sin(2 * np.pi * hertz * np.arange(sample_rate) / sample_rate).astype(np.float32)
    level = _timeline.decibels(tone, sample_rate)
    loudest = level[:, level.shape[1] // 2].argmax()
    assert loudest * (sample_rate / 2) / (level.shape[0] - 1) == pytest.approx(hertz, abs=40)
    assert level.max() == pytest.approx(0, abs=1e-4)


def test_a_click_stays_visible_in_a_long_recording() -> None:
    waveform = np.zeros(20 * 60 * 8_000, dtype=np.float32)
    waveform[3_000_000] = 1
    level = _timeline.decibels(waveform, 8_000)
    assert level.shape[1] <= 1600
    loud = np.flatnonzero(level.max(axis=0) > -1)
    assert loud / level.shape[1] == pytest.approx(3_000_000 / len(waveform), abs=2 / 1600)


def test_overlapping_windows_are_averaged_and_gaps_stay_empty() -> None:
    limits, means = _timeline._mean_over_windows(
        np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0, 6.0]), np.array([[0.2], [0.6], [1.0]])
    )
    np.testing.assert_array_equal(limits, [0, 1, 2, 3, 5, 6])
    np.testing.assert_allclose(means[:, 0], [0.2, 0.4, 0.6, np.nan, 1.0])


def test_predictions_over_time_outline_the_truth_in_its_class_band(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    figures.predictions_over_time(
        np.zeros(8_000, dtype=np.float32),
        1_000,
        np.arange(4) * 2.0,
        np.arange(4) * 2.0 + 2,
        np.eye(4)[:, :2],
        ["frog", "owl"],
        tmp_path / "timeline.png",
        truth=[(2.5, 3.5, "owl"), (0.0, 1.0, "not a class")],
    )
    assert is_png(tmp_path / "timeline.png")
    boxes = [box for box in drawn[0].axes[1].patches if isinstance(box, Rectangle)]
    assert [(box.get_x(), box.get_width()) for box in boxes] == [(2.5, 1.0)]
    assert 1 < boxes[0].get_y() < 2


def test_of_many_classes_the_true_and_the_most_probable_are_shown(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    probabilities = np.zeros((1, 50))
    probabilities[0, 30:] = 0.9
    figures.predictions_over_time(
        np.ones(100, dtype=np.float32),
        100,
        np.array([0.0]),
        np.array([1.0]),
        probabilities,
        [f"c{k}" for k in range(50)],
        tmp_path / "timeline.png",
        truth=[(0.0, 1.0, "c3")],
    )
    shown = [label.get_text() for label in drawn[0].axes[1].get_yticklabels()]
    assert len(shown) == 20
    assert shown[:2] == ["c3", "c30"]


def test_no_predictions_and_a_silent_recording_are_drawn(tmp_path: Path) -> None:
    empty = np.zeros(0)
    figures.predictions_over_time(
        np.zeros(10, dtype=np.float32), 100, empty, empty, np.zeros((0, 2)), ["a", "b"], tmp_path / "t.png"
    )
    figures.spectrogram(np.zeros(1, dtype=np.float32), 44_100, tmp_path / "s.png", events=[(0, 1, "a")])
    assert is_png(tmp_path / "t.png")
    assert is_png(tmp_path / "s.png")


@pytest.mark.parametrize(
    "name", ["$x^{$", "_hidden", "line\nbreak", "tab\t", "a" * 300, "", "海の波", "\udcff"]
)
def test_awkward_class_names_can_be_drawn(tmp_path: Path, name: str) -> None:
    figures.class_scores([name, "b"], [0.5, 0.5], [None, None], tmp_path / "scores.png")
    figures.confusion_matrix(np.eye(2), [name, "b"], tmp_path / "confusion.png")
    assert is_png(tmp_path / "scores.png")


def test_japanese_names_are_drawn_where_a_font_has_them(tmp_path: Path) -> None:
    if not _canvas._cjk_families():
        pytest.skip("no Japanese font on this machine")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figures.class_scores(["海の波", "にわとり"], [0.5, 0.4], [None, None], tmp_path / "scores.png")
    assert not [warning for warning in caught if re.search("Glyph", str(warning.message))]


def test_the_same_picture_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        figures.training_curves(ROWS, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_path_that_cannot_be_written_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "scores.png").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        figures.class_scores(["a"], [0.5], [None], tmp_path / "scores.png")
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.png"]


def test_pictures_leave_matplotlibs_global_settings_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.training_curves(ROWS, tmp_path / "curves.png")
    assert dict(mpl.rcParams) == before


def test_pseudo_labels_are_drawn_beside_real_clips_with_what_they_did(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    figures.pseudo_labels(
        tmp_path / "pseudo.png",
        classes={"frog": (10, 3), "owl": (20, 0)},
        confidence=([0.0, 0.5, 1.0], [4, 8]),
        thresholds={"keep": 0.6, "train": 0.7},
        teachers=["a", "b", "c"],
        same_best={(0, 1): 0.5, (0, 2): 0.75, (1, 2): None},
        correlation=0.25,
        scores={"accuracy": ([0.5, 0.75], 0.875), "macro_f1": ([0.5], None)},
    )
    assert is_png(tmp_path / "pseudo.png")
    written = words(drawn[0])
    for text in ("real clips (30)", "pseudo labels (3)", "Confidence of 12 windows", "keep 0.6", "train 0.7"):
        assert text in written
    assert "same best class; mean 62%, correlation 0.25" in written
    assert "before and after" in written
    bars = [patch.get_width() for patch in drawn[0].axes[-1].patches if isinstance(patch, Rectangle)]
    assert bars == [10, 20, 3, 0]
    diamonds = [line.get_xdata() for line in drawn[0].axes[2].lines if line.get_marker() == "D"]
    assert np.array(diamonds).tolist() == [[0.875]]


def test_pseudo_labels_of_one_teacher_that_nobody_judged_are_drawn(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    figures.pseudo_labels(
        tmp_path / "pseudo.png",
        classes={f"bird {k}": (k, 0) for k in range(50)},
        confidence=([0.0, 1.0], [0]),
        thresholds={"keep": 0.6, "train": 0.7},
        teachers=["a"],
        same_best={},
        correlation=None,
        scores={},
    )
    assert is_png(tmp_path / "pseudo.png")
    assert "no window was heard by two teachers" in words(drawn[0])
    assert "no teacher was evaluated" in words(drawn[0])
