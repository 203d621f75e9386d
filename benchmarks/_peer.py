"""OpenSoundscape, the peer of the speed benchmarks, run by whichever interpreter has it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any


def peer_interpreter() -> str | None:
    """Return an interpreter that has OpenSoundscape: the one that PEER_PYTHON names, or this one."""
    named = os.environ.get("PEER_PYTHON")
    return named or (sys.executable if importlib.util.find_spec("opensoundscape") else None)


def ask(python: str, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script that prints JSON in its last line, and return that; of one that fails, its last line."""
    done = subprocess.run([python, "-c", script, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1:]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
