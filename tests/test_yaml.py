"""YAML is read as people mean it."""

from __future__ import annotations

import pytest

from kikiwake._yaml import read_yaml
from kikiwake.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1.5", 1.5),
        ("-2", -2),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("2026-01-02", "2026-01-02"),
        ("1:30", "1:30"),
        ("0123", "0123"),
        ("null", None),
        ("~", None),
        ("'3'", "3"),
        ("[1, 2.0, a]", [1, 2.0, "a"]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read, _ = read_yaml(text, where="test")
    assert read == value
    assert type(read) is type(value)


def test_lines_of_keys_and_items_are_known() -> None:
    _, lines = read_yaml("a: 1\nb:\n  - c: 2\n  - d: 3\n", where="test")
    assert lines[("a",)] == 1
    assert lines[("b", 1, "d")] == 4


def test_python_objects_are_not_made() -> None:
    with pytest.raises(RecipeError, match="not valid YAML"):
        read_yaml("!!python/object/apply:os.system ['true']", where="test")
