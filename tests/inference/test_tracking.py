"""Faces through time, on boxes made up with known motion and jitter."""

from dataclasses import dataclass

import numpy as np
import pytest

from keras_fsr.inference.tracking import CUT, FaceTracker, histogram_distance, thumbnail

RATE = 30.0
SIDE = 50.0
JITTER = 0.03  # standard deviation of a find's centre and sides, in sides


@dataclass(frozen=True)
class Face:
    left: float
    top: float
    width: float
    height: float
    score: float = 1.0
    landmarks: tuple | None = None


def face(x, y=100.0, side=SIDE, **fields):
    return Face(x - side / 2, y - side / 2, side, side, **fields)


def centre(found):
    return found.left + found.width / 2, found.top + found.height / 2


def track(count, finds, rate=RATE, detections=100.0, levels=lambda index: 100):
    """A finished tracker of `count` even frames; finds: frame -> faces, levels: frame -> gray."""
    looks = []
    tracker = FaceTracker(lambda pixels: looks.append(tracker.frames) or finds(tracker.frames), rate, detections)
    for index in range(count):
        tracker.add(np.full((12, 16, 3), levels(index), np.uint8))
    tracker.finish()
    return tracker, looks


def jittered(truth, seed=0):
    """frame -> its faces with jitter, the same whenever it is asked for."""

    def finds(index):
        rng = np.random.default_rng([seed, index])
        return [
            face(*(np.array(centre(one)) + rng.normal(0, JITTER, 2) * one.width), one.width * rng.normal(1, JITTER))
            for one in truth(index)
        ]

    return finds


def only(tracker, index):
    (found,) = tracker.faces(index)
    return found


MOTIONS = {
    "still": lambda index: [face(100.0)],
    "steady": lambda index: [face(100 + 3.0 * index, 60 + index)],  # 1.8 sides a second
    "nearer": lambda index: [face(100.0, side=SIDE * 1.01**index)],  # x 1.35 a second
}


@pytest.mark.parametrize("detections", [100.0, 10.0])
@pytest.mark.parametrize("motion", MOTIONS)
def test_jitter_from_frame_to_frame_is_a_tenth_of_the_finds(motion, detections):
    truth = MOTIONS[motion]
    finds = jittered(truth)
    tracker, _ = track(150, finds, detections=detections)

    def errors(faces):
        rows = [(*centre(found), np.log(found.width) * SIDE) for found in faces]
        expected = [(*centre(truth(i)[0]), np.log(truth(i)[0].width) * SIDE) for i in range(150)]
        return (np.array(rows) - expected)[15:-15]  # the ends have a test of their own

    found, smooth = errors([finds(i)[0] for i in range(150)]), errors([only(tracker, i) for i in range(150)])
    # Measured: steps 0.03 and 0.07 of the finds', errors 0.25 and 0.5.
    assert np.diff(smooth, axis=0).std() < 0.1 * np.diff(found, axis=0).std()
    assert smooth.std() < 0.65 * found.std()
    assert np.diff(smooth[:, 2]).std() < 0.05 * np.diff(found[:, 2]).std()  # sizes, measured: 0.01 and 0.03


@pytest.mark.parametrize("detections", [100.0, 10.0, 7.0])
def test_steady_motion_is_followed_without_lag_also_at_the_ends(detections):
    truth = MOTIONS["steady"]
    tracker, _ = track(61, truth, detections=detections)
    for index in range(61):
        assert centre(only(tracker, index)) == pytest.approx(centre(truth(index)[0]), abs=1e-2)


def test_the_error_at_a_sudden_stop_is_bounded():
    # The kernel's mean distance on one side times the speed: 0.15 / sqrt(2 pi) s x 1.8 sides/s = 0.11 sides.
    tracker, _ = track(90, lambda index: MOTIONS["steady"](min(index, 45)))
    for index in range(90):
        x, _ = centre(only(tracker, index))
        assert abs(x - centre(MOTIONS["steady"](min(index, 45))[0])[0]) < 0.13 * SIDE


def test_looks_are_spread_and_the_frames_between_filled():
    tracker, looks = track(32, MOTIONS["steady"], detections=10.0)
    assert looks == list(range(0, 32, 3))
    assert all(len(tracker.faces(index)) == 1 for index in range(32))
    assert track(5, MOTIONS["steady"], rate=5.0, detections=10.0)[1] == list(range(5))


def test_missing_finds_are_filled_within_half_a_second():
    missing = set(range(20, 34))
    tracker, _ = track(60, lambda index: [] if index in missing else MOTIONS["steady"](index))
    for index in missing:
        assert centre(only(tracker, index)) == pytest.approx(centre(MOTIONS["steady"](index)[0]), abs=0.5)


@pytest.mark.parametrize("rate", [2.0, 0.1])
def test_a_missing_find_is_filled_where_frames_are_far_apart(rate):
    tracker, _ = track(9, lambda index: [] if index == 4 else MOTIONS["steady"](index), rate=rate)
    assert centre(only(tracker, 4)) == pytest.approx(centre(MOTIONS["steady"](4)[0]))


def test_frames_far_from_any_look_have_the_face_too():
    tracker, looks = track(400, MOTIONS["still"], detections=0.3)
    assert looks == [0, 100, 200, 300]
    assert all(centre(only(tracker, index)) == pytest.approx((100.0, 100.0)) for index in range(400))


def test_a_face_that_appears_elsewhere_is_another():
    tracker, _ = track(30, lambda index: [face(100.0 if index < 15 else 100 + 2 * SIDE)])
    for index in range(30):
        assert centre(only(tracker, index))[0] == pytest.approx(100.0 if index < 15 else 100 + 2 * SIDE)


def test_boxes_within_each_other_keep_their_sizes():
    def finds(index):
        return [face(100.0), face(100.0, side=1.4 * SIDE)][:: -1 if index % 2 else 1]

    tracker, _ = track(30, finds)
    assert [one.width for one in tracker.faces(15)] == pytest.approx([SIDE, 1.4 * SIDE])


def test_a_longer_absence_ends_a_track():
    missing = range(20, 36)
    tracker, _ = track(60, lambda index: [] if index in missing else MOTIONS["still"](index))
    assert [len(tracker.faces(index)) for index in (19, 20, 35, 36)] == [1, 0, 0, 1]


@pytest.mark.parametrize(("seen", "shown"), [(2, 0), (3, 1)])
def test_a_find_counts_from_the_third_on_and_then_from_the_first(seen, shown):
    tracker, _ = track(40, lambda index: MOTIONS["still"](index) if 10 <= index < 10 + seen else [])
    assert [len(tracker.faces(index)) for index in (9, 10, 9 + seen, 10 + seen)] == [0, shown, shown, 0]


def test_between_looks_a_face_is_shown_before_the_first_and_after_the_last_find():
    tracker, _ = track(60, lambda index: MOTIONS["still"](index) if 12 <= index <= 24 else [], detections=10.0)
    assert [len(tracker.faces(index)) for index in (9, 10, 26, 27)] == [0, 1, 1, 0]


@pytest.mark.parametrize("count", [1, 2])
def test_in_a_short_video_every_find_counts(count):
    tracker, _ = track(count, MOTIONS["still"])
    assert [len(tracker.faces(index)) for index in range(count + 1)] == [1] * count + [0]
    assert only(tracker, 0).left == pytest.approx(MOTIONS["still"](0)[0].left)


def test_in_a_short_shot_every_find_counts():
    finds = lambda index: MOTIONS["still"](index) if index == 9 else []  # noqa: E731
    tracker, _ = track(10, finds, levels=lambda index: 60 if index < 9 else 160)
    assert [len(tracker.faces(index)) for index in (8, 9)] == [0, 1]
    assert tracker.found == 1


def test_faces_that_cross_keep_to_their_ways():
    # The one on the left goes to the right and back to front; while they overlap only one is found.
    def truth(index):
        return [face(100 + 3.0 * index), face(280 - 3.0 * index)]

    def finds(index):
        faces = jittered(truth)(index)
        return faces[:1] if 26 <= index <= 34 else faces[:: -1 if index % 2 else 1]

    tracker, _ = track(61, finds)
    for index in range(61):
        found = tracker.faces(index)
        assert len(found) == 2
        for one, other in zip(found, truth(index), strict=True):
            assert np.hypot(*np.subtract(centre(one), centre(other))) < 0.1 * SIDE


def test_two_faces_side_by_side_stay_two():
    tracker, _ = track(30, lambda index: [face(100.0), face(100 + 1.2 * SIDE), face(100.0, 170.0, 0.4 * SIDE)])
    found = tracker.faces(15)
    assert [centre(one)[0] for one in found] == pytest.approx([100.0, 160.0, 100.0])
    assert [one.width for one in found] == pytest.approx([50.0, 50.0, 20.0])


def test_a_wrong_box_among_good_ones_changes_nothing():
    def finds(index):
        return [face(112.0, side=1.7 * SIDE)] if index == 15 else MOTIONS["still"](index)

    tracker, _ = track(31, finds)
    assert centre(only(tracker, 15)) == pytest.approx((100.0, 100.0))
    assert only(tracker, 15).width == pytest.approx(SIDE)


def test_a_cut_ends_all_tracks_and_looks_at_once():
    def finds(index):
        return [face(100.0 if index < 20 else 120.0)]

    tracker, looks = track(40, finds, detections=10.0, levels=lambda index: 60 if index < 20 else 160)
    assert [look for look in looks if 17 <= look <= 24] == [18, 20, 23]
    assert centre(only(tracker, 19))[0] == pytest.approx(100.0)
    assert centre(only(tracker, 20))[0] == pytest.approx(120.0)


def test_what_came_before_a_cut_does_not_count_after_it():
    # Two finds on either side of it: one face with four if the cut is overlooked, none with three otherwise.
    def faces(levels):
        finds = lambda index: MOTIONS["still"](index) if 18 <= index < 22 else []  # noqa: E731
        tracker, _ = track(40, finds, levels=levels)
        return [len(tracker.faces(index)) for index in (19, 20)]

    assert faces(lambda index: 60 if index < 20 else 160) == [0, 0]
    assert faces(lambda index: 60) == [1, 1]


def test_cuts_are_told_from_motion_noise_and_flicker():
    from skimage.data import astronaut, coffee

    def distance(one, other):
        return histogram_distance(*(thumbnail(np.ascontiguousarray(image)) for image in (one, other)))

    frame = astronaut()[:360, :480]
    noise = np.random.default_rng(0).normal(0, 15, frame.shape)
    assert distance(frame, astronaut()[:360, 24:504]) < 0.75 * CUT  # a pan of 5 % of the width
    assert distance(frame, astronaut()[10:350, 13:467]) < 0.75 * CUT  # a zoom
    assert distance(frame, np.clip(frame + noise, 0, 255).astype(np.uint8)) < 0.75 * CUT
    assert distance(frame, np.clip(frame.astype(int) + 10, 0, 255).astype(np.uint8)) < 0.75 * CUT
    assert distance(frame, coffee()[:360, :480]) > 1.5 * CUT
    # The same colours elsewhere.
    assert distance(frame, frame[::-1]) > CUT
    assert distance(frame, frame[:, ::-1]) > CUT


def test_landmarks_are_smoothed_with_the_box_and_the_rest_is_the_nearest_finds():
    def finds(index):
        jitter = (-1) ** index
        marks = ((90.0 + 3 * index + jitter, 90.0), (110.0 + 3 * index + jitter, 90.0))
        return [face(100 + 3.0 * index, score=0.5 + index / 100, landmarks=marks)]

    tracker, _ = track(31, finds)
    found = only(tracker, 15)
    assert np.array(found.landmarks) == pytest.approx(np.array([[135.0, 90.0], [155.0, 90.0]]), abs=0.1)
    assert isinstance(found.landmarks, tuple)
    assert found.score == 0.65


def test_landmarks_that_some_finds_lack_are_the_nearest_finds():
    def finds(index):
        return [face(100.0, landmarks=None if index % 2 else ((1.0, 2.0),))]

    tracker, _ = track(31, finds)
    assert only(tracker, 14).landmarks == ((1.0, 2.0),)
    assert only(tracker, 15).landmarks is None
