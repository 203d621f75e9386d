"""The nearest training clips vote."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kikiwake.models._estimator import Estimator, Scaling


class Knn(Estimator):
    """k nearest neighbours (scikit-learn's KNeighborsClassifier).

    Args:
        num_classes: supplied by the pipeline.
        n_neighbors: clips that vote.
        weights: `uniform`, or `distance`: nearer ones count more.
        metric: how far two feature vectors lie apart: `euclidean`, `manhattan` or `cosine`.
        scaling: of the features: `standard`, or `rank`; see `kikiwake.models._estimator`.

    Shape: `[B, D, N]` -> clipwise `[B, num_classes]`.
    """

    example: ClassVar[dict[str, Any]] = {"n_neighbors": 3}

    def __init__(
        self,
        *,
        num_classes: int,
        n_neighbors: Annotated[int, Field(ge=1)] = 5,
        weights: Literal["uniform", "distance"] = "uniform",
        metric: Literal["euclidean", "manhattan", "cosine"] = "euclidean",
        scaling: Scaling = "standard",
    ) -> None:
        super().__init__(num_classes=num_classes, scaling=scaling)
        self.settings = {"n_neighbors": n_neighbors, "weights": weights, "metric": metric}

    def classifier(self, *, seed: int, jobs: int) -> Any:  # noqa: ARG002 - nothing is drawn
        """Return the unfitted classifier."""
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(**self.settings, algorithm="brute", n_jobs=jobs)
