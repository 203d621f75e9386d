"""The house stands: a room imports from its own floor or from below, and never in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

PROJECT = Path(__file__).resolve().parents[1]
HOUSE = PROJECT / "src" / "kikiwake"

FLOORS: dict[int, str] = {
    0: "errors randomness components parallel files devices _yaml _bitpacking",
    1: "audio manifest clip tables folds checks cache blocks predictions events weights mel_scale"
    " _manifest_rows",
    2: "crops datasets frontends augmentations models schedules separators labelfiles"
    " losses metrics truth event_scores joining figures _bootstrap",
    3: "recipe run classifier judging stems data loader engine checkpoint tracking _recipe_file",
    4: "training fitting stage provenance optimization scoring features separation ensembles prediction"
    " pseudo _stage_clips _stage_losses _stage_parts _stage_pseudo _stage_tables",
    5: "evaluation crossvalidation comparison detection drawing exploring ranking exporting submission"
    " synthesis soundscapes _scored_clips _held_out _score_table _fold_processes _sample_file"
    " _sounds _laying _timetable _trimming _backgrounds _pools",
    6: "cli __main__",
}
"""The floors table: every module, or the family folder it lies in. docs/architecture.md says the same."""

ROOMS = {room: floor for floor, rooms in FLOORS.items() for room in rooms.split()}


class Import(NamedTuple):
    """`importer` imports `imported`, both named below `kikiwake`; `runs`: not for type checkers alone."""

    importer: str
    imported: str
    line: int
    runs: bool


def modules(house: Path) -> dict[str, Path]:
    """Every module of the house by its dotted name; a package goes by its folder's name."""
    found = {}
    for path in sorted(house.rglob("*.py")):
        parts = path.relative_to(house).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    """All imports from the house in one module, wherever they stand: in functions and conditions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    resting = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        runs = id(node) not in resting
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "kikiwake":
                    yield Import(name, alias.name.partition(".")[2], node.lineno, runs)
        elif isinstance(node, ast.ImportFrom):
            steps = (node.module or "").split(".") if node.module else []
            if node.level:
                steps = ["kikiwake", *package[: len(package) - node.level + 1], *steps]
            if steps[:1] != ["kikiwake"]:
                continue
            for alias in node.names:
                if alias.name.startswith("__"):
                    continue
                whole = ".".join([*steps[1:], alias.name])
                # `from kikiwake.audio import load` and `from kikiwake import audio` both mean audio.
                yield Import(name, whole if whole in known else ".".join(steps[1:]), node.lineno, runs)


def faults(house: Path, rooms: Mapping[str, int] = ROOMS) -> list[str]:
    """What is wrong with a house, in words; an empty list where it stands."""
    known = modules(house)
    problems = [
        f"{path.relative_to(house)}: not on the floors table; put it there and into docs/architecture.md"
        for name, path in known.items()
        if name and name.split(".")[0] not in rooms
    ]
    graph: dict[str, set[str]] = {}
    # The front door, kikiwake/__init__.py, hands out rooms of all floors on first use and belongs to none.
    for name, path in known.items():
        own = rooms.get(name.split(".")[0])
        if own is None:
            continue
        for found in imports_of(name, path, known):
            where = f"{path.relative_to(house)}:{found.line}"
            if not found.imported:
                problems.append(
                    f"{where}: no such room; a name of the front door is imported from its own room"
                )
                continue
            floor = rooms.get(found.imported.split(".")[0])
            if floor is None:
                problems.append(f"{where}: imports {found.imported}, which is not on the floors table")
            elif floor > own:
                problems.append(f"{where}: floor {own} imports {found.imported} from floor {floor} above it")
            elif found.runs and found.imported != name:
                graph.setdefault(name, set()).add(found.imported)
    circle = _circle(graph)
    if circle:
        problems.append(f"imports run in a circle: {' -> '.join(circle)}")
    return problems


def _circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of a graph, or an empty list."""
    done: set[str] = set()

    def search(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            circle = search(following, [*way, node])
            if circle:
                return circle
        done.add(node)
        return []

    return next((circle for node in sorted(graph) if (circle := search(node, []))), [])


def test_the_house_stands() -> None:
    assert len(modules(HOUSE)) > 10
    assert faults(HOUSE) == []


def test_the_architecture_page_shows_the_same_floors() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]*) \|", page, flags=re.MULTILINE)
    shown = {int(floor): set(re.findall(r"`(\w+)/?`", rooms)) for floor, rooms in rows}
    public = {
        floor: {room for room in rooms.split() if not room.startswith("_") or room == "__main__"}
        for floor, rooms in FLOORS.items()
    }
    assert shown == public


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"errors.py": "", "audio.py": "from kikiwake.errors import AudioError"}, None),
        ({"audio.py": "from kikiwake import errors", "errors.py": ""}, None),
        (
            {"errors.py": "from kikiwake.audio import load", "audio.py": ""},
            "errors.py:1: floor 0 imports audio",
        ),
        ({"errors.py": "from kikiwake import audio", "audio.py": ""}, "floor 0 imports audio from floor 1"),
        ({"errors.py": "import kikiwake.audio", "audio.py": ""}, "floor 0 imports audio from floor 1"),
        ({"errors.py": "def f():\n    from kikiwake.cli import main", "cli.py": ""}, "errors.py:2: floor 0"),
        (
            {"models/cnn.py": "from .. import training", "models/__init__.py": "", "training.py": ""},
            "models/cnn.py:1: floor 2 imports training from floor 4",
        ),
        (
            {"models/cnn.py": "from ._head import Head", "models/_head.py": "", "models/__init__.py": ""},
            None,
        ),
        (
            {"models/cnn.py": "from kikiwake.models import fcn", "models/fcn.py": "from . import cnn"},
            "imports run in a circle: models.cnn -> models.fcn -> models.cnn",
        ),
        ({"audio.py": "import kikiwake.cache", "cache.py": "def f():\n    import kikiwake.audio"}, "circle"),
        (
            {
                "audio.py": "import kikiwake.cache",
                "cache.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import kikiwake.audio",
            },
            None,
        ),
        (
            {
                "errors.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import kikiwake.audio",
                "audio.py": "",
            },
            "errors.py:3: floor 0 imports audio from floor 1",
        ),
        ({"utils.py": ""}, "utils.py: not on the floors table"),
        ({"helpers/__init__.py": "", "helpers/things.py": ""}, "helpers/things.py: not on the floors table"),
        ({"audio.py": "from kikiwake import Manifest"}, "audio.py:1: no such room"),
        ({"audio.py": "from kikiwake import __version__"}, None),
        ({"audio.py": "import os\nimport numpy.typing"}, None),
        ({"audio.py": "from kikiwake.gone import thing"}, "imports gone, which is not on the floors table"),
    ],
)
def test_a_house_that_cannot_stand_is_found_out(
    tmp_path: Path, files: dict[str, str], fault: str | None
) -> None:
    (tmp_path / "__init__.py").write_text("def __getattr__(name):\n    from kikiwake.cli import main\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    found = faults(tmp_path)
    if fault is None:
        assert found == []
    else:
        assert any(fault in one for one in found), found
