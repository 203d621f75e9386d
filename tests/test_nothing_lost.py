"""No command writes over what somebody else made."""

from __future__ import annotations

import stat

import pytest

import toys
from kikiwake.crossvalidation import crossvalidate
from kikiwake.datasets import prepare
from kikiwake.errors import KikiwakeError, ManifestError, RunError, StorageError
from kikiwake.files import replace_atomically
from kikiwake.prediction import predict
from kikiwake.ranking import write_ranked
from kikiwake.run import Run
from kikiwake.training import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("kept")
    manifest = toys.write_tones(folder / "tones")
    return train(toys.toy_recipe(manifest, folder / "run"))


def test_prepare_does_not_replace_what_is_no_manifest(tmp_path):
    toys.write_tones(tmp_path / "sounds" / "tone")
    notes = tmp_path / "notes.csv"
    notes.write_text("my,notes\n")
    with pytest.raises(StorageError, match="no manifest, and it would be lost"):
        prepare(tmp_path / "sounds", notes, dataset="folder", workers=0)
    assert notes.read_text() == "my,notes\n"
    recording = tmp_path / "sounds" / "tone" / "high_0.wav"
    before = recording.read_bytes()
    with pytest.raises(ManifestError, match=r"ends in \.csv"):
        prepare(tmp_path / "sounds", recording, dataset="folder", workers=0)
    assert recording.read_bytes() == before
    with pytest.raises(ManifestError, match="workers"):
        prepare(tmp_path / "sounds", tmp_path / "clips.csv", dataset="folder", workers=-1)
    with pytest.raises(ManifestError, match="at least 2 folds"):
        prepare(tmp_path / "sounds", tmp_path / "clips.csv", dataset="folder", workers=0, folds=1)


def test_predict_replaces_neither_a_manifest_nor_a_table_for_a_name_mistyped(trained, tmp_path):
    manifest = tmp_path / "clips.csv"
    manifest.write_bytes((trained.folder / "manifest.csv").read_bytes())
    tone = trained.manifest[0].path
    with pytest.raises(StorageError, match="no table of predictions"):
        predict(trained.folder, tone, out=manifest, workers=0)
    predict(trained.folder, tone, out=tmp_path / "p.csv", workers=0)
    before = (tmp_path / "p.csv").read_bytes()
    with pytest.raises(KikiwakeError, match="no such file"):
        predict(trained.folder, tmp_path / "nope.wav", out=tmp_path / "p.csv", workers=0)
    assert (tmp_path / "p.csv").read_bytes() == before
    with pytest.raises(StorageError, match="would be lost"):
        write_ranked({"a": ["b"]}, tmp_path / "p.csv")


def test_recordings_of_one_name_are_told_of(trained, tmp_path):
    for site in ("a", "b"):
        (tmp_path / site).mkdir()
        (tmp_path / site / "0001.wav").write_bytes(trained.manifest[0].path.read_bytes())
    summary = predict(trained.folder, [tmp_path / "a", tmp_path / "b"], out=tmp_path / "p.csv", workers=0)
    assert "2 recordings share their file names" in str(summary)


def test_a_run_does_not_move_in_with_others(trained, tmp_path):
    manifest = trained.manifest[0].path.parent / "manifest.csv"
    with pytest.raises(RunError, match=r"holds other things, such as high_0\.wav"):
        train(toys.toy_recipe(manifest, manifest.parent))
    with pytest.raises(RunError, match="a training stands in this folder"):
        crossvalidate(toys.toy_recipe(manifest, trained.folder))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a file, not a folder"):
        train(toys.toy_recipe(manifest, tmp_path / "file"))


def test_models_can_be_read_by_whom_new_files_can_be_read(trained, tmp_path):
    with replace_atomically(tmp_path / "new") as temporary:
        temporary.touch(mode=0o600)
    plain = tmp_path / "plain"
    plain.write_text("")
    rights = stat.S_IMODE(plain.stat().st_mode)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == rights
    assert stat.S_IMODE(trained.model_file.stat().st_mode) == rights
