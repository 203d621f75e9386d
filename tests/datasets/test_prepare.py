from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kikiwake.datasets import _examine, prepare
from kikiwake.datasets._examine import BLOCK, examine
from kikiwake.errors import ManifestError, RecipeError
from kikiwake.manifest import Manifest
from kikiwake.parallel import Result

Tone = Callable[..., Path]


def quarantined(out: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of the quarantine list by path."""
    rows: dict[str, list[dict[str, str]]] = {}
    with out.with_name(f"{out.stem}.quarantine.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["path"], []).append(row)
    return rows


@pytest.fixture
def animals(tone: Tone, tmp_path: Path) -> Path:
    for name in ("dog", "cat"):
        for number in range(5):
            tone(f"animals/{name}/{number}.wav", seconds=0.1 + 0.01 * number)
    return tmp_path / "animals"


def test_a_folder_of_classes_becomes_a_manifest_in_folds(animals: Path, tmp_path: Path) -> None:
    summary = prepare(animals, tmp_path / "clips.csv", workers=0)
    manifest = Manifest.read(tmp_path / "clips.csv")
    assert manifest.classes == ["cat", "dog"]
    assert [clip.frames for clip in manifest][:3] == [800, 880, 960]
    assert sorted((clip.fold, clip.label) for clip in manifest) == [
        (f, n) for f in range(1, 6) for n in ("cat", "dog")
    ]
    assert (summary.clips, summary.classes, summary.quarantined, summary.folds) == (10, 2, 0, [1, 2, 3, 4, 5])
    assert "10 clips of 2 classes in 10 recordings" in str(summary)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "animals",
        "clips.csv",
        "clips.quarantine.csv",
    ]


def test_child_processes_find_the_same_and_the_seed_decides_the_folds(animals: Path, tmp_path: Path) -> None:
    for name, workers, seed in (("a", 0, 0), ("b", 2, 0), ("c", 0, 1)):
        prepare(animals, tmp_path / name / "clips.csv", workers=workers, seed=seed)
    here, children, other = ((tmp_path / name / "clips.csv").read_bytes() for name in "abc")
    assert here == children
    assert here != other


def test_every_file_of_an_odd_tree_is_accounted_for(data_folder: Path, tmp_path: Path) -> None:
    root, out = data_folder / "odd", tmp_path / "odd.csv"
    options = {"label_column": "category", "path_column": "file"}
    summary = prepare(root, out, dataset="table", workers=2, folds=None, options=options)
    kept = {str(clip.path) for clip in Manifest.read(out)}
    rows = quarantined(out)
    aside = {path for path, found in rows.items() if {row["kind"] for row in found} & {"error", "skipped"}}
    tree = {str(path) for path in root.rglob("*") if path.is_file()}
    assert kept.isdisjoint(aside)
    assert (kept | aside | {str(root / "odd.csv")}) & tree == tree

    with (root / "odd.csv").open(encoding="utf-8") as file:
        expected = {row["file"]: row for row in csv.DictReader(file)}
    for name, row in expected.items():
        path = str(root / "files" / name)
        if row["category"] == "name":
            assert "missing" in rows[name][0]["reason"]
        elif row["expected"] == "ok":
            assert path in kept, name
        elif row["expected"] in ("error", "empty"):
            assert path in aside or name in rows, name
        elif row["expected"] == "partial":
            assert path in kept, name
    kinds = [row["kind"] for found in rows.values() for row in found]
    assert summary.counts == {kind: kinds.count(kind) for kind in set(kinds)}
    for name, kind, words in [
        ("wav_truncated_half.wav", "partial", "50%"),
        ("sig_silence.wav", "warning", "silent"),
        ("sig_dc.wav", "warning", "constant: every sample is 0.5"),
        ("sig_antiphase.wav", "warning", "cancel"),
        ("sig_inf.wav", "warning", "10 NaN or infinite samples"),
        ("sig_all_nan.wav", "error", "nothing but NaN"),
    ]:
        found = rows[str(root / "files" / name)]
        assert any(row["kind"] == kind and words in row["reason"] for row in found), name
    assert "missing" in rows["directory.wav"][0]["reason"]  # there is only a folder of this name
    assert rows[str(root / "files" / "wav_truncated_half.wav")][0]["offset_seconds"] == "0.500"


def test_what_is_no_recording_of_a_class_is_listed_with_its_reason(animals: Path, tone: Tone) -> None:
    (animals / "readme.txt").write_text("hello")
    (animals / "LICENSE").write_text("hello")
    (animals / "dog" / "._0.wav").write_bytes(b"\0\5\26\7")
    (animals / ".git").mkdir()
    (animals / ".git" / "config").write_text("hello")
    tone("animals/stray.wav")
    (animals / "dog" / "text.wav").write_text("hello")
    (animals / "dog" / "gone.wav").symlink_to(animals / "nowhere.wav")
    os.mkfifo(animals / "dog" / "pipe.wav")
    out = animals / "clips.csv"
    for _ in range(2):  # the second time kikiwake's own files lie in the tree
        summary = prepare(animals, out, workers=0)
        found = {path: (rows[0]["kind"], rows[0]["reason"]) for path, rows in quarantined(out).items()}
        assert found.pop("dog/text.wav")[0] == "error"
        assert found == {
            "readme.txt": ("skipped", "not audio: .txt"),
            "LICENSE": ("skipped", "not audio: no suffix"),
            "dog/._0.wav": ("skipped", "what macOS adds beside a file (AppleDouble), no recording"),
            ".git/config": ("skipped", "hidden"),
            "stray.wav": ("skipped", "not in a class folder"),
            "dog/gone.wav": ("error", "is a link to nothing"),
            "dog/pipe.wav": ("error", "is not a file"),
        }
        assert (summary.clips, summary.quarantined) == (10, 3)


def test_names_of_any_kind_are_kept_or_listed(tone: Tone, tmp_path: Path) -> None:
    names = [
        "name with spaces.wav",
        "日本語.wav",
        "quote's.wav",
        "comma,semicolon;.wav",
        "-dash.wav",
        "new\nline.wav",
    ]
    for name in names:
        tone(f"root/dog/{name}")
    shutil.copy(tone("root/cat/a.wav"), os.fsencode(tmp_path / "root" / "cat") + b"/bad\xff.wav")
    summary = prepare(tmp_path / "root", tmp_path / "clips.csv", workers=0)
    assert {clip.path.name for clip in Manifest.read(tmp_path / "clips.csv")} == {*names, "a.wav"}
    assert "not valid Unicode" in quarantined(tmp_path / "clips.csv")["root/cat/bad\\xff.wav"][0]["reason"]
    assert summary.quarantined == 1


def test_stretches_outside_their_recording_are_listed_and_long_clips_cut(tone: Tone, tmp_path: Path) -> None:
    tone("root/a.wav", seconds=2.0)
    (tmp_path / "root" / "t.csv").write_text(
        "file,label,start,end\na.wav,dog,0,1\na.wav,cat,1.5,9\na.wav,cat,2,3\na.wav,dog,,\n"
    )
    out = tmp_path / "clips.csv"
    prepare(tmp_path / "root", out, dataset="table", workers=0, options={"clip_seconds": 0.75})
    stretches = [(clip.start, clip.end, clip.duration_seconds) for clip in Manifest.read(out)]
    assert stretches == [(0.0, 0.75, 0.75), (1.5, 9.0, 0.5)]
    rows = [(row["kind"], row["offset_seconds"]) for row in quarantined(out)["root/a.wav"]]
    assert rows == [("error", "2.000"), ("warning", "0.000"), ("warning", "9.000")]


def test_labels_that_stand_nowhere_alone_are_left_out_with_a_note(tone: Tone, tmp_path: Path) -> None:
    tone("root/a.wav")
    tone("root/b.wav")
    (tmp_path / "root" / "t.csv").write_text("file,label,secondary\na.wav,dog,cat;owl\nb.wav,cat,\n")
    summary = prepare(tmp_path / "root", tmp_path / "clips.csv", dataset="table", workers=0, folds=None)
    assert [clip.secondary for clip in Manifest.read(tmp_path / "clips.csv")] == [("cat",), ()]
    assert any("'owl'" in note for note in summary.notes)


def test_folds_that_cannot_be_made_and_scarce_classes_are_notes(tone: Tone, tmp_path: Path) -> None:
    for name in ("dog/1", "dog/2", "dog/3", "cat/1"):
        tone(f"root/{name}.wav")
    out = tmp_path / "clips.csv"
    assert any(
        "4 groups cannot fill 5 folds" in note for note in prepare(tmp_path / "root", out, workers=0).notes
    )
    summary = prepare(tmp_path / "root", out, workers=0, folds=3)
    assert any(note.startswith("class 'cat' has 1 group for 3 folds") for note in summary.notes)
    assert Manifest.read(out).folds() == [1, 2, 3]


def test_the_layout_is_recognised_or_asked_for(tone: Tone, tmp_path: Path, data_folder: Path) -> None:
    tone("flat/a.wav")
    with pytest.raises(ManifestError, match="or name the data set with --dataset"):
        prepare(tmp_path / "flat", tmp_path / "clips.csv")
    with pytest.raises(ManifestError, match="no such folder"):
        prepare(tmp_path / "gone", tmp_path / "clips.csv")
    with pytest.raises(RecipeError, match="did you mean 'folder'"):
        prepare(tmp_path / "flat", tmp_path / "clips.csv", dataset="foldr")
    with pytest.raises(RecipeError, match="did you mean 'group_pattern'"):
        prepare(tmp_path / "flat", tmp_path / "clips.csv", dataset="folder", options={"group_patern": "x"})


def test_a_tree_in_which_nothing_can_be_read_is_an_error_after_the_list_is_written(tmp_path: Path) -> None:
    (tmp_path / "root" / "dog").mkdir(parents=True)
    (tmp_path / "root" / "dog" / "text.wav").write_text("hello")
    with pytest.raises(ManifestError, match=r"clips\.quarantine\.csv"):
        prepare(tmp_path / "root", tmp_path / "clips.csv", workers=0)
    assert quarantined(tmp_path / "clips.csv")["root/dog/text.wav"][0]["kind"] == "error"


def test_the_table_that_describes_the_clips_is_never_overwritten(tone: Tone, tmp_path: Path) -> None:
    tone("root/a.wav")
    path = tmp_path / "root" / "t.csv"
    path.write_text("file,label\na.wav,dog\n")
    with pytest.raises(ManifestError, match="would be overwritten"):
        prepare(tmp_path / "root", path, dataset="table", workers=0)
    assert path.read_text().startswith("file,label")


def test_real_esc10_clips_are_cut_to_five_seconds_in_their_official_folds(
    data_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "esc10"
    (root / "audio").mkdir(parents=True)
    lines = (data_folder / "esc10" / "esc10.csv").read_text(encoding="utf-8").splitlines()
    chosen = [lines[0], *lines[1::20]]
    (root / "esc10.csv").write_text("\n".join(chosen), encoding="utf-8")
    for line in chosen[1:]:
        name = line.split(",")[0]
        (root / "audio" / name).symlink_to(data_folder / "esc10" / "audio" / name)
    summary = prepare(root, tmp_path / "clips.csv", workers=2, options={"clip_seconds": 5.0})
    assert "esc50" in summary.notes[0]
    manifest = Manifest.read(tmp_path / "clips.csv")
    assert len(manifest) == 20
    assert all(clip.fold == int(clip.path.name[0]) for clip in manifest)
    assert max(clip.duration_seconds for clip in manifest) == 5.0
    assert any(clip.end is None for clip in manifest)  # shorter than five seconds, or just as long


def test_a_recording_whose_decoder_dies_fails_alone(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def map_dying(
        function: Callable[..., object], items: list[Path], **_: object
    ) -> Iterator[tuple[Path, object]]:
        for path in items:
            died = Result[object](error="the process working on it died (killed by signal 11)", crashed=True)
            yield path, died if path.match("dog/3.wav") else Result(value=function(path))

    monkeypatch.setattr(_examine, "map_isolated", map_dying)
    summary = prepare(animals, tmp_path / "clips.csv", folds=4)
    assert (summary.clips, summary.quarantined) == (9, 1)
    (row,) = quarantined(tmp_path / "clips.csv")["animals/dog/3.wav"]
    assert row["kind"] == "error"
    assert "killed by signal 11" in row["reason"]


def test_a_long_recording_is_decoded_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(30 * 8000, np.int16), 8000)
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(_examine._Levels, "add", lambda self, block: shapes.append(block.shape))
    assert examine(path).frames == 30 * 8000
    assert all(shape[1] <= BLOCK for shape in shapes)
    assert len(shapes) == -(-30 * 8000 // BLOCK)


SLOW = """
import sys, time
from kikiwake.datasets import _examine, prepare
if __name__ == "__main__":
    read = _examine.examine
    def slowly(path):
        time.sleep(0.02)
        return read(path)
    _examine.examine = slowly
    prepare(sys.argv[1], sys.argv[2], workers=0, folds=None)
"""


def test_killed_at_any_point_it_goes_on_and_ends_with_the_same_bytes(animals: Path, tmp_path: Path) -> None:
    for number in range(5, 30):
        shutil.copy(animals / "dog" / "0.wav", animals / "dog" / f"{number}.wav")
    (animals / "dog" / "text.wav").write_text("hello")
    prepare(animals, tmp_path / "undisturbed" / "clips.csv", workers=0, folds=None)

    out = tmp_path / "killed" / "clips.csv"
    journal = out.with_name(".clips.csv.journal")
    command = [sys.executable, "-c", SLOW, str(animals), str(out)]
    chance = random.Random(0)
    for _ in range(2):
        noted = journal.stat().st_size if journal.exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not journal.exists() or journal.stat().st_size <= noted):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    with journal.open("ab") as file:
        file.write(b'[["0.1.0", "/cut')
    noted = journal.read_bytes().count(b".wav")
    assert 3 <= noted < 36
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)

    for name in ("clips.csv", "clips.quarantine.csv"):
        expected = (tmp_path / "undisturbed" / name).read_bytes()
        assert (tmp_path / "killed" / name).read_bytes() == expected
    assert not journal.exists()


def test_what_the_journal_holds_is_not_read_again_unless_the_file_changed(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal"
    paths = sorted(animals.rglob("*.wav"))
    settings = {"journal": journal, "workers": 0, "timeout_seconds": 60.0, "memory_bytes": 1 << 32}
    first = _examine.examine_all(paths, **settings)  # type: ignore[arg-type]
    soundfile.write(paths[3], np.ones(5), 8000)
    seen: list[Path] = []
    monkeypatch.setattr(_examine, "examine", lambda path: (seen.append(path), examine(path))[1])
    second = _examine.examine_all(paths, **settings)  # type: ignore[arg-type]
    assert seen == [paths[3]]
    assert second[paths[3]].frames == 5
    assert {path for path in paths if first[path] == second[path]} == {*paths} - {paths[3]}
