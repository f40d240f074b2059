"""The steps of a degradation, each against its definition, and chains of them."""

import dataclasses
import io
import itertools
import json
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_fsr.degradations.classical import (
    ANTIALIASED,
    JPEG,
    STEPS,
    Blur,
    Chain,
    Colour,
    Decimate,
    GaussianNoise,
    PoissonNoise,
    Resize,
    Sinc,
)
from keras_fsr.degradations.kernels import blur_kernel, shifted_gaussian, sinc_kernel
from keras_fsr.errors import DataError


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]."""
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def smooth_levels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 without fine detail."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def to_float(levels: np.ndarray) -> np.ndarray:
    return levels.astype(np.float32) / 255


def apply(step, image: np.ndarray) -> np.ndarray:
    """A step on an image that is itself the original; in float32, and the input is left alone."""
    before = image.copy()
    result = step(image, image.shape[:2])
    np.testing.assert_array_equal(image, before)
    assert result.dtype == np.float32
    return result


def mirrored(index: int, side: int) -> int:
    """Index of the pixel that stands for one beyond the edge: about the outermost pixel, which is not doubled."""
    while not 0 <= index < side:
        index = -index if index < 0 else 2 * (side - 1) - index
    return index


def slow_filter(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """sum over (i, j) of kernel[i, j] * image[y + i - half, x + j - half], float64."""
    height, width = image.shape[:2]
    half = len(kernel) // 2
    rows = [[mirrored(y + i - half, height) for y in range(height)] for i in range(len(kernel))]
    columns = [[mirrored(x + j - half, width) for x in range(width)] for j in range(len(kernel))]
    result = np.zeros(image.shape)
    for i in range(len(kernel)):
        for j in range(len(kernel)):
            result += kernel[i, j] * image.astype(np.float64)[np.ix_(rows[i], columns[j])]
    return result


# 41 and 21 are larger than the second image, which is mirrored again and again.
@pytest.mark.parametrize("shape", [(30, 23), (9, 6)])
@pytest.mark.parametrize(
    "blur",
    [
        Blur("iso", 7, 1.2, 1.2),
        Blur("aniso", 13, 2.5, 0.6, 0.7),
        Blur("generalized_aniso", 21, 3.0, 1.0, -2.0, 0.6),
        Blur("plateau_iso", 21, 2.0, 2.0, beta=1.8),
        Blur("iso", 41, 9.0, 9.0),
    ],
    ids=lambda blur: f"{blur.kind} {blur.size}",
)
def test_blur_is_a_slow_convolution_with_mirrored_borders(blur, shape):
    image = noise_image(*shape)
    kernel = blur_kernel(blur.kind, blur.size, blur.sigma_x, blur.sigma_y, blur.rotation, blur.beta)
    np.testing.assert_allclose(apply(blur, image), slow_filter(image, kernel), atol=2e-6)


@pytest.mark.parametrize(("size", "cutoff"), [(7, 2.5), (21, math.pi / 5)])
def test_sinc_is_a_slow_convolution_clipped(size, cutoff):
    image = np.rint(noise_image(26, 40))
    image[:, 20:] = 0  # beside an edge it rings below black
    expected = slow_filter(image, sinc_kernel(size, cutoff))
    assert expected.min() < -0.01
    np.testing.assert_allclose(apply(Sinc(size, cutoff), image), expected.clip(0, 1), atol=3e-6)


def test_blurs_of_a_plain_image_leave_it():
    image = np.full((12, 9, 3), (0.1, 0.5, 1.0), np.float32)
    for step in (Blur("aniso", 21, 3.0, 1.0, 0.4), Sinc(21, 1.0)):
        np.testing.assert_allclose(apply(step, image), image, atol=1e-6)


@pytest.mark.parametrize(
    ("original", "share", "size"),
    [
        ((96, 60), 1 / 3, (32, 20)),
        ((98, 490), 1 / 49, (2, 10)),  # 98 * (1 / 49) is 1.9999999999999998
        ((97, 61), 0.25, (24, 15)),
        ((10, 7), 1.5, (15, 10)),
        ((10, 7), 0.999, (9, 6)),
        ((20, 3), 0.15, (3, 1)),
        ((3, 3), 0.01, (1, 1)),
        ((49, 70), 1 / 7, (7, 10)),
    ],
)
@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic", ANTIALIASED])
def test_resize_is_to_a_share_of_the_original_s_size(original, share, size, mode):
    image = noise_image(11, 8)  # what it has become meanwhile does not matter
    result = Resize(share, mode)(image, original)
    assert result.shape == (*size, 3)
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 1


def test_resize_to_its_own_size_changes_no_pixel():
    image = noise_image(11, 8)
    for mode in ("area", "bilinear", "bicubic", ANTIALIASED):
        np.testing.assert_array_equal(apply(Resize(1.0, mode), image), image)


def blocks(image: np.ndarray, side: int) -> np.ndarray:
    """(rows, columns, side, side, 3)"""
    height, width = (length // side for length in image.shape[:2])
    return image.reshape(height, side, width, side, 3).swapaxes(1, 2).astype(np.float64)


# Weights of the four pixels of a block along one axis, where the centre of the new pixel lies in their middle:
# bilinear sees the two next to it; bicubic is Keys' kernel with a = -0.75 (OpenCV's) at 1.5, 0.5, 0.5, 1.5.
@pytest.mark.parametrize(
    ("mode", "weights"),
    [
        ("area", (0.25, 0.25, 0.25, 0.25)),
        ("bilinear", (0, 0.5, 0.5, 0)),
        ("bicubic", (-0.09375, 0.59375, 0.59375, -0.09375)),
    ],
)
def test_reduction_to_a_quarter_weighs_each_block_by_its_mode(mode, weights):
    image = noise_image(24, 36)
    expected = np.einsum("hwijc,i,j->hwc", blocks(image, 4), weights, weights).clip(0, 1)
    np.testing.assert_allclose(apply(Resize(0.25, mode), image), expected, atol=1e-6)


def test_antialiased_resize_is_pillow_s_bicubic_of_each_channel():
    image = np.rint(noise_image(25, 38))
    result = apply(Resize(0.3, ANTIALIASED), image)
    for channel in range(3):
        band = Image.fromarray(np.ascontiguousarray(image[..., channel]), "F")
        expected = np.asarray(band.resize((11, 7), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(result[..., channel], expected.clip(0, 1))


@pytest.mark.parametrize("mode", ["bicubic", ANTIALIASED])
def test_overshoot_of_a_resize_is_clipped(mode):
    step = np.zeros((8, 16, 3), np.float32)
    step[:, 8:] = 1
    result = apply(Resize(2.0, mode), step)
    assert (result.min(), result.max()) == (0, 1)


@pytest.mark.parametrize(("every", "sigma"), [(2, 0.1), (2, 1.2), (3, 1.0), (4, 2.4)])
def test_decimation_leaves_the_image_centred(every, sigma):
    y, x = np.mgrid[:96, :84].astype(np.float32)
    ramp = np.stack([x / 100, y / 100, (x + y) / 200], axis=2)
    result = apply(Decimate(every, sigma), ramp)
    means = blocks(ramp, every).mean(axis=(2, 3))
    assert result.shape == means.shape
    far = -(-13 // every)  # of the mirrored edges
    np.testing.assert_allclose(result[far:-far, far:-far], means[far:-far, far:-far], atol=1e-5)


def test_decimation_is_every_nth_pixel_of_the_blurred_image():
    image = noise_image(31, 26)
    expected = slow_filter(image, shifted_gaussian(25, 1.7, 1.0))[::3, ::3]
    np.testing.assert_allclose(apply(Decimate(3, 1.7), image), expected, atol=2e-6)


GRAY = np.full((200, 250, 3), 0.5, np.float32)
PIXELS = 200 * 250


@pytest.mark.parametrize("sigma", [1.0, 10.0, 25.0])
@pytest.mark.parametrize("gray", [False, True])
def test_gaussian_noise_has_the_given_deviation_in_levels(sigma, gray):
    noise = (apply(GaussianNoise(sigma, gray, seed=3), GRAY) - 0.5) * 255
    # Standard errors: sigma / sqrt(n) of the mean, sigma / sqrt(2 n) of the deviation.
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0, atol=4 * sigma / math.sqrt(PIXELS))
    np.testing.assert_allclose(noise.std(axis=(0, 1)), sigma, atol=4 * sigma / math.sqrt(2 * PIXELS))


def correlations(noise: np.ndarray) -> np.ndarray:
    """Between the channels: red-green, red-blue, green-blue."""
    return np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)]


def test_gray_noise_is_equal_in_all_channels_and_colour_noise_is_not():
    image = np.full((200, 250, 3), (0.3, 0.5, 0.6), np.float32)
    gray, colour = (apply(GaussianNoise(10.0, gray, seed=1), image) - image for gray in (True, False))
    np.testing.assert_allclose(gray, gray[..., :1].repeat(3, axis=2), atol=1e-6)
    # Independent: correlations of standard error 1 / sqrt(n).
    np.testing.assert_allclose(correlations(colour), 0, atol=4 / math.sqrt(PIXELS))


def test_mixing_gives_noise_of_its_covariance():
    mixing = ((1.0, 0.0, 0.5), (0.2, 0.8, 0.0), (-0.4, 0.1, 0.6))
    noise = (apply(GaussianNoise(12.0, False, 5, mixing), GRAY) - 0.5) * 255
    # Noise is M z with z white: covariance M M^T, here in plain loops.
    expected = [[12.0**2 * sum(a * b for a, b in zip(r, s, strict=True)) for s in mixing] for r in mixing]
    measured = np.cov(noise.reshape(-1, 3).T)
    # Var of a sample covariance of normals: (Sii Sjj + Sij ** 2) / n.
    diagonal = np.diag(expected)
    error = np.sqrt((np.outer(diagonal, diagonal) + np.square(expected)) / PIXELS)
    assert (np.abs(measured - expected) < 4 * error).all()
    assert measured[0, 1] > 20 * error[0, 1]


@pytest.mark.parametrize("kind", [GaussianNoise, PoissonNoise])
def test_noise_hangs_on_its_seed_alone(kind):
    image = noise_image(20, 30)
    one, again, other = (apply(kind(2.0, False, seed), image) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5


@pytest.mark.parametrize("kind", [GaussianNoise, PoissonNoise])
def test_noisy_image_is_clipped(kind):
    image = np.rint(noise_image(40, 40))
    result = apply(kind(3.0 if kind is PoissonNoise else 60.0, False, 0), image)
    assert (result.min(), result.max()) == (0, 1)


def levels_image(levels: list[int], seed: int = 0) -> np.ndarray:
    """Gray pixels, each of one of the levels."""
    drawn = np.random.default_rng(seed).choice(levels, (200, 250, 1)).repeat(3, axis=2)
    return (drawn / 255).astype(np.float32)


# (levels of the image, photons: their number raised to a power of two)
POISSON = [
    ([64, 128], 2),
    ([80, 100, 120, 140, 160], 8),
    (list(range(100, 116)), 16),
    (list(range(100, 117)), 32),
]


@pytest.mark.parametrize(("levels", "photons"), POISSON)
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("scale", [0.05, 0.2])
def test_poisson_noise_has_the_variance_of_its_photons(levels, photons, gray, scale):
    image = levels_image(levels)
    noise = (apply(PoissonNoise(scale, gray, seed=2), image) - image).astype(np.float64)
    if gray:
        np.testing.assert_allclose(noise, noise[..., :1].repeat(3, axis=2), atol=1e-6)
        noise = noise[..., :1]
    # Scaled by its own variance every pixel's noise has variance 1; a Poisson number of mean m has the fourth
    # central moment m + 3 m^2, so the square of the scaled noise varies by 2 + 1 / m.
    brightness = image[..., : noise.shape[2]].astype(np.float64)
    squares = noise**2 / (scale**2 * brightness / photons)
    error = np.sqrt((2 + 1 / (brightness * photons)).mean() / squares.size)
    assert abs(squares.mean() - 1) < 4 * error
    scaled = noise / np.sqrt(scale**2 * brightness / photons)
    assert abs(scaled.mean()) < 4 / math.sqrt(noise.size)


def test_colour_poisson_noise_is_independent_in_the_channels():
    noise = apply(PoissonNoise(0.2, False, 2), GRAY) - GRAY
    np.testing.assert_allclose(correlations(noise), 0, atol=4 / math.sqrt(PIXELS))


def test_gray_poisson_noise_counts_photons_of_the_luma():
    colour = np.full((200, 250, 3), (0.8, 0.4, 0.2), np.float32)
    colour[:, 125:] = (0.2, 0.2, 0.2)
    noise = apply(PoissonNoise(0.05, True, 2), colour) - colour
    np.testing.assert_allclose(noise, noise[..., :1].repeat(3, axis=2), atol=1e-6)
    # BT.601: 0.299 * 0.8 + 0.587 * 0.4 + 0.114 * 0.2 = 0.4968, in 8 bits 127 levels; two levels in all.
    variance = noise[:, :125, 0].astype(np.float64).var()
    mean = 127 / 255 * 2
    assert variance == pytest.approx(0.05**2 * 127 / 255 / 2, rel=4 * math.sqrt((2 + 1 / mean) / (PIXELS / 2)))


def test_black_has_no_shot_noise():
    black = np.zeros((20, 20, 3), np.float32)
    np.testing.assert_array_equal(apply(PoissonNoise(3.0, False, 0), black), black)


@pytest.mark.parametrize("quality", [5, 30, 60, 95, 100])
def test_jpeg_is_that_of_the_quality_with_colours_at_half_resolution(quality, monkeypatch):
    levels = smooth_levels(75, 90)
    streams, encode = [], cv2.imencode

    def spy(*arguments):
        streams.append(encode(*arguments))
        return streams[-1]

    monkeypatch.setattr(cv2, "imencode", spy)
    result = apply(JPEG(quality), to_float(levels))
    pillow = io.BytesIO()
    Image.fromarray(levels).save(pillow, "JPEG", quality=quality, subsampling="4:2:0")
    [(_, stream)] = streams
    with Image.open(pillow) as expected, Image.open(io.BytesIO(stream.tobytes())) as written:
        assert written.quantization == expected.quantization
        assert [layer[1:3] for layer in written.layer] == [(2, 2), (1, 1), (1, 1)]
        # Two builds of one library; red is red in both.
        np.testing.assert_allclose(result * 255, np.asarray(expected), atol=1.001)


def test_jpeg_of_lower_quality_is_farther_from_the_original():
    image = to_float(smooth_levels(64, 64))
    errors = [np.square(apply(JPEG(quality), image) - image).mean() for quality in range(10, 101, 10)]
    assert all(one > other for one, other in itertools.pairwise(errors))


def test_jpeg_rounds_to_levels_first():
    levels = smooth_levels(16, 16).clip(2, 253)
    plain = apply(JPEG(90), to_float(levels))
    np.testing.assert_array_equal(apply(JPEG(90), to_float(levels) + np.float32(0.4 / 255)), plain)
    assert not np.array_equal(apply(JPEG(90), to_float(levels) + np.float32(2 / 255)), plain)


def slow_colour(pixel, gain, offset, contrast, saturation, gamma) -> list[float]:
    luma = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
    result = []
    for value, factor, shift in zip(pixel, gain, offset, strict=True):
        saturated = luma + (value - luma) * saturation
        changed = (saturated * factor - 0.5) * contrast + 0.5 + shift
        result.append(min(max(changed, 0.0), 1.0) ** gamma)
    return result


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"gain": (0.9, 1.0, 1.2)},
        {"offset": (0.05, -0.05, 0.0)},
        {"contrast": 0.6},
        {"saturation": 0.3},
        {"gamma": 1.4},
        {"gain": (1.1, 0.9, 1.0), "offset": (0.1, 0.0, -0.2), "contrast": 1.5, "saturation": 1.4, "gamma": 0.7},
    ],
)
def test_colour_is_its_formula(parameters):
    image = noise_image(6, 7)
    defaults = {"gain": (1, 1, 1), "offset": (0, 0, 0), "contrast": 1, "saturation": 1, "gamma": 1}
    expected = [[slow_colour(pixel, **(defaults | parameters)) for pixel in row] for row in image.tolist()]
    np.testing.assert_allclose(apply(Colour(**parameters), image), expected, atol=3e-6)


def test_saturation_0_is_a_gray_image():
    result = apply(Colour(saturation=0.0), noise_image(5, 5))
    np.testing.assert_allclose(result, result[..., :1].repeat(3, axis=2), atol=1e-6)


EVERY_STEP = Chain(
    (
        Blur("generalized_aniso", 13, 2.0, 0.8, 0.5, 0.7),
        Resize(0.6, "area"),
        Colour((1.1, 1.0, 0.9), (0.02, 0.0, -0.02), 0.9, 0.8, 1.1),
        GaussianNoise(8.0, True, 11),
        JPEG(60),
        Sinc(9, 2.0),
        PoissonNoise(0.7, False, 12),
        Decimate(2, 0.9),
        GaussianNoise(5.0, False, 13, ((1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 0.2, 0.9))),
        Resize(0.25, ANTIALIASED),
    )
)


def test_these_tests_know_every_step():
    assert {type(step) for step in EVERY_STEP.steps} == set(STEPS.values())


def test_chain_makes_the_same_8_bit_pixels_twice():
    hr = smooth_levels(64, 48)
    before = hr.copy()
    lr = EVERY_STEP(hr)
    assert (lr.dtype, lr.shape) == (np.uint8, (16, 12, 3))
    np.testing.assert_array_equal(lr, EVERY_STEP(hr))
    np.testing.assert_array_equal(hr, before)
    assert lr.std() > 10


def test_chain_takes_its_steps_in_order():
    hr = smooth_levels(32, 24)
    image = to_float(hr)
    for step in EVERY_STEP.steps:
        image = step(image, (32, 24))
    np.testing.assert_array_equal(EVERY_STEP(hr), np.rint(image * 255))
    assert not np.array_equal(Chain(EVERY_STEP.steps[::-1])(hr), EVERY_STEP(hr))


def test_empty_chain_is_the_image():
    hr = smooth_levels(9, 7)
    np.testing.assert_array_equal(Chain(())(hr), hr)


def test_chain_comes_back_from_json_as_an_equal_one_of_equal_pixels():
    text = json.dumps(EVERY_STEP.to_json())
    again = Chain.from_json(json.loads(text))
    assert again == EVERY_STEP
    assert hash(again) == hash(EVERY_STEP)
    hr = smooth_levels(64, 48)
    np.testing.assert_array_equal(again(hr), EVERY_STEP(hr))
    assert json.dumps(again.to_json()) == text


def test_json_names_each_step_and_all_its_parameters():
    assert Chain((Resize(0.25, "area"), GaussianNoise(5.0, False, 13))).to_json() == [
        {"step": "Resize", "share": 0.25, "mode": "area"},
        {"step": "GaussianNoise", "sigma": 5.0, "gray": False, "seed": 13, "mixing": None},
    ]


def test_reseeded_chain_differs_in_the_seeds_of_its_noise_alone():
    other = EVERY_STEP.reseeded(1)
    changed = [(one, two) for one, two in zip(EVERY_STEP.steps, other.steps, strict=True) if one != two]
    assert [type(one) for one, _ in changed] == [GaussianNoise, PoissonNoise, GaussianNoise]
    for one, two in changed:
        assert dataclasses.replace(two, seed=one.seed) == one
    assert len({two.seed for _, two in changed}) == 3
    assert EVERY_STEP.reseeded(1) == other
    assert EVERY_STEP.reseeded(2) != other
    hr = smooth_levels(64, 48)
    assert not np.array_equal(other(hr), EVERY_STEP(hr))


@pytest.mark.parametrize(
    "steps",
    [
        [{"step": "Sharpen"}],
        [{"step": None}],
        [{"share": 0.5, "mode": "area"}],
        [{"step": "Resize", "share": 0.5}],
        [{"step": "JPEG", "quality": 50, "subsampling": 1}],
        [{"step": "JPEG", "quality": 50}, {"step": "os.system"}],
        [{"step": ["JPEG"]}],
    ],
)
def test_unknown_step_or_parameter_is_refused(steps):
    with pytest.raises(DataError, match="degradation step .* is not possible"):
        Chain.from_json(steps)
