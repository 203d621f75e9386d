"""Reads YAML as people mean it and remembers on which line each key stands."""

from __future__ import annotations

import re
from typing import Any

import yaml

from kikiwake.errors import RecipeError

Key = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core scalars: `3e-4` is a number, `no` and `on` are words, dates are text."""


_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag in {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}
    ]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$"),
    list("-+.0123456789"),
)


def read_yaml(text: str, *, where: str) -> tuple[Any, dict[Key, int]]:
    """Return the value of a YAML text and the line (from 1) of each key in it.

    Raises:
        RecipeError: the text is not YAML, or a key stands twice in one mapping.
    """
    loader = _Loader(text)
    lines: dict[Key, int] = {}
    try:
        node = loader.get_single_node()
        if node is None:
            return None, lines
        _note_lines(node, (), lines, where)
        return loader.construct_document(node), lines
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise RecipeError(
            f"not valid YAML: {problem}",
            where=f"{where}:{line}",
            remedy="check indentation, colons and quotes",
        ) from None
    finally:
        loader.dispose()


def _note_lines(node: yaml.Node, path: Key, lines: dict[Key, int], where: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise RecipeError(
                    f"the key '{key.value}' stands twice in one mapping",
                    where=f"{where}:{key.start_mark.line + 1}",
                    remedy="keep one of them",
                )
            seen.add(key.value)
            lines[(*path, key.value)] = key.start_mark.line + 1
            _note_lines(value, (*path, key.value), lines, where)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _note_lines(value, (*path, index), lines, where)
