"""A classifier of scikit-learn as a network: features in, logits out, like every other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from kikiwake.errors import RunError, TrainingError, WeightsError
from kikiwake.files import replace_atomically
from kikiwake.models._output import Output
from kikiwake.models._pooling import mean_over_time

Folds = Sequence[tuple[np.ndarray, np.ndarray]]
"""Rows to fit on and rows to judge by, of each fold."""

Scaling = Literal["standard", "rank"]

RANKS = 100
"""Quantiles between which ranks are interpolated."""

LEAST_PROBABILITY = 1e-7
"""A tree or a neighbour says 0 lightly; below this a logarithm would rule a class out for ever."""

_TRUSTED = {
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.tree._tree.Tree",
}
"""What a saved model may hold beside the types that skops trusts by itself."""


class Estimator(nn.Module):
    """Base of the models that `kikiwake.fitting` fits instead of training them by gradients.

    Features are averaged over time, scaled by what the fitted rows show, and classified. `scaling`: to zero
    mean and unit variance; "rank" replaces each value by its rank among the fitted rows before, so that
    outliers and skewed features do not outweigh the others. A model whose classifier gives no probabilities
    gets them from temperature scaling on rows that it was not fitted on, which leaves the order of the
    classes as it is (Guo et al. 2017, "On calibration of modern neural networks").

    Shape: `[B, D, N]` -> clipwise `[B, num_classes]`, logarithms of the probabilities.
    """

    takes: ClassVar[Literal["picture", "sequence"]] = "sequence"
    fitted: ClassVar[bool] = True

    def __init__(self, *, num_classes: int, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling
        self.num_classes = num_classes
        self.pipeline: Any = None

    def classifier(self, *, seed: int, jobs: int) -> Any:
        """Return the unfitted classifier; `jobs`: threads that it may use."""
        raise NotImplementedError

    def unfitted(self, *, rows: int, seed: int, jobs: int = 1) -> Any:
        """Return the classifier behind its scaler, so that both are fitted on the same `rows` rows."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import QuantileTransformer, StandardScaler

        steps = [StandardScaler(), self.classifier(seed=seed, jobs=jobs)]
        if self.scaling == "rank":
            steps.insert(0, QuantileTransformer(n_quantiles=min(RANKS, rows), subsample=None))
        return make_pipeline(*steps)

    def fit(
        self, vectors: np.ndarray, targets: np.ndarray, *, folds: Folds, seed: int, jobs: int = 1
    ) -> None:
        """Fit to rows `vectors` `[R, D]` with class numbers `targets` `[R]`; `folds` are for calibration.

        Raises:
            TrainingError: it cannot be fitted to these rows.
        """
        from sklearn.calibration import CalibratedClassifierCV

        pipeline = self.unfitted(rows=len(vectors), seed=seed, jobs=jobs)
        if self.wants_calibration:
            cv = [(_with_every_class(learn, targets), judged) for learn, judged in folds]
            pipeline = CalibratedClassifierCV(pipeline, method="temperature", cv=cv, ensemble=False)
        try:
            self.pipeline = pipeline.fit(vectors, targets)
            self.pipeline.predict_proba(vectors[:1])
        except ValueError as error:
            raise TrainingError(
                f"the model cannot be fitted to {len(vectors)} rows: {str(error).splitlines()[0]}",
                where="model",
                remedy="change its settings",
            ) from error

    @property
    def wants_calibration(self) -> bool:
        """Whether the classifier gives no probabilities by itself."""
        return not hasattr(self.classifier(seed=0, jobs=1), "predict_proba")

    def forward(self, features: Tensor) -> Output:
        """Return the logits of a batch.

        Raises:
            RunError: the model is not fitted yet.
        """
        if self.pipeline is None:
            raise RunError("this model is not fitted yet", remedy="run `kikiwake train` with its recipe")
        found = self.pipeline.predict_proba(mean_over_time(features).cpu().numpy())
        probabilities = np.full((len(found), self.num_classes), LEAST_PROBABILITY)
        # A class without a clip to fit on is not among those that the classifier knows.
        probabilities[:, self.pipeline.classes_] = np.maximum(found, LEAST_PROBABILITY)
        return Output(torch.from_numpy(np.log(probabilities).astype(np.float32)).to(features.device))

    def save(self, path: Path) -> None:
        """Write the fitted model with skops, which holds no pickle."""
        import skops.io

        with replace_atomically(path) as temporary, temporary.open("wb") as file:
            skops.io.dump(self.pipeline, file)

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            WeightsError: the file is missing or damaged, or holds types that no model of ours has.
        """
        import skops.io

        try:
            foreign = sorted(set(skops.io.get_untrusted_types(file=path)) - _TRUSTED)
            if not foreign:
                self.pipeline = skops.io.load(path, trusted=sorted(_TRUSTED))
        except FileNotFoundError as error:
            raise WeightsError(
                "the fitted model is not there",
                where=path,
                remedy="restore the file, or train anew in another run directory",
            ) from error
        except Exception as error:  # whatever a damaged archive makes skops raise
            what = f"the fitted model cannot be read: {error}"
            raise WeightsError(what, where=path, remedy="train anew in another run directory") from error
        if foreign:
            raise WeightsError(
                "the file holds types that none of our models has",
                where=path,
                value=foreign,
                remedy="do not load it unless you trust where it is from",
            )


def _with_every_class(learn: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the rows of a fold to fit on, and with them all rows of classes that it would not know."""
    absent = np.setdiff1d(targets, targets[learn])
    return np.concatenate([learn, np.flatnonzero(np.isin(targets, absent))])
