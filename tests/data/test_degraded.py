"""Pictures of hidden cameras: what a camera's pictures share, how batches pair them, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.data.degraded import SameDegradation, take_pictures, window
from keras_fsr.data.loading import decode
from keras_fsr.degradations.classical import Chain, Colour, GaussianNoise, Resize, draw_seed
from keras_fsr.errors import DataError


class Cameras:
    """A random gain, and noise of a random strength up to `noise` levels."""

    def __init__(self, noise: float = 0.0):
        self.noise = noise

    def draw(self, rng: np.random.Generator, scale: int) -> Chain:
        gain = tuple(map(float, rng.uniform(0.3, 1.0, 3)))
        steps = [Resize(1 / scale, "area"), Colour(gain=gain)]
        if self.noise:
            steps.append(GaussianNoise(float(rng.uniform(self.noise / 2, self.noise)), False, draw_seed(rng)))
        return Chain(tuple(steps))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Eight images of 120x104; red and green tell the place of a pixel, blue the file."""
    folder = tmp_path_factory.mktemp("images")
    y, x = np.mgrid[:104, :120]
    paths = []
    for index in range(8):
        path = folder / f"{index}.png"
        Image.fromarray(np.stack([x * 2, y * 2, np.full_like(x, 30 * index)], axis=2).astype(np.uint8)).save(path)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def gray(tmp_path_factory) -> list[Path]:
    """Three flat images."""
    folder = tmp_path_factory.mktemp("gray")
    paths = [folder / f"{index}.png" for index in range(3)]
    for path in paths:
        Image.new("RGB", (256, 256), (200, 200, 200)).save(path)
    return paths


# One camera


def test_pictures_are_windows_of_different_images_and_their_degraded_selves(files):
    camera = take_pictures(Cameras(), files, 5, scale=4, size=16, count=3)
    assert camera.hq.shape == (3, 64, 64, 3)
    assert camera.lq.shape == (3, 16, 16, 3)
    assert camera.hq.dtype == camera.lq.dtype == np.uint8
    assert len(set(camera.files)) == 3
    for hq, lq, file in zip(camera.hq, camera.lq, camera.files, strict=True):
        x, y, _ = hq[0, 0] // 2
        np.testing.assert_array_equal(hq, decode(file)[y : y + 64, x : x + 64])
        np.testing.assert_array_equal(lq, camera.chain(hq))


def test_windows_lie_anywhere_in_an_image(files):
    cameras = [take_pictures(Cameras(), files, index, 4, 16) for index in range(60)]
    corners = np.concatenate([camera.hq[:, 0, 0, :2] // 2 for camera in cameras]).T
    for places, room in zip(corners, (120 - 64, 104 - 64), strict=True):
        assert places.min() < 4
        assert places.max() > room - 4
    assert {file for camera in cameras for file in camera.files} == set(files)


def test_window_of_the_whole_image_is_the_image(files):
    image = decode(files[1])[:104, :104]
    np.testing.assert_array_equal(window(image, 104, np.random.default_rng(0), "a"), image)


def test_same_seed_and_index_make_the_same_pictures_and_others_do_not(files):
    def pictures(**options):
        return take_pictures(Cameras(10), files, **{"index": 1, "scale": 4, "size": 16, "seed": 2} | options)

    first, again = pictures(), pictures()
    assert again.chain == first.chain
    assert again.files == first.files
    np.testing.assert_array_equal(again.hq, first.hq)
    np.testing.assert_array_equal(again.lq, first.lq)
    for options in ({"index": 2}, {"seed": 3}):
        other = pictures(**options)
        assert other.chain != first.chain
        assert (other.lq != first.lq).any()


def test_noise_of_a_camera_is_as_strong_in_each_picture_and_never_the_same(gray):
    camera = take_pictures(Cameras(20), gray, 0, scale=4, size=64, count=3)
    clean = Chain(camera.chain.steps[:-1])(camera.hq[0]).astype(float)
    noise = np.array([lq - clean for lq in camera.lq])
    # Rounded to levels; 12,288 values, whose deviation is off by 0.6 % of itself, one in three times.
    np.testing.assert_allclose(noise.std(axis=(1, 2, 3)), camera.chain.steps[-1].sigma, rtol=0.04)
    correlation = np.corrcoef(noise.reshape(3, -1))
    assert np.abs(correlation - np.eye(3)).max() < 0.05


def test_pictures_have_the_steps_of_the_chain_but_for_seeds(gray, monkeypatch):
    asked = []
    reseeded = Chain.reseeded

    def record(chain, seed):
        asked.append(reseeded(chain, seed))
        return asked[-1]

    monkeypatch.setattr(Chain, "reseeded", record)
    camera = take_pictures(Cameras(20), gray, 0, scale=4, size=16, count=3)
    assert len(asked) == 3
    for picture in asked:
        assert picture.steps[:-1] == camera.chain.steps[:-1]
        assert dataclasses.replace(picture.steps[-1], seed=0) == dataclasses.replace(camera.chain.steps[-1], seed=0)
    assert len({picture.steps[-1].seed for picture in asked} | {camera.chain.steps[-1].seed}) == 4


def test_too_few_images_are_refused(files):
    with pytest.raises(DataError, match="3 pictures a camera need as many images, there are 2; add images"):
        take_pictures(Cameras(), files[:2], 0, 4, 16, count=3)


def test_too_small_image_is_refused_by_its_name(files):
    with pytest.raises(DataError, match=r"\d\.png: 120x104 is smaller than 128x128; remove it"):
        take_pictures(Cameras(), files, 0, scale=4, size=32)


def test_damaged_image_is_refused_by_its_name(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.write_bytes(b"this is no image")
    with pytest.raises(DataError, match=r"[ab]\.png: is damaged"):
        take_pictures(Cameras(), paths, 0, 4, 16)


# Batches


OPTIONS = {"scale": 4, "cameras": 5, "pictures": 3, "size": 24, "patch_size": 16, "batch_size": 4, "seed": 1}


@pytest.fixture(scope="module")
def pictures(files) -> SameDegradation:
    return SameDegradation(Cameras(), files, **OPTIONS)


def places(pictures: SameDegradation, hq: np.ndarray, lq: np.ndarray) -> tuple[int, int, int, int]:
    """(camera, picture, y, x) of a patch, of which there is one; y and x in LR pixels."""
    side, scale = pictures.patch_size, pictures.scale
    found = []
    for number, camera in enumerate(pictures.cameras):
        for picture in range(len(camera.lq)):
            for y in range(pictures.size - side + 1):
                for x in range(pictures.size - side + 1):
                    rows, columns = slice(y * scale, (y + side) * scale), slice(x * scale, (x + side) * scale)
                    if np.array_equal(camera.hq[picture][rows, columns], hq) and np.array_equal(
                        camera.lq[picture][y : y + side, x : x + side], lq
                    ):
                        found.append((number, picture, y, x))
    [place] = found
    return place


def test_a_row_is_two_pictures_of_one_camera_and_each_row_of_another(pictures):
    corners = set()
    for step in range(6):
        batch = pictures.batch(step)
        assert [part.shape for part in batch] == [(4, 64, 64, 3), (4, 16, 16, 3)] * 2
        assert {part.dtype for part in batch} == {np.dtype("uint8")}
        cameras = []
        for hq_a, lq_a, hq_b, lq_b in zip(*batch, strict=True):
            camera_a, picture_a, *corner_a = places(pictures, hq_a, lq_a)
            camera_b, picture_b, *corner_b = places(pictures, hq_b, lq_b)
            assert camera_a == camera_b
            assert picture_a != picture_b
            cameras.append(camera_a)
            corners |= {tuple(corner_a), tuple(corner_b)}
        assert len(set(cameras)) == 4
    assert corners == {(0, 0), (0, 8), (8, 0), (8, 8)}


def test_step_and_seed_fix_a_batch(pictures, files):
    same = SameDegradation(Cameras(), files, **OPTIONS)
    for step in (0, 7):
        for a, b in zip(pictures.batch(step), same.batch(step), strict=True):
            np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(pictures.batch(0), pictures.batch(1), strict=True))
    other = SameDegradation(Cameras(), files, **OPTIONS | {"seed": 2})
    assert [camera.chain for camera in other.cameras] != [camera.chain for camera in pictures.cameras]


def test_cameras_are_those_of_their_index(pictures, files):
    assert len(pictures.cameras) == 5
    for index, camera in enumerate(pictures.cameras):
        expected = take_pictures(Cameras(), files, index, 4, 24, 3, seed=1)
        assert camera.chain == expected.chain
        np.testing.assert_array_equal(camera.lq, expected.lq)


def test_dataset_is_the_batches_from_a_step_on_in_0_to_1(pictures):
    for step, batch in zip((3, 4, 5), pictures.dataset(first_step=3), strict=False):
        for images, expected in zip(batch, pictures.batch(step), strict=True):
            assert images.dtype == "float32"
            assert images.shape == expected.shape
            np.testing.assert_allclose(images, expected / 255, atol=1e-6)


def test_patch_may_be_the_whole_picture(files):
    pictures = SameDegradation(Cameras(), files, **OPTIONS | {"patch_size": 24})
    hq_a, lq_a, _, _ = pictures.batch(0)
    assert places(pictures, hq_a[0], lq_a[0])[2:] == (0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 20}, "size 20 is not a multiple of 8"),
        ({"patch_size": 12}, "patch_size 12 is not a multiple of 8"),
        ({"patch_size": 0}, "patch_size 0 is not a multiple of 8"),
        ({"size": -8}, "size -8 is not a multiple of 8"),
        ({"patch_size": 32}, "patches of 32 in pictures of 24"),
        ({"pictures": 1}, "1 pictures a camera"),
        ({"cameras": 3}, "3 cameras for batches of 4"),
        ({"pictures": 9}, "9 pictures a camera need as many images, there are 8"),
        ({"size": 32}, "120x104 is smaller than 128x128"),
    ],
)
def test_what_cannot_be_is_refused(options, message, files):
    with pytest.raises(DataError, match=message) as caught:
        SameDegradation(Cameras(), files, **OPTIONS | options)
    assert "\n" not in str(caught.value)
