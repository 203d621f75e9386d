"""Trees with decisions drawn by chance vote: fast, and hard to beat on good features."""

from __future__ import annotations

from kikiwake.models._forest import Forest


class ExtraTrees(Forest):
    """Extremely randomised trees (Geurts et al. 2006; ExtraTreesClassifier); settings as of `Forest`."""

    kind = "ExtraTreesClassifier"
