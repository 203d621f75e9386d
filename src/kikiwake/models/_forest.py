"""What forests of trees have in common, their settings too."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kikiwake.models._estimator import Estimator, Scaling

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class Forest(Estimator):
    """A forest of scikit-learn; `kind` is the name of its class in `sklearn.ensemble`.

    Args:
        num_classes: supplied by the pipeline.
        n_estimators: number of trees.
        max_depth: decisions from a tree's root to a leaf; empty grows it until its leaves are pure.
        max_features: features that a decision is chosen from: `sqrt` or `log2` of all, or a share of them.
        min_samples_leaf: clips that a leaf holds at least.
        class_weight: `balanced` lets each class count as much as every other.
        scaling: of the features: `standard`, or `rank`; see `kikiwake.models._estimator`.

    Shape: `[B, D, N]` -> clipwise `[B, num_classes]`.
    """

    example: ClassVar[dict[str, Any]] = {"n_estimators": 10}
    kind: ClassVar[str]

    def __init__(
        self,
        *,
        num_classes: int,
        n_estimators: Count = 300,
        max_depth: Count | None = None,
        max_features: Literal["sqrt", "log2"] | Share = "sqrt",
        min_samples_leaf: Count = 1,
        class_weight: Literal["balanced"] | None = None,
        scaling: Scaling = "standard",
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
