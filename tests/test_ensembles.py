"""An ensemble remembers its members, and refuses those that do not fit or are no longer what they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kikiwake.ensembles import RECORD, ensemble, open_ensemble, open_model
from kikiwake.errors import KikiwakeError, RunError, StorageError
from kikiwake.manifest import Clip, Manifest
from kikiwake.run import Run, open_run, start_run
from toys import made_up_run, toy_recipe, write_tones


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data") / "tones", clips_per_class=4, folds=2)


@pytest.fixture(scope="module")
def runs(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [made_up_run(tones, folder / name, seed=seed) for seed, name in enumerate("ab")]


def test_the_record_tells_members_by_paths_that_move_along(
    runs: list[Run], tones: Path, tmp_path: Path
) -> None:
    for run in runs:
        shutil.copytree(run.folder, tmp_path / "project" / "runs" / run.folder.name)
    inside = [tmp_path / "project" / "runs" / name for name in "ab"]
    made = ensemble(inside, out=tmp_path / "project" / "both", weights=[2, 1])
    record = json.loads((tmp_path / "project" / "both" / RECORD).read_text())
    assert [one["path"] for one in record["members"]] == ["../runs/a", "../runs/b"]
    assert [one["model"] for one in record["members"]] == [run.model_hash() for run in runs]
    assert (record["by"], record["weights"]) == ("mean", [2, 1])
    told = str(made)
    assert "2 models joined by weighted mean, 3 classes: high, low, middle" in told
    assert "weight 2  fcn on mel, 8000 Hz, windows of 0.5 s every 0.5 s" in told
    (tmp_path / "project").rename(tmp_path / "moved")
    opened = open_ensemble(tmp_path / "moved" / "both")
    assert [run.folder for run in opened.runs] == [tmp_path / "moved" / "runs" / name for name in "ab"]
    assert opened.weights == [2, 1]
    ensemble([runs[0]], out=tmp_path / "far" / "away" / "from" / "it")
    (path,) = json.loads((tmp_path / "far/away/from/it" / RECORD).read_text())["members"]
    assert Path(path["path"]).is_absolute()


def test_members_that_changed_or_went_are_missed_until_it_is_made_again(
    runs: list[Run], tmp_path: Path
) -> None:
    for name in "ab":
        shutil.copytree(runs[0].folder.parent / name, tmp_path / name)
    members, out = [tmp_path / "a", tmp_path / "b"], tmp_path / "both"
    ensemble(members, out=out)
    before = (out / RECORD).stat().st_mtime_ns
    ensemble(members, out=out)
    assert (out / RECORD).stat().st_mtime_ns == before
    weights = {name: 2 * tensor for name, tensor in runs[1].classifier().state_dict().items()}
    open_run(tmp_path / "b").write_model(weights, about={})
    with pytest.raises(RunError, match=r"no longer what it was .*/b'\); make the ensemble again"):
        open_model(out)
    ensemble(members, out=out)
    open_model(out)
    shutil.rmtree(tmp_path / "b")
    with pytest.raises(RunError, match=r"a member of this ensemble is gone .*/b'\); put it back"):
        open_model(out)
    (out / RECORD).write_text("{}")
    with pytest.raises(RunError, match="not an ensemble"):
        open_model(out)


def test_ensembles_made_to_hold_each_other_are_refused_not_followed(runs: list[Run], tmp_path: Path) -> None:
    ensemble([runs[0]], out=tmp_path / "one")
    ensemble([tmp_path / "one"], out=tmp_path / "two")
    shutil.rmtree(tmp_path / "one")
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    record = (tmp_path / "two" / RECORD).read_text().replace("../one", "../two")
    (tmp_path / "one" / RECORD).write_text(record)
    with pytest.raises(RunError, match="no longer what it was"):
        open_model(tmp_path / "one")


def test_a_folder_of_crossval_gives_its_folds_each_with_the_folders_weight(
    tones: Path, runs: list[Run], tmp_path: Path
) -> None:
    for fold in (0, 1):
        made_up_run(tones, tmp_path / "all" / f"fold{fold}", split={"test": fold, "validation": None})
    with pytest.raises(RunError, match="cross-validation is not finished"):
        ensemble([tmp_path / "all"], out=tmp_path / "folds")
    (tmp_path / "all" / "summary.json").write_text(json.dumps({"folds": {"0": {}, "1": {}}}))
    (tmp_path / "all" / "out_of_fold.csv").touch()
    made = ensemble([tmp_path / "all", runs[0]], out=tmp_path / "folds", weights=[1, 2])
    assert [run.folder.name for run in made.runs] == ["fold0", "fold1", "a"]
    assert made.weights == [1, 1, 2]
    with pytest.raises(RunError, match=r"a model for each fold.*kikiwake ensemble"):
        open_model(tmp_path / "all")
    with pytest.raises(RunError, match="named twice"):
        ensemble([tmp_path / "all", tmp_path / "all" / "fold1"], out=tmp_path / "twice")


def test_members_that_do_not_fit_together_are_refused(tones: Path, runs: list[Run], tmp_path: Path) -> None:
    clips = [
        Clip(tmp_path / f"{k}.wav", "xy"[k % 2], k % 2, k // 2, 8000, 8000, group=f"{k}") for k in range(4)
    ]
    Manifest(clips, ["x", "y"]).write(tmp_path / "birds.csv")
    birds = made_up_run(tmp_path / "birds.csv", tmp_path / "birds")
    with pytest.raises(RunError, match=r"only the first knows high, low, middle; only the second knows x, y"):
        ensemble([runs[0], birds], out=tmp_path / "out")
    stage = {"epochs": 1, "batch_size": 4, "loss": "binary_cross_entropy"}
    optimizer = {"name": "sgd", "learning_rate": 0.1}
    several = made_up_run(tones, tmp_path / "several", stages=[{**stage, "optimizer": optimizer}])
    with pytest.raises(RunError, match=r"several judges classes one by one \(multi-label\), .*a against"):
        ensemble([runs[0], several], out=tmp_path / "out")
    start_run(toy_recipe(tones, tmp_path / "begun", split={"test": 0}), Manifest.read(tones))
    with pytest.raises(RunError, match="no trained model yet"):
        ensemble([runs[0], tmp_path / "begun"], out=tmp_path / "out")
    with pytest.raises(RunError, match="neither a run directory, nor"):
        ensemble([tmp_path / "nowhere"], out=tmp_path / "out")
    with pytest.raises(RunError, match="needs a model"):
        ensemble([], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": [1.0]}, "2 are named and 1 weights are given"),
        ({"weights": [0.0, 0.0]}, "none below 0 and one above"),
        ({"weights": [1.0, 2.0], "by": "max"}, "knows no weights"),
        ({"by": "median"}, "no such way to join"),
    ],
)
def test_ways_and_weights_that_do_not_fit_are_refused(
    runs: list[Run], tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(KikiwakeError, match=said):
        ensemble(runs, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_others_is_never_written_into(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    for folder, said in ((tmp_path / "mine", "thesis.txt"), (runs[1].folder, "such as")):
        with pytest.raises(RunError, match=f"holds other things.*{said}"):
            ensemble(runs[:1], out=folder)
        assert not (folder / RECORD).exists()
    ensemble(runs, out=tmp_path / "both")
    before = (tmp_path / "both" / RECORD).read_bytes()
    with pytest.raises(RunError, match="holds another ensemble"):
        ensemble(runs, out=tmp_path / "both", weights=[1, 2])
    assert (tmp_path / "both" / RECORD).read_bytes() == before
    (tmp_path / "both" / RECORD).write_text("a piece for strings")
    with pytest.raises(StorageError, match="no description of an ensemble"):
        ensemble(runs, out=tmp_path / "both")
