"""What forests of trees have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kikiwake.models._estimator import Estimator, Scaling

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class Forest(Estimator):
    """A forest of scikit-learn; `kind` is the name of its class in `sklearn.ensemble`."""

    kind: str

    def __init__(
        self,
        *,
        num_classes: int,
        n_estimators: Count,
        max_depth: Count | None,
        max_features: Literal["sqrt", "log2"] | Share,
        min_samples_leaf: Count,
        class_weight: Literal["balanced"] | None,
        scaling: Scaling,
    ) -> None:
        super().__init__(num_classes=num_classes, scaling=scaling)
        self.settings = {
            "n_estimators": n_estimators,
            "max_depth": max_depth,
            "max_features": max_features,
            "min_samples_leaf": min_samples_leaf,
            "class_weight": class_weight,
        }

    def classifier(self, *, seed: int, jobs: int) -> Any:
        """Return the unfitted classifier."""
        import sklearn.ensemble

        return getattr(sklearn.ensemble, self.kind)(**self.settings, random_state=seed, n_jobs=jobs)
