"""Trees that each saw other clips and features vote."""

from __future__ import annotations

from kikiwake.models._forest import Forest


class RandomForest(Forest):
    """Random forest (Breiman 2001; RandomForestClassifier of scikit-learn); settings as of `Forest`."""

    kind = "RandomForestClassifier"
