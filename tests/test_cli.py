"""The command line: what a newcomer types, from a folder of sounds to predictions, and what goes wrong."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kikiwake import __version__
from kikiwake._recipe_file import shipped
from kikiwake.cli import SET_ASIDE, app
from toys import toy_recipe, write_tones


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kikiwake", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_help_names_every_command() -> None:
    text = invoke("--help").output
    for command in (
        "prepare",
        "train",
        "evaluate",
        "crossval",
        "ensemble",
        "predict",
        "recipes",
        "recipe",
        "parts",
        "export",
        "explore",
        "pseudo",
    ):
        assert f"  {command} " in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from kikiwake.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'sklearn', 'pydantic', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_the_version_is_printed() -> None:
    assert invoke("--version").output.strip() == __version__


def test_recipes_are_listed_and_shown_with_their_comments() -> None:
    listed = invoke("recipes").output
    for name, path in shipped().items():
        assert name in listed
        assert invoke("recipe", "show", name).output == path.read_text(encoding="utf-8")


def test_parts_are_listed_with_their_settings() -> None:
    text = invoke("parts", "augmentations").output
    assert "mixup(" in text
    assert "alpha" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "esc1O"), "unknown recipe 'esc1O'; did you mean 'esc10'?"),
        (("train", "nowhere.yaml"), "nowhere.yaml: there is no such recipe file"),
        (("recipe", "show", "demoo"), "did you mean 'demo'?"),
        (("evaluate", "nowhere"), "nowhere: not a run directory"),
        (("prepare", "nowhere", "out.csv"), "nowhere"),
        (("submit", "nowhere.csv", "sample.csv", "out.csv"), "nowhere.csv: there is no such table"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_status_2(arguments: tuple[str, ...], expected: str) -> None:
    finished = run_command(*arguments)
    assert finished.returncode == 2
    assert expected in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_wrong_option_is_refused_by_its_name() -> None:
    finished = run_command("predict", "run", "file.wav", "--ot", "preds.csv")
    assert finished.returncode == 2
    assert "--ot" in finished.stderr


def test_the_whole_path_from_a_folder_to_predictions(tmp_path: Path) -> None:
    folder, manifest = tmp_path / "sounds", tmp_path / "clips.csv"
    made = invoke("synthesise", folder, "--clips-per-class", 6, "--seconds", 1, "--long-seconds", 8)
    assert made.exit_code == 0, made.output
    prepared = invoke("prepare", folder / "clips", manifest, "--folds", 3, "--workers", 0)
    assert prepared.exit_code == 0, prepared.output
    toy_recipe(manifest, tmp_path / "run")
    recipe = tmp_path / "run.yaml"
    trained = invoke("train", recipe, "stages.0.epochs=1", "split.test=1", "split.validation=2")
    assert trained.exit_code == 0, trained.output
    evaluated = invoke("evaluate", tmp_path / "run")
    assert evaluated.exit_code == 0, evaluated.output
    assert "accuracy" in evaluated.output
    assert (tmp_path / "run" / "evaluation" / "confusion.png").is_file()
    (recording,) = (folder / "long").glob("*.flac")
    predicted = invoke(
        "predict", tmp_path / "run", recording, "--out", tmp_path / "preds.csv", "--workers", 1
    )
    assert predicted.exit_code == 0, predicted.output
    with (tmp_path / "preds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16  # 8 s in windows of 0.5 s
    assert float(rows[-1]["end"]) == 8.0


def test_files_set_aside_show_in_the_exit_status(tmp_path: Path) -> None:
    manifest = write_tones(tmp_path / "tones", clips_per_class=4)
    folder = tmp_path / "classes" / "low"
    folder.mkdir(parents=True)
    for path in manifest.parent.glob("low_*.wav"):
        path.rename(folder / path.name)
    (folder / "broken.wav").write_text("not audio")
    prepared = invoke("prepare", tmp_path / "classes", tmp_path / "out.csv", "--folds", 2, "--workers", 0)
    assert prepared.exit_code == SET_ASIDE, prepared.output
    assert "broken.wav" in (tmp_path / "out.quarantine.csv").read_text()
