"""Separators take a mixture apart into stems, window by window.

A part hears `channels` channels (1 or 2) at `sample_rate` Hz in windows of `window` samples, one beginning
`hop` samples after the other, at most `batch_size` of them at once; where memory runs out, `SpanSeparation`
halves that number and goes on. Called with mixtures
`[B, channels, window]` it returns `[B, S, window]`: its `stems`, by name and in this order, each mixed down
to one channel, on the CPU; `device` is where it computes. Windows overlap and are faded into each other
(`SpanSeparation`), so that any stretch of a recording is separated as the whole would be, and a recording
of any length in flat memory.

`stems` on the class are those that it has unless its settings say otherwise. `identity` tells apart what
settings do not, such as weights in a file of the same name. `free` names the settings that change nothing but
speed or where files lie. `saves_memory` says in words which settings need less memory, "" where there are
none.
"""

from __future__ import annotations

from kikiwake.separators._batches import memory_remedy
from kikiwake.separators._separator import Separator
from kikiwake.separators._windows import SpanSeparation

__all__ = ["Separator", "SpanSeparation", "memory_remedy"]
