from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn import metrics as reference

from kikiwake import metrics
from kikiwake.errors import KikiwakeError

# Four clips, three classes. Decisions: 0, 1, 0, 2; labels: 0, 1, 1, 2.
LABELS = np.eye(3)[[0, 1, 1, 2]]
GUESSES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]])


@pytest.fixture
def many() -> tuple[np.ndarray, np.ndarray]:
    """Single-label predictions with many ties, for comparison with scikit-learn."""
    rng = np.random.default_rng(5)
    labels = np.eye(6)[rng.integers(6, size=300)]
    scores = np.round(rng.dirichlet(np.ones(6), size=300) + 0.3 * labels, 1) + 0.01
    return labels, scores / scores.sum(axis=1, keepdims=True)


@pytest.fixture
def tagged() -> tuple[np.ndarray, np.ndarray]:
    """Multi-label predictions, rounded so that there are ties."""
    rng = np.random.default_rng(6)
    labels = (rng.random((200, 5)) < [0.5, 0.3, 0.1, 0.05, 0.2]).astype(float)
    return labels, np.round(np.clip(0.5 * rng.random((200, 5)) + 0.3 * labels, 0, 1), 2)


def test_accuracy_by_hand():
    assert metrics.accuracy(LABELS, GUESSES) == 0.75


def test_multilabel_accuracy_wants_every_class_right():
    labels = np.array([[1, 1], [1, 0], [0, 0]])
    guesses = np.array([[0.9, 0.5], [0.9, 0.6], [0.1, 0.4]])
    assert metrics.accuracy(labels, guesses, multilabel=True) == pytest.approx(2 / 3)


def test_top_k_accuracy_by_hand():
    assert metrics.top_k_accuracy(LABELS, GUESSES, k=1) == 0.75
    assert metrics.top_k_accuracy(LABELS, GUESSES, k=2) == 1.0


def test_top_k_accuracy_leaves_out_clips_without_label():
    labels = np.array([[1, 0], [0, 0]])
    assert metrics.top_k_accuracy(labels, np.array([[0.9, 0.1], [0.5, 0.5]]), k=1) == 1.0


def test_confusion_matrix_has_labels_in_rows():
    assert metrics.confusion_matrix(LABELS, GUESSES).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_f1_by_hand():
    # class 0: tp 1 fp 1 fn 0 -> 2/3; class 1: tp 1 fp 0 fn 1 -> 2/3; class 2: 1.
    assert metrics.f1(LABELS, GUESSES) == pytest.approx(7 / 9, rel=1e-12)
    assert metrics.f1(LABELS, GUESSES, average="micro") == 0.75


def test_macro_f1_leaves_out_a_class_that_neither_occurs_nor_is_decided():
    extended = [np.hstack([array, np.zeros((4, 1))]) for array in (LABELS, GUESSES)]
    assert metrics.f1(*extended) == pytest.approx(7 / 9, rel=1e-12)


def test_roc_auc_by_hand_counts_ties_half():
    labels = np.array([[1], [0], [1], [0]])
    # pairs: .9 > .5, .9 > .1, .5 = .5 (half), .5 > .1 -> 3.5 of 4
    guesses = np.array([[0.9], [0.5], [0.5], [0.1]])
    assert metrics.roc_auc_per_class(labels, guesses).tolist() == [0.875]


def test_roc_auc_is_undefined_without_positives_or_negatives_and_left_out_of_the_mean():
    labels = np.array([[1, 0, 1], [0, 0, 1]])
    guesses = np.array([[0.9, 0.2, 0.3], [0.1, 0.4, 0.2]])
    areas = metrics.roc_auc_per_class(labels, guesses)
    assert areas[0] == 1
    assert np.isnan(areas[1:]).all()
    assert metrics.roc_auc(labels, guesses) == 1
    assert metrics.scores(labels, guesses, multilabel=True)["roc_auc_classes"] == 1


def test_average_precision_by_hand():
    labels = np.array([[1], [0], [1], [0]])
    guesses = np.array([[0.9], [0.8], [0.7], [0.1]])
    assert metrics.average_precision(labels, guesses) == pytest.approx((1 + 2 / 3) / 2, rel=1e-12)


def test_padded_cmap_by_hand():
    # Class 0: five sure hits, then a hit (6/6), a miss, a hit (7/8). Class 1 has the five alone: 1.
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    guesses = np.array([[0.9, 0.3], [0.8, 0.2], [0.7, 0.1]])
    expected = ((6 + 7 / 8) / 7 + 1) / 2
    assert metrics.padded_cmap(labels, guesses) == pytest.approx(expected, rel=1e-12)


def test_padding_ties_with_a_sure_miss():
    # The sure miss shares the first rank with the five: precision 5/6 for all of them, then a hit at 6/7.
    labels, guesses = np.array([[0.0], [1.0]]), np.array([[1.0], [0.5]])
    assert metrics.padded_cmap(labels, guesses) == pytest.approx((5 * 5 / 6 + 6 / 7) / 6, rel=1e-12)


def test_log_loss_by_hand():
    expected = -(math.log(0.7) + math.log(0.8) + math.log(0.4) + math.log(0.6)) / 4
    assert metrics.log_loss(LABELS, GUESSES) == pytest.approx(expected, rel=1e-12)


def test_multilabel_log_loss_by_hand():
    found = metrics.log_loss(np.array([[1, 0]]), np.array([[0.8, 0.25]]), multilabel=True)
    assert found == pytest.approx(-(math.log(0.8) + math.log(0.75)) / 2, rel=1e-12)


def test_log_loss_of_a_sure_error_is_finite():
    assert metrics.log_loss(np.array([[1, 0]]), np.array([[0.0, 1.0]])) == pytest.approx(-math.log(1e-7))


def test_calibration_error_by_hand():
    # 15 bins: .7 right and .8 right and .6 right stand alone, .5 wrong alone: gaps .3 .2 .4 .5.
    assert metrics.expected_calibration_error(LABELS, GUESSES) == pytest.approx(0.35, rel=1e-12)
    # In one bin: mean confidence .65, accuracy .75.
    assert metrics.expected_calibration_error(LABELS, GUESSES, bins=1) == pytest.approx(0.1, rel=1e-12)


def test_multilabel_calibration_compares_probability_with_frequency():
    labels = np.array([[1, 0], [0, 0]])
    guesses = np.array([[0.3, 0.3], [0.3, 0.3]])
    found = metrics.reliability(labels, guesses, multilabel=True, bins=5)
    assert found.clips.tolist() == [0, 4, 0, 0, 0]
    assert found.accuracy[1] == 0.25
    assert found.confidence[1] == pytest.approx(0.3)
    assert np.isnan(found.accuracy[0])


def test_bins_hold_their_upper_edge_and_every_clip():
    guesses = np.array([[0.0], [0.2], [0.20001], [1.0]])
    found = metrics.reliability(np.ones((4, 1)), guesses, multilabel=True, bins=5)
    assert found.clips.tolist() == [2, 1, 0, 0, 1]
    assert found.edges.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_single_label_scores_equal_scikit_learn(many):
    labels, guesses = many
    truth, decided = labels.argmax(1), guesses.argmax(1)
    found = metrics.scores(labels, guesses)
    expected = {
        "accuracy": reference.accuracy_score(truth, decided),
        "macro_f1": reference.f1_score(truth, decided, average="macro"),
        "micro_f1": reference.f1_score(truth, decided, average="micro"),
        "macro_roc_auc": reference.roc_auc_score(labels, guesses, average="macro"),
        "macro_average_precision": reference.average_precision_score(labels, guesses, average="macro"),
        "micro_average_precision": reference.average_precision_score(labels, guesses, average="micro"),
        "log_loss": reference.log_loss(labels, guesses),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert metrics.confusion_matrix(labels, guesses).tolist() == (
        reference.confusion_matrix(truth, decided).tolist()
    )


def test_multilabel_scores_equal_scikit_learn(tagged):
    labels, guesses = tagged
    decided = guesses >= 0.5
    padded = [np.vstack([array, np.ones((5, 5))]) for array in tagged]
    found = metrics.scores(labels, guesses, multilabel=True)
    expected = {
        "accuracy": reference.accuracy_score(labels, decided),
        "macro_f1": reference.f1_score(labels, decided, average="macro"),
        "micro_f1": reference.f1_score(labels, decided, average="micro"),
        "macro_roc_auc": reference.roc_auc_score(labels, guesses, average="macro"),
        "macro_average_precision": reference.average_precision_score(labels, guesses, average="macro"),
        "micro_average_precision": reference.average_precision_score(labels, guesses, average="micro"),
        "padded_cmap": reference.average_precision_score(*padded, average="macro"),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_scores_are_json_and_undefined_ones_are_none():
    labels, guesses = np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]])
    found = json.loads(json.dumps(metrics.scores(labels, guesses), allow_nan=False))
    assert found["accuracy"] == 1
    assert found["macro_roc_auc"] is None
    assert found["roc_auc_classes"] == 0


def test_top_k_is_scored_only_where_k_leaves_classes_out(many):
    assert "top_3_accuracy" not in metrics.scores(LABELS, GUESSES)
    assert {"top_3_accuracy", "top_5_accuracy"} <= metrics.scores(*many).keys()


def test_table_of_classes_by_hand():
    rows = metrics.per_class(LABELS, GUESSES, classes=["a", "b", "c"])
    assert [row["class"] for row in rows] == ["a", "b", "c"]
    assert [row["clips"] for row in rows] == [1, 2, 1]
    assert [row["precision"] for row in rows] == [0.5, 1, 1]
    assert [row["recall"] for row in rows] == [1, 0.5, 1]
    assert rows[1]["f1"] == pytest.approx(2 / 3)
    # Class b: positives .8 and .4, negatives .2 and .2.
    assert rows[1]["roc_auc"] == 1
    assert rows[1]["average_precision"] == 1


def test_table_of_classes_says_none_for_what_is_undefined():
    rows = metrics.per_class(np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]]), classes=["there", "absent"])
    absent = rows[1]
    assert absent["clips"] == 0
    assert {value for key, value in absent.items() if key not in {"class", "clips"}} == {None}


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"\(2, 3\), \(3, 2\)"),
        (np.zeros(3), np.zeros(3), "clips, classes"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "at least one"),
        (np.eye(2), np.array([[0.5, math.nan], [0.5, 0.5]]), "probabilities.*clip 0, class 1.*nan"),
        (np.eye(2), np.array([[0.5, 0.5], [0.5, 1.5]]), r"probabilities.*clip 1, class 1.*1\.5"),
        (-np.eye(2), np.full((2, 2), 0.5), "targets.*clip 0, class 0"),
    ],
)
def test_impossible_arrays_are_refused(targets, probabilities, message):
    with pytest.raises(KikiwakeError, match=message):
        metrics.scores(targets, probabilities)


def test_a_clip_without_label_is_refused_where_one_is_expected():
    labels = np.array([[1, 0], [0, 0]])
    with pytest.raises(KikiwakeError, match="1 clips have no label, the first at row 1"):
        metrics.accuracy(labels, np.full((2, 2), 0.5))


def test_names_of_classes_must_fit():
    with pytest.raises(KikiwakeError, match=r"one name a class.*\(2, 3\)"):
        metrics.per_class(LABELS, GUESSES, classes=["a", "b"])


def interval(labels, guesses, seed=1, **options):
    return metrics.bootstrap(metrics.accuracy, labels, guesses, rng=np.random.default_rng(seed), **options)


def coin_flips(clips: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    right = np.arange(clips) < clips * share
    return np.eye(2)[np.zeros(clips, dtype=int)], np.eye(2)[(~right).astype(int)] * 0.8 + 0.1


def test_interval_of_a_proportion_has_the_binomial_width():
    found = interval(*coin_flips(400, 0.7), replicates=4000)
    spread = 1.96 * math.sqrt(0.7 * 0.3 / 400)
    assert found.value == 0.7
    assert found.low == pytest.approx(0.7 - spread, abs=0.006)
    assert found.high == pytest.approx(0.7 + spread, abs=0.006)
    assert found.replicates == 4000


def test_clips_of_one_recording_widen_the_interval():
    # 10 clips a recording, all right or all wrong: as informative as 40 clips, so sqrt(10) times as wide.
    labels, guesses = coin_flips(400, 0.7)
    alone = interval(labels, guesses, replicates=2000)
    grouped = interval(labels, guesses, groups=[f"r{clip // 10}" for clip in range(400)], replicates=2000)
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.12)


def test_whole_groups_are_drawn():
    seen = set()

    def remember(targets, _):
        rows, counts = np.unique(targets[:, 0], return_counts=True)
        seen.update(zip(rows.tolist(), counts.tolist(), strict=True))
        return 0.0

    # Recording a has 1 clip, b has 3: in every replicate their clips come in multiples of 1 and 3.
    rows = np.array([[0.1], [0.2], [0.2], [0.2]])
    metrics.bootstrap(
        remember, rows, rows, groups=["a", "b", "b", "b"], replicates=50, rng=np.random.default_rng(0)
    )
    assert seen == {(0.1, 1), (0.1, 2), (0.2, 3), (0.2, 6)}


def test_a_clip_without_group_is_its_own():
    labels, guesses = coin_flips(400, 0.7)
    assert interval(labels, guesses, groups=[None] * 400) == interval(labels, guesses)


def test_the_same_seed_gives_the_same_interval():
    def found(seed):
        rng = np.random.default_rng(seed)
        return metrics.bootstrap(metrics.log_loss, LABELS, GUESSES, replicates=20, rng=rng)

    assert found(3) == found(3)
    assert found(3) != found(4)


def test_intervals_of_all_scores_contain_them_and_agree_with_the_single_one(many):
    labels, guesses = many
    found = metrics.bootstrap_scores(labels, guesses, replicates=100, rng=np.random.default_rng(1))
    assert found.keys() == metrics.scores(labels, guesses).keys()
    assert found["accuracy"] == interval(labels, guesses, replicates=100)
    for name in ("accuracy", "macro_roc_auc", "macro_f1"):
        assert found[name].low < found[name].value < found[name].high


def test_replicates_without_a_score_are_left_out_and_counted():
    # With 1 positive of 3 clips, a replicate misses it with probability (2/3)^3 = 8/27.
    labels, guesses = np.array([[1.0], [0.0], [0.0]]), np.array([[0.9], [0.1], [0.2]])
    found = metrics.bootstrap(
        metrics.average_precision, labels, guesses, replicates=1000, rng=np.random.default_rng(2)
    )
    assert found.replicates == pytest.approx(1000 * 19 / 27, abs=45)
    assert (found.low, found.high) == (1, 1)


def test_a_score_that_never_exists_has_no_interval():
    found = metrics.bootstrap(
        metrics.roc_auc, np.ones((3, 1)), np.ones((3, 1)), replicates=5, rng=np.random.default_rng(0)
    )
    assert found == metrics.Interval(None, None, None, 0.95, 0)


def test_wrong_options_of_the_bootstrap_are_refused():
    with pytest.raises(KikiwakeError, match=r"one group a clip.*\(2, 4\)"):
        interval(LABELS, GUESSES, groups=["a", "b"])
    with pytest.raises(KikiwakeError, match="replicate"):
        interval(LABELS, GUESSES, replicates=0)
    with pytest.raises(KikiwakeError, match="level"):
        interval(LABELS, GUESSES, level=95)
