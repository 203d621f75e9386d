"""Trees with decisions drawn by chance vote: fast, and hard to beat on good features."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from kikiwake.models._estimator import Scaling
from kikiwake.models._forest import Count, Forest, Share


class ExtraTrees(Forest):
    """Extremely randomised trees (Geurts et al. 2006; scikit-learn's ExtraTreesClassifier).

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
    kind = "ExtraTreesClassifier"

    def __init__(
        self,
        *,
        num_classes: int,
        n_estimators: Count = 500,
        max_depth: Count | None = None,
        max_features: Literal["sqrt", "log2"] | Share = "sqrt",
        min_samples_leaf: Count = 1,
        class_weight: Literal["balanced"] | None = None,
        scaling: Scaling = "standard",
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            n_estimators=n_estimators,
            max_depth=max_depth,
            max_features=max_features,
            min_samples_leaf=min_samples_leaf,
            class_weight=class_weight,
            scaling=scaling,
        )
