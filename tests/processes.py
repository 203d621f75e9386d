"""What the kernel says of processes, for tests that kill some."""

from __future__ import annotations

import re
from pathlib import Path


def alive(process: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    status = Path(f"/proc/{process}/status")
    try:
        return not re.search(r"^State:\s+[ZX]", status.read_text(), re.MULTILINE)
    except OSError:
        return False


def children(process: int) -> list[int]:
    """The processes that `process` has made."""
    return [
        int(child)
        for thread in Path(f"/proc/{process}/task").glob("*/children")
        for child in thread.read_text().split()
    ]
