"""Pairs from files: decoding, cutting, the reduction or degradation that makes LR, and the limit of the memory."""

import numpy as np
import pytest
from PIL import Image

from keras_fsr.data import loading
from keras_fsr.data.folders import Pair
from keras_fsr.data.loading import cut_to_multiple, decode, load_pair, load_pairs, reduce, shrink
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DataError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def blurred(image: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Gaussian blur in plain NumPy, mirrored about the outermost pixels, float64."""
    half = size // 2
    taps = np.exp(-((np.arange(size) - half) ** 2) / (2 * sigma**2))
    padded = np.pad(image.astype(float), ((half, half), (half, half), (0, 0)), mode="reflect")
    rows = sum(tap * padded[i : i + image.shape[0]] for i, tap in enumerate(taps)) / taps.sum()
    return sum(tap * rows[:, i : i + image.shape[1]] for i, tap in enumerate(taps)) / taps.sum()


@pytest.fixture
def noise_pairs(save_image):
    """Four pairs at scale 2, LR given."""
    shapes = [(9, 12), (12, 9), (16, 8), (8, 8)]
    return [
        Pair(save_image(f"hr/{i}.png", noise(2 * h, 2 * w, i)), save_image(f"lr/{i}.png", noise(h, w, 9 + i)))
        for i, (h, w) in enumerate(shapes)
    ]


def test_lr_is_made_by_pillow_bicubic_from_hr_cut_to_the_scale(save_image):
    pixels = noise(26, 35)
    lr, hr = load_pair(Pair(save_image("a.png", pixels)), scale=4)
    np.testing.assert_array_equal(hr, pixels[:24, :32])
    expected = Image.fromarray(pixels[:24, :32]).resize((8, 6), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(lr, np.asarray(expected))
    np.testing.assert_array_equal(reduce(hr, 4), lr)


def test_degradation_comes_before_the_reduction_and_leaves_the_original_sharp(save_image):
    pixels = noise(25, 20)
    pair, degrade = Pair(save_image("hr.png", pixels)), Degrader(presets.load("jiang"), 2)
    lr, hr = load_pair(pair, 2, degrade)
    np.testing.assert_array_equal(hr, pixels[:24])
    # Jiang, Xu and Sun: Gaussian 7x7 of sigma 5, then half the size; here with a rounding more.
    soft = np.rint(blurred(pixels[:24], 7, 5.0)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(soft).resize((10, 12), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(lr.astype(int), expected, atol=1)
    assert lr.std() < 0.5 * load_pair(pair, 2)[0].std()


def test_index_chooses_the_degradation(save_image):
    pair, degrade = Pair(save_image("hr.png", noise(32, 32))), Degrader(presets.load("real-esrgan"), 4, seed=1)
    lrs = [load_pair(pair, 4, degrade, index)[0] for index in range(5)]
    for index, lr in enumerate(lrs):
        np.testing.assert_array_equal(lr, degrade(decode(pair.hr), index, 0))
    assert len({lr.tobytes() for lr in lrs}) == 5
    together = load_pairs([pair] * 5, 4, degrade)
    for lr, (same, _) in zip(lrs, together, strict=True):
        np.testing.assert_array_equal(lr, same)


@pytest.mark.parametrize("name", ["jiang", "real-esrgan"])
def test_lr_files_that_are_given_are_not_degraded(name, noise_pairs):
    for pair in noise_pairs:
        np.testing.assert_array_equal(load_pair(pair, 2, Degrader(presets.load(name), 2))[0], decode(pair.lr))


@pytest.mark.parametrize(("scale", "shape"), [(1, (26, 35)), (4, (24, 32)), (5, (25, 35)), (26, (26, 26))])
def test_cut_keeps_the_top_left_corner(scale, shape):
    pixels = noise(26, 35)
    result = cut_to_multiple(pixels, scale)
    np.testing.assert_array_equal(result, pixels[: shape[0], : shape[1]])
    assert result.flags.c_contiguous


def test_shrinking_is_pillow_s_lanczos():
    expected = Image.fromarray(noise(26, 35)).resize((14, 10), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(shrink(noise(26, 35), 0.4), np.asarray(expected))
    assert shrink(noise(4, 4), 0.01).shape == (1, 1, 3)


@pytest.mark.parametrize("channels", [1, 4], ids=["gray", "RGBA"])
def test_images_become_rgb(channels, save_image):
    pixels = np.full((4, 5, channels), 99, np.uint8)
    result = decode(save_image("a.png", pixels.squeeze()))
    np.testing.assert_array_equal(result, np.full((4, 5, 3), 99))


def test_damaged_image_is_named(save_image):
    path = save_image("a.png", noise(20, 20))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"a\.png: is damaged"):
        decode(path)
    with pytest.raises(DataError, match=r"none\.png: is damaged"):
        decode(path.with_name("none.png"))


def test_images_beyond_the_memory_are_refused(noise_pairs, monkeypatch):
    total = sum(array.nbytes for pair in load_pairs(noise_pairs, 2) for array in pair)
    monkeypatch.setattr(loading, "MAX_CACHE_BYTES", total)
    assert len(load_pairs(noise_pairs, 2)) == 4
    monkeypatch.setattr(loading, "MAX_CACHE_BYTES", total - 1)
    with pytest.raises(DataError, match="4 images need more than"):
        load_pairs(noise_pairs, 2)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_gray_of_16_bits_is_rounded_not_cut(tmp_path, name):
    levels = np.arange(0, 65536, 199, np.uint16)[:320].reshape(16, 20)
    Image.fromarray(levels).save(tmp_path / name)
    expected = np.rint(levels / 257).astype(np.uint8)
    assert np.array_equal(decode(tmp_path / name), np.repeat(expected[..., None], 3, axis=2))


def test_pixels_of_32_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: has 32-bit pixels of the kind F; save it"):
        decode(tmp_path / "a.tif")
