"""What several models say of the same windows becomes one prediction."""

import numpy as np
import pytest

from kikiwake.errors import KikiwakeError
from kikiwake.joining import join_probabilities

FIRST = np.array([[0.9, 0.2], [0.4, 0.5]], np.float32)
SECOND = np.array([[0.5, 0.4], [0.0, 0.1]], np.float32)


@pytest.mark.parametrize(
    ("by", "weights", "expected"),
    [
        ("mean", None, [[0.7, 0.3], [0.2, 0.3]]),
        ("mean", [3, 1], [[0.8, 0.25], [0.3, 0.4]]),
        ("max", None, [[0.9, 0.4], [0.4, 0.5]]),
        ("vote", None, [[1.0, 0.0], [0.0, 0.5]]),
        ("vote", [3, 1], [[1.0, 0.0], [0.0, 0.75]]),
    ],
)
def test_models_are_joined_as_worked_out_by_hand(by, weights, expected):
    joined = join_probabilities([FIRST, SECOND], by=by, weights=weights)

    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("probabilities", "options", "said"),
    [
        ([], {}, r"same windows.*; give one array a model, at least one"),
        ([FIRST, SECOND[:1]], {}, r"same windows.*\(2, 2\), \(1, 2\).*; give .* same recordings"),
        ([FIRST], {"by": "median"}, "no such way"),
        ([FIRST, SECOND], {"weights": [1.0]}, "one weight a model"),
        ([FIRST, SECOND], {"weights": [0.0, 0.0]}, "one weight a model"),
        ([FIRST, SECOND], {"weights": [-1.0, 2.0]}, "one weight a model"),
        ([FIRST, SECOND], {"weights": [1.0, 2.0], "by": "max"}, "knows no weights"),
    ],
)
def test_what_cannot_be_joined_is_refused(probabilities, options, said):
    with pytest.raises(KikiwakeError, match=said):
        join_probabilities(probabilities, **options)
