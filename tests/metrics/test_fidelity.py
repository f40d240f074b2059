"""PSNR and SSIM against scikit-image, against values worked out by hand, and on impossible input."""

import math

import numpy as np
import pytest

from keras_fsr.errors import DataError
from keras_fsr.metrics.fidelity import METRICS, fidelity, psnr, rgb_to_y, ssim


def _images(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random float image in [0, 255] and the same with noise."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 255, shape)
    return image, np.clip(image + rng.normal(0, 20, shape), 0, 255)


def _skimage_ssim(a: np.ndarray, b: np.ndarray) -> float:
    reference = pytest.importorskip("skimage.metrics")
    return reference.structural_similarity(
        a,
        b,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2 if a.ndim == 3 else None,
    )


@pytest.mark.parametrize(
    ("rgb", "luma"),
    # The corners of BT.601 studio range: black is 16, white 235, and the primaries add up to white.
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_of_the_primaries(rgb, luma):
    result = rgb_to_y(np.full((2, 3, 3), rgb, dtype=np.uint8))
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, np.full((2, 3), luma), atol=1e-9)


def test_luma_equals_skimage():
    color = pytest.importorskip("skimage.color")
    image, _ = _images((9, 7, 3))
    np.testing.assert_allclose(rgb_to_y(image), color.rgb2ycbcr(image / 255.0)[..., 0], atol=1e-9)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3)])
def test_luma_refuses_what_is_not_rgb(shape):
    with pytest.raises(DataError, match=r"\(H, W, 3\)"):
        rgb_to_y(np.zeros(shape))


@pytest.mark.parametrize("shape", [(24, 31), (24, 31, 3)])
def test_psnr_equals_skimage(shape):
    reference = pytest.importorskip("skimage.metrics")
    a, b = _images(shape)
    assert psnr(a, b) == pytest.approx(reference.peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9)


def test_psnr_by_hand():
    a = np.zeros((4, 4), dtype=np.uint8)
    # A difference of 255 everywhere is 0 dB, of 25.5 is 20 dB; uint8 must not wrap around.
    assert psnr(a, a + 255) == pytest.approx(0.0, abs=1e-12)
    assert psnr(a + 25.5, a) == pytest.approx(20.0, abs=1e-12)
    assert psnr(a, a + 1) == psnr(a + 1, a)


def test_psnr_of_equal_images_is_infinite():
    a, _ = _images((5, 5, 3))
    assert psnr(a, a.copy()) == math.inf


@pytest.mark.parametrize("shape", [(11, 11), (24, 31), (24, 31, 3), (40, 17, 3)])
def test_ssim_equals_skimage(shape):
    a, b = _images(shape, seed=1)
    assert ssim(a, b) == pytest.approx(_skimage_ssim(a, b), abs=1e-6)


def test_ssim_of_8_bit_images_equals_skimage():
    a, b = (np.round(image).astype(np.uint8) for image in _images((30, 30, 3), seed=2))
    assert ssim(a, b) == pytest.approx(_skimage_ssim(a, b), abs=1e-6)


def test_ssim_of_equal_images_is_one_and_of_noise_is_low():
    a, b = _images((30, 30), seed=3)
    assert ssim(a, a) == pytest.approx(1.0, abs=1e-12)
    assert ssim(a, b[::-1]) < 0.2


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_border_is_cut_from_every_side(measure):
    a, b = _images((30, 26, 3), seed=4)
    assert measure(a, b, border=3) == measure(a[3:-3, 3:-3], b[3:-3, 3:-3])
    assert measure(a, b, border=3) != measure(a, b)


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize(
    ("a", "b", "border", "message"),
    [
        ((20, 20), (20, 21), 0, r"\(20, 20\) and \(20, 21\)"),
        ((20, 20), (20, 20, 3), 0, "shapes"),
        ((20, 20, 4), (20, 20, 4), 0, "RGB"),
        ((20,), (20,), 0, "gray"),
        ((20, 20), (20, 20), 10, "too small"),
        ((20, 20), (20, 20), -1, "border of -1"),
    ],
)
def test_impossible_pairs_are_refused(measure, a, b, border, message):
    with pytest.raises(DataError, match=message):
        measure(np.zeros(a), np.zeros(b), border=border)


def test_ssim_says_how_large_an_image_must_be():
    with pytest.raises(DataError, match="at least 19 pixels"):
        ssim(np.zeros((18, 40)), np.zeros((18, 40)), border=4)
    assert ssim(np.zeros((19, 40)), np.zeros((19, 40)), border=4) == 1.0


def test_fidelity_measures_luma_and_rgb_inside_the_border():
    sr, hr = _images((32, 28, 3), seed=5)
    result = fidelity(sr, hr, scale=4)
    inside = np.s_[4:-4, 4:-4]
    assert tuple(result) == METRICS
    assert result["psnr_rgb"] == psnr(sr[inside], hr[inside])
    assert result["ssim_rgb"] == ssim(sr[inside], hr[inside])
    assert result["psnr_y"] == pytest.approx(psnr(rgb_to_y(sr)[inside], rgb_to_y(hr)[inside]), abs=1e-12)
    assert result["ssim_y"] == pytest.approx(ssim(rgb_to_y(sr)[inside], rgb_to_y(hr)[inside]), abs=1e-12)


def test_fidelity_ignores_the_border():
    hr, _ = _images((32, 32, 3), seed=6)
    sr = hr.copy()
    sr[:4], sr[:, -4:] = 0, 0
    assert fidelity(sr, hr, scale=4)["psnr_rgb"] == math.inf
    assert math.isfinite(fidelity(sr, hr, scale=3)["psnr_rgb"])
