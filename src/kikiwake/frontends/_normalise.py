"""What is done to the values of a spectrogram before a network sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import Field
from torch import Tensor, nn

from kikiwake import components

Positive = Annotated[float, Field(gt=0)]
Momentum = Annotated[float, Field(gt=0, le=1)]


class Normalisation(nn.Module):
    """Leaves features as they are; the base of those that do not.

    A normalisation is built for features of `channels` channels and `bins` bins. Its keyword-only arguments
    are what a recipe can set.
    """

    def __init__(self, channels: int, bins: int) -> None:  # noqa: ARG002 - for those that learn
        super().__init__()

    def clipwise(self, features: Tensor, *, valid: Tensor | None) -> Tensor:  # noqa: ARG002 - for others
        """Normalise each clip and channel by itself, before resizing.

        Shape: `[M, F, N]` -> same. `valid`: bool `[M, 1, N]`, false for frames of padding; None means none.
        """
        return features

    def batchwise(self, features: Tensor) -> Tensor:
        """Normalise with statistics of the training data, after resizing. Shape: `[B, C, F, N]` -> same."""
        return features


class StandardiseChannel(Normalisation):
    """Zero mean and unit variance for each clip and channel, over bins and frames.

    (x - mean) / (standard deviation + `epsilon`). Padding does not count, and becomes 0.
    """

    def __init__(self, channels: int, bins: int, *, epsilon: Positive = 1e-6) -> None:
        super().__init__(channels, bins)
        self.epsilon = epsilon

    def clipwise(self, features: Tensor, *, valid: Tensor | None) -> Tensor:
        """See `Normalisation.clipwise`."""
        return _standardise(features, valid=valid, epsilon=self.epsilon)


class OffsetScale(Normalisation):
    """(x + `offset`) / `scale`: with 80 and 80, levels of -80 to 0 dB become 0 to 1."""

    def __init__(self, channels: int, bins: int, *, offset: float = 80.0, scale: Positive = 80.0) -> None:
        super().__init__(channels, bins)
        self.offset = offset
        self.scale = scale

    def clipwise(self, features: Tensor, *, valid: Tensor | None) -> Tensor:  # noqa: ARG002 - a fixed scale
        """See `Normalisation.clipwise`."""
        return (features + self.offset) / self.scale


class Image8Bit(Normalisation):
    """A grey picture of 256 levels for each clip and channel, as networks that know photographs take it.

    Standardised with `epsilon`, stretched from its minimum to its maximum onto 0..255 and rounded; then
    (level / 255 - `mean`) / `std`. The defaults are the means of ImageNet's three channels; 0 and 1 leave
    0..1. A constant picture is black. Padding does not count, and gets the grey of the mean.
    """

    def __init__(
        self,
        channels: int,
        bins: int,
        *,
        epsilon: Positive = 1e-6,
        mean: float = 0.449,
        std: Positive = 0.226,
    ) -> None:
        super().__init__(channels, bins)
        self.epsilon = epsilon
        self.mean = mean
        self.std = std

    def clipwise(self, features: Tensor, *, valid: Tensor | None) -> Tensor:
        """See `Normalisation.clipwise`."""
        # Padding is 0 here, which lies between the minimum and the maximum of any clip.
        scores = _standardise(features, valid=valid, epsilon=self.epsilon)
        low, high = scores.amin(dim=(1, 2), keepdim=True), scores.amax(dim=(1, 2), keepdim=True)
        levels = ((scores - low) * (255.0 / (high - low).clamp(min=self.epsilon))).round()
        return (levels / 255.0 - self.mean) / self.std


class BatchNorm(Normalisation):
    """Batch normalisation of each channel over batch, bins and frames (Ioffe and Szegedy 2015)."""

    def __init__(
        self, channels: int, bins: int, *, momentum: Momentum = 0.1, epsilon: Positive = 1e-5
    ) -> None:
        super().__init__(channels, bins)
        self.norm = nn.BatchNorm2d(channels, eps=epsilon, momentum=momentum)

    def batchwise(self, features: Tensor) -> Tensor:
        """See `Normalisation.batchwise`."""
        normalised: Tensor = self.norm(features)
        return normalised


class BatchNormBins(Normalisation):
    """Batch normalisation of each bin over batch, channels and frames (Kong et al. 2020, "PANNs")."""

    def __init__(
        self, channels: int, bins: int, *, momentum: Momentum = 0.1, epsilon: Positive = 1e-5
    ) -> None:
        super().__init__(channels, bins)
        self.norm = nn.BatchNorm2d(bins, eps=epsilon, momentum=momentum)

    def batchwise(self, features: Tensor) -> Tensor:
        """See `Normalisation.batchwise`."""
        normalised: Tensor = self.norm(features.transpose(1, 2)).transpose(1, 2)
        return normalised


NORMALISATIONS: dict[str, type[Normalisation]] = {
    "none": Normalisation,
    "standardise_channel": StandardiseChannel,
    "offset_scale": OffsetScale,
    "image_8bit": Image8Bit,
    "batch_norm": BatchNorm,
    "batch_norm_bins": BatchNormBins,
}


def checked(node: str | Mapping[str, Any], *, where: str = "normalise") -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of a normalisation, given as a name or as `{name: ..., ...}`.

    Raises:
        RecipeError: no such normalisation, an unknown argument, a wrong type or value.
    """
    arguments = {"name": node} if isinstance(node, str) else dict(node)
    name = arguments.pop("name", None)
    if name not in NORMALISATIONS:
        raise components.unknown("name", name, NORMALISATIONS, where=where)
    part: Any = NORMALISATIONS[name]
    model = components.schema(part)
    for key in arguments:
        if key not in model.model_fields:
            raise components.unknown("key", key, model.model_fields, where=f"{where} ({name})")
    try:
        return name, model(**arguments).model_dump()
    except pydantic.ValidationError as error:
        raise components.located(error, where=where) from None


def build(node: str | Mapping[str, Any], *, channels: int, bins: int) -> Normalisation:
    """Build the normalisation that `node` describes, for features of `channels` channels and `bins` bins."""
    name, arguments = checked(node, where="mel.normalise")
    return NORMALISATIONS[name](channels, bins, **arguments)


def _standardise(features: Tensor, *, valid: Tensor | None, epsilon: float) -> Tensor:
    """Return zero mean and unit variance for each row, over valid frames; 0 elsewhere."""

    def mean(values: Tensor) -> Tensor:
        if valid is None:
            return values.mean(dim=(1, 2), keepdim=True)
        counted = valid.sum(dim=2, keepdim=True) * values.shape[1]
        return (values * valid).sum(dim=(1, 2), keepdim=True) / counted

    deviation = features - mean(features)
    # The mean of equal values is off by a rounding step; without this a constant would not become 0.
    deviation = deviation - mean(deviation)
    scores = deviation / (mean(deviation.square()).sqrt() + epsilon)
    return scores if valid is None else scores * valid
