"""What the documentation shows works as it is written."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kikiwake import components
from kikiwake.errors import RecipeError

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
    assert components.checked(model, {}, where="recipe") == {"probability": 0.5}
    with pytest.raises(RecipeError, match="probability"):
        components.checked(model, {"probability": 2.0}, where="recipe")


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/glossary.md"]
)
def test_links_inside_the_project_lead_somewhere(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not (PROJECT / page).parent.joinpath(link).exists()]
    assert missing == []
