"""Jobs: what they write, how they share networks, how they end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import ImageError
from keras_fsr.inference.faces import FacePredictor
from keras_fsr.inference.parallel import Pool
from keras_fsr.inference.predictor import Predictor
from keras_fsr.web import jobs as module
from keras_fsr.web.jobs import CancelledError, Jobs, OneAtATime, Order, Predictors


@pytest.fixture(scope="module")
def predictors():
    return Predictors(max_pixels=40_000)


@pytest.fixture
def jobs(tmp_path, predictors):
    folder = tmp_path / "jobs"
    folder.mkdir()
    return Jobs(folder, predictors)


def ignore(done, total):
    pass


@pytest.mark.parametrize("order", [Order("face_x4"), Order("face_x4_gan", 0.5)])
def test_the_file_is_the_predictors_to_the_byte(jobs, turned, tmp_path, order):
    calls = []
    result = jobs.enlarge(turned, order, "me", lambda *call: calls.append(call))
    expected = Predictor(order.model, strength=order.strength).predict(turned, tmp_path / "expected.png")
    assert result.after.name == "turned face_x4.png"
    assert result.after.read_bytes() == expected.read_bytes()
    with Image.open(result.before) as before, Image.open(turned) as photo:
        assert before.size == (40, 28)
        assert before.info["icc_profile"] == photo.info["icc_profile"]
        np.testing.assert_array_equal(np.asarray(before), np.rot90(np.asarray(photo), -1))
    assert result.facts.startswith("turned face.jpg: 40 × 28 became 160 × 112 pixels in ")
    assert result.facts.endswith(" s.")
    assert calls == [(1, 1)]


def test_faces_are_counted(jobs, astronaut, save_image, tmp_path):
    result = jobs.enlarge(astronaut, Order("face_x4", faces=True), "me", ignore)
    assert result.facts.endswith(" s. 1 face found; the rest is bicubic interpolation.")
    expected = FacePredictor("face_x4").predict(astronaut, tmp_path / "expected.png")
    assert result.after.read_bytes() == expected.read_bytes()
    empty = save_image("empty.png", np.full((20, 20, 3), 99, np.uint8))
    facts = jobs.enlarge(empty, Order("face_x4", faces=True), "me", ignore).facts
    assert facts.endswith(" s. No face was found: the model has enlarged all of it.")
    assert module.of_faces(2).startswith("2 faces found;")


def test_a_photo_above_pillows_own_limit_of_the_reader_is_done_if_the_server_allows_it(jobs, turned, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "read_image", lambda photo, most: seen.append(most) or pytest.fail("enough"))
    with pytest.raises(pytest.fail.Exception):
        jobs.enlarge(turned, Order("face_x4"), "me", ignore)
    assert seen == [40_000]


def test_a_refused_photo_leaves_nothing_and_the_reason_says_no_path(jobs, save_image, tmp_path):
    large = save_image("jobs/abc/large <b>.png", np.zeros((201, 200, 3), np.uint8))
    with pytest.raises(ImageError) as caught:
        jobs.enlarge(large, Order("face_x4"), "me", ignore)
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["abc"]
    reason = jobs.reason(large, caught.value)
    assert reason.startswith("large <b>.png: has 200 x 201 pixels, more than the limit of 40000;")
    assert "\n" not in reason
    assert jobs.reason(large, MemoryError()).startswith("large <b>.png: does not fit in memory")


def test_a_session_is_cancelled_at_its_next_tile_and_no_other(jobs, turned, monkeypatch):
    arrived, gate, call = threading.Semaphore(0), threading.Event(), Pool.__call__

    def slow(self, pixels):
        arrived.release()
        gate.wait(30)
        return call(self, pixels)

    monkeypatch.setattr(Pool, "__call__", slow)
    with ThreadPoolExecutor(2) as pool:
        gone, stays = (
            pool.submit(jobs.enlarge, turned, Order("face_x4"), name, ignore) for name in ("gone", "stays")
        )
        assert arrived.acquire(timeout=30)
        assert arrived.acquire(timeout=30)
        assert not jobs.cancel(None)  # a caller without a session has no jobs
        assert jobs.cancel("gone")
        gate.set()
        with pytest.raises(CancelledError):
            gone.result(30)
        assert stays.result(30).after.is_file()
    assert len(list(stays.result().after.parents[1].iterdir())) == 1  # the cancelled job's folder is gone
    gate.clear()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(jobs.enlarge, turned, Order("face_x4"), "me", ignore)
        assert arrived.acquire(timeout=30)
        jobs.cancel_all()
        gate.set()
        with pytest.raises(CancelledError):
            job.result(30)
    assert not jobs.cancel("gone")  # nothing of it is remembered
    assert jobs.enlarge(turned, Order("face_x4"), "gone", ignore).after.is_file()


def test_a_network_is_loaded_once_and_shared():
    predictors = Predictors(40_000)
    first, second = (predictors.get(Order("face_x4", faces=True)) for _ in range(2))
    assert first is not second
    assert first.network is second.network
    assert isinstance(first.network, Pool)
    assert first.scale == 4
    assert isinstance(first.detector, OneAtATime)
    assert first.detector is second.detector
    assert predictors.get(Order("face_x4")).network is not first.network


def test_a_detector_is_called_by_one_thread_at_a_time():
    inside, most = [], []

    def detect(pixels):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return []

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(OneAtATime(detect), [np.zeros((4, 4, 3), np.uint8)] * 8))
    assert most == [1] * 8


def test_only_the_last_used_networks_are_kept(monkeypatch):
    loads = []
    monkeypatch.setattr(Predictors, "_load", lambda self, order: loads.append(order.model) or object())
    predictors = Predictors(40_000)
    for name in [*"abcd", "a", "e", "a", "c", "b"]:
        predictors.get(Order(name))
    assert loads == [*"abcd", "e", "b"]


def test_folders_of_deleted_files_are_removed_when_they_are_old(tmp_path, monkeypatch):
    import os

    for name in ("old", "young", "used", "busy"):
        (tmp_path / name).mkdir()
    (tmp_path / "used" / "x.png").touch()
    for name in ("broken off", "under way"):
        (tmp_path / name).touch()
    long_ago = time.time() - module.KEEP - 60
    for name in ("old", "used", "busy", "broken off"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    module.remove_empty(tmp_path, [tmp_path / "busy"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["busy", "under way", "used", "young"]
