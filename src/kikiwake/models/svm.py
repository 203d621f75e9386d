"""The widest margin between classes, with a straight or a curved border."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kikiwake.models._estimator import Estimator, Scaling

Positive = Annotated[float, Field(gt=0)]


class Svm(Estimator):
    """Support vector machine, one against one (scikit-learn's SVC).

    Args:
        num_classes: supplied by the pipeline.
        C: how much a clip on the wrong side of the margin costs.
        kernel: `linear`, or `rbf` for curved borders.
        gamma: of the rbf kernel: `scale` (1 / (D * variance)), `auto` (1 / D), or a number.
        class_weight: `balanced` lets each class count as much as every other.
        scaling: of the features: `standard`, or `rank`; see `kikiwake.models._estimator`.

    Shape: `[B, D, N]` -> clipwise `[B, num_classes]`.
    """

    example: ClassVar[dict[str, Any]] = {"C": 1.0}

    def __init__(
        self,
        *,
        num_classes: int,
        C: Positive = 1.0,  # noqa: N803 - the field's name
        kernel: Literal["linear", "rbf"] = "rbf",
        gamma: Literal["scale", "auto"] | Positive = "scale",
        class_weight: Literal["balanced"] | None = None,
        scaling: Scaling = "standard",
    ) -> None:
        super().__init__(num_classes=num_classes, scaling=scaling)
        self.settings = {"C": C, "kernel": kernel, "gamma": gamma, "class_weight": class_weight}

    def classifier(self, *, seed: int, jobs: int) -> Any:  # noqa: ARG002 - it has no use for them
        """Return the unfitted classifier."""
        from sklearn.svm import SVC

        return SVC(**self.settings)
