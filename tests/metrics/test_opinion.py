"""Opinion scores: DMOS, its interval and the screening of BT.500, all computed by hand."""

import math

import numpy as np
import pytest

from keras_fsr.errors import DataError
from keras_fsr.metrics.opinion import FEWEST_SCREENED, confidence, opinion, screen, student

# Three observers (rows), two presentations (columns).
ORIGINAL = np.array([[80.0, 90.0], [70.0, 80.0], [90.0, 100.0]])
PROCESSED = np.array([[60.0, 50.0], [40.0, 70.0], [80.0, 70.0]])

# Ten difference scores with a mean of 0. Squares: 64 + 4 * 9 + 3 * 4 + 2 * 9 = 130, so S = sqrt(130 / 9) = 3.80;
# fourth powers: 4096 + 4 * 81 + 3 * 16 + 2 * 81 = 4630, so beta2 = 463 / 13**2 = 2.74, normal. Only the first of them
# is farther than 2 S = 7.60.
FAR = [8, 3, 3, -3, -3, 2, -2, -2, -3, -3]
# Nobody is far: beta2 = 1, and S = sqrt(10 / 9).
NEAR = [1, -1] * 5


def presentations(above: int, below: int, near: int) -> np.ndarray:
    """Difference scores of ten observers; the first is far above and far below so many times."""
    return 40.0 + np.array([FAR] * above + [np.negative(FAR)] * below + [NEAR] * near).T


def test_dmos_is_the_mean_difference_and_mos_that_of_the_processed():
    # Differences: (20, 40), (30, 10), (10, 30), 140 in all; processed: 370 in all.
    found = opinion(ORIGINAL, PROCESSED)
    assert found.dmos == pytest.approx(140 / 6)
    assert found.mos == pytest.approx(370 / 6)
    assert (found.observers, found.ratings) == (3, 6)


def test_interval_is_over_the_observers_means():
    # The observers' means are 30, 20, 20: S = sqrt((6.667**2 + 2 * 3.333**2) / 2) = 5.7735; t of 2 degrees is 4.303;
    # 4.303 * 5.7735 / sqrt(3) = 14.343.
    assert opinion(ORIGINAL, PROCESSED).interval == pytest.approx(14.343, abs=0.001)
    assert confidence(np.array([30.0, 20.0, 20.0])) == pytest.approx(14.343, abs=0.001)


def test_two_observers_have_an_interval():
    # S = 7.0711, t of 1 degree 12.706.
    assert confidence(np.array([10.0, 20.0])) == pytest.approx(12.706 * 7.0711 / math.sqrt(2), abs=0.001)


def test_more_images_alone_do_not_narrow_the_interval():
    twice = opinion(np.tile(ORIGINAL, 2), np.tile(PROCESSED, 2))
    assert twice.interval == pytest.approx(opinion(ORIGINAL, PROCESSED).interval)
    assert twice.ratings == 12


def test_a_single_observer_has_no_interval():
    found = opinion(ORIGINAL[:1], PROCESSED[:1])
    assert math.isnan(found.interval)
    assert found.dmos == 30


# A printed table of Student's t, two-sided 5 %.
@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (2, 4.303), (9, 2.262), (10, 2.228), (11, 2.201), (14, 2.145), (30, 2.042), (120, 1.980)],
)
def test_student(degrees, quantile):
    assert student(degrees) == pytest.approx(quantile, abs=0.0006)


def test_student_tends_to_the_factor_of_bt500():
    assert student(10**6) == pytest.approx(1.96, abs=0.0001)


@pytest.mark.parametrize(
    ("original", "processed"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(3), np.zeros(3)),
        (np.zeros((0, 3)), np.zeros((0, 3))),
    ],
)
def test_scores_of_other_shapes_are_refused(original, processed):
    with pytest.raises(DataError, match="give \\(observers, presentations\\) of both"):
        opinion(original, processed)


@pytest.mark.parametrize("score", [-1, 100.5, math.nan, math.inf])
def test_scores_out_of_range_are_refused(score):
    wrong = PROCESSED.copy()
    wrong[1, 1] = score
    with pytest.raises(DataError, match="0 to 100"):
        opinion(ORIGINAL, wrong)
    with pytest.raises(DataError, match="0 to 100"):
        opinion(wrong, PROCESSED)


def test_the_ends_of_the_scale_are_scores():
    assert opinion(np.full((2, 1), 100.0), np.zeros((2, 1))).dmos == 100


@pytest.mark.parametrize(
    ("above", "below", "near", "rejected"),
    [
        (1, 1, 18, True),  # 2 of 20 are 10 %, |P - Q| / (P + Q) = 0
        (1, 1, 37, True),  # 2 of 39 are 5.1 %
        (1, 1, 38, False),  # 2 of 40 are 5 %, which is not more
        (2, 1, 17, False),  # 1 / 3 is over 0.3: strict rather than random
        (1, 2, 17, False),
        (7, 12, 0, True),  # 5 / 19 = 0.26
        (13, 7, 0, False),  # 6 / 20 = 0.3, which is not less
        (4, 0, 16, False),
    ],
)
def test_who_is_far_often_and_on_both_sides_is_left_out(above, below, near, rejected):
    found = screen(presentations(above, below, near))
    assert found.above.tolist() == [above] + [0] * 9
    assert found.below.tolist() == [below] + [0] * 9
    assert found.rejected.tolist() == [rejected] + [False] * 9


def test_two_standard_deviations_are_far():
    # Squares: 576 in all, so S = sqrt(576 / 9) = 8, and -16 is exactly 2 S from the mean of 0; beta2 = 2.4.
    scores = np.array([[8, 3, -8, 3, 9, 0, -2, -5, 8, -16]], np.float64).T
    assert screen(scores).below.tolist() == [0] * 9 + [1]
    assert screen(-scores).above.tolist() == [0] * 9 + [1]


def test_the_standard_deviation_is_that_of_a_sample():
    # Squares: 112 in all, so S = sqrt(112 / 9) = 3.53, and 7 is under 2 S; it is over 2 sqrt(112 / 10). beta2 = 2.3.
    assert not screen(np.array([[7, 3, 3, -3, -3, 2, -2, -3, -3, -1]], np.float64).T).above.any()


@pytest.mark.parametrize(
    "scores",
    [
        # Squares 392, fourth powers 76,832: beta2 = 8 * 76832 / 392**2 = 4. S = 7.48, so 16 is far.
        [0, 0, 0, 0, 0, 6, 10, -16],
        # Squares 392, fourth powers 19,208: beta2 = 16 * 19208 / 392**2 = 2. S = 5.11, so 11 is far.
        [5, -4, 4, 4, -4, 0, 5, -5, -4, 5, 4, 5, -5, -4, 5, -11],
    ],
)
def test_kurtosis_of_2_and_4_is_normal(scores):
    assert screen(np.array([scores], np.float64).T).below.sum() == 1


@pytest.mark.parametrize(
    "scores",
    [
        [5, 5, 5, 5, -6, -5, 5, -6, 6, -5, -6, -6, 6, 5, 5, -13],
        [0, 0, 0, 0, 0, 0, 0, 8],
    ],
)
def test_other_kurtosis_wants_four_and_a_half_deviations(scores):
    scores = np.array(scores, np.float64)
    deviations = scores - scores.mean()
    kurtosis = (deviations**4).mean() / (deviations**2).mean() ** 2
    assert not 2 <= kurtosis <= 4
    assert 2 < abs(deviations[-1]) / scores.std(ddof=1) < math.sqrt(20)
    found = screen(scores[:, None])
    assert not found.above.any()
    assert not found.below.any()


@pytest.mark.parametrize(("observers", "far"), [(21, False), (22, True)])
def test_one_against_all_is_far_among_22(observers, far):
    # One of N is (N - 1) / sqrt(N) S from the mean: 4.364 of 21, 4.477 of 22, where sqrt(20) = 4.472.
    scores = np.zeros((observers, 1))
    scores[3] = 50
    assert screen(scores).above.tolist() == [far and index == 3 for index in range(observers)]


def test_six_observers_are_the_fewest_that_can_be_screened():
    # One of 5 lies at most 4 / sqrt(5) = 1.79 S from the mean, one of 6 at most 5 / sqrt(6) = 2.04.
    # These six: squares 20, so S = 2 and 4 is 2 S; fourth powers 260, so beta2 = 6 * 260 / 20**2 = 3.9, normal.
    assert FEWEST_SCREENED == 6
    six = np.array([[-1.0, -1.0, -1.0, -1.0, 0.0, 4.0]]).T
    assert screen(six).above.tolist() == [0, 0, 0, 0, 0, 1]
    five = np.random.default_rng(0).normal(size=(5, 20_000))
    assert not screen(five).above.any()
    assert not screen(five).below.any()


def test_nobody_is_far_where_all_agree():
    found = screen(np.full((8, 30), 12.0))
    assert not found.above.any()
    assert not found.below.any()
    assert not found.rejected.any()


def test_where_all_would_be_left_out_nobody_is():
    # Each of ten observers is far above in one of 20 presentations and far below in another.
    found = screen(np.array([np.roll(sign * np.array(FAR), k) for k in range(10) for sign in (1, -1)], np.float64).T)
    assert found.above.tolist() == found.below.tolist() == [1] * 10
    assert not found.rejected.any()


def test_a_single_observer_is_kept():
    assert screen(np.array([[3.0, 4.0]])).rejected.tolist() == [False]


def test_who_answers_at_random_is_left_out_and_the_others_stay():
    rng = np.random.default_rng(8)
    scores = np.rint(rng.uniform(5, 60, 60) + rng.normal(0, 6, (15, 60)))
    scores[4] = rng.integers(0, 101, 60) - rng.integers(0, 101, 60)
    assert screen(scores).rejected.nonzero()[0].tolist() == [4]


def test_who_is_always_stricter_stays():
    rng = np.random.default_rng(3)
    scores = np.rint(rng.uniform(5, 40, 60) + rng.normal(0, 6, (15, 60)))
    scores[4] += 13
    found = screen(scores)
    assert found.above[4] > 0.05 * 60
    assert not found.rejected.any()
