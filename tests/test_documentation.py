"""What the documentation shows works as it is written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import soundfile
from typer.testing import CliRunner

from kikiwake import components
from kikiwake.cli import app
from kikiwake.errors import RecipeError
from toys import PITCHES, SAMPLE_RATE, tone, write_tones

PROJECT = Path(__file__).resolve().parents[1]


def test_the_example_part_in_contributing_works_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    part, test = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    module = ModuleType("kikiwake.augmentations.polarity")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(part, "polarity.py", "exec"), module.__dict__)
    space: dict[str, object] = {"__name__": "test_polarity"}
    exec(compile(test, "test_polarity.py", "exec"), space)
    tests = [function for name, function in space.items() if name.startswith("test_") and callable(function)]
    assert len(tests) == 1
    tests[0]()

    model = components.schema(module.Polarity)
    assert components.checked(model, {}, where="recipe") == {"p": 0.5}
    with pytest.raises(RecipeError, match=r"^recipe\.p: "):
        components.checked(model, {"p": 2.0}, where="recipe")


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/architecture.md",
        "docs/benchmarks.md",
        "docs/coming_from.md",
        "docs/docker.md",
        "docs/events.md",
        "docs/glossary.md",
    ],
)
def test_links_inside_the_project_lead_somewhere(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not (PROJECT / page).parent.joinpath(link).exists()]
    assert missing == []


def test_the_readmes_examples_run_as_written(tmp_path: Path) -> None:
    page = (PROJECT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (commands,) = re.findall(r"```\n\. \.venv/bin/activate\n(.*?)```", page, flags=re.DOTALL)
    tones = write_tones(tmp_path / "tones", clips_per_class=10).parent
    for path in tones.glob("*.wav"):
        folder = tmp_path / "my_recordings" / path.name.partition("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    (tmp_path / "field_recordings").mkdir()
    night = tone(PITCHES["low"], seconds=9.0, seed=1)
    soundfile.write(tmp_path / "field_recordings" / "night.flac", night, SAMPLE_RATE)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}

    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    run = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    finished = run([sys.executable, "script.py"])
    assert finished.returncode == 0, finished.stderr
    assert "accuracy" in finished.stdout
    assert "night_4" in finished.stdout  # the windows' row ids

    for command in commands.splitlines():
        words = shlex.split(command, comments=True)
        assert words[0] == "kikiwake"
        finished = run([sys.executable, "-m", *words])
        assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "heard.csv").read_text(encoding="utf-8").count("night_") == 4


def test_the_way_from_clips_to_scores_of_events_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As written, but for fewer recordings, one epoch and a smaller network."""
    page = (PROJECT / "docs" / "events.md").read_text(encoding="utf-8")
    commands = "".join(re.findall(r"```\n(.*?)```", page, flags=re.DOTALL))
    said = ""
    monkeypatch.chdir(tmp_path)
    write_tones(tmp_path / "tones", clips_per_class=8, folds=4).rename(tmp_path / "tones" / "clips.csv")
    for command in commands.splitlines():
        words = shlex.split(command, comments=True)
        assert words[0] == "kikiwake"
        words = ["tones/clips.csv" if word == "clips.csv" else word for word in words[1:]]
        words = [word.replace("resnet10t", "test_resnet") for word in words]
        if "--recordings" in words:
            words[words.index("--recordings") + 1] = "12"
        words += {"train": ["stages.train.epochs=1"], "prepare": ["--workers", "0"]}.get(words[0], [])
        finished = CliRunner().invoke(app, words)
        assert finished.exit_code == 0, (finished.output, finished.exception)
        said += finished.output
    assert "event_micro_f1" in said
    assert (tmp_path / "heard.scores" / "events.csv").is_file()
    assert (tmp_path / "stretches.csv").is_file()


def test_every_benchmark_is_among_those_that_make_bench_runs() -> None:
    folder = PROJECT / "benchmarks"
    text = (folder / "run.py").read_text(encoding="utf-8")
    names = re.findall(r'^    "(\w+)",$', text, flags=re.MULTILINE)
    there = [path.stem for path in folder.glob("*.py") if "\ndef run(" in path.read_text(encoding="utf-8")]
    assert sorted(names) == sorted(there)
