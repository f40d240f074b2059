"""NIQE: each stage against a slow version of it, BasicSR's numbers, what is refused, and fits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, special

import keras_fsr
from keras_fsr.errors import DataError
from keras_fsr.files import WEIGHTS_VARIABLE
from keras_fsr.metrics.fidelity import rgb_to_y
from keras_fsr.metrics.niqe import (
    BLOCK,
    FEWEST_BLOCKS,
    NIQE,
    SMALLEST,
    block_features,
    distance,
    fit_aggd,
    fit_niqe,
    half_size,
    normalize,
)
from keras_fsr.metrics.niqe_prior import NAMES, Prior

FOLDERS = (os.environ.get(WEIGHTS_VARIABLE), Path(__file__).parents[2].parent / "shared" / "weights")
PUBLISHED = [Path(folder) / name for folder in FOLDERS if folder for name in NAMES if (Path(folder) / name).is_file()]
PLAIN = Prior(np.zeros(36), np.eye(36))


@pytest.fixture(scope="module")
def data():
    return pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def astronaut(data) -> np.ndarray:
    return data.astronaut()


@pytest.fixture
def luma(astronaut) -> np.ndarray:
    """3x3 blocks and a rest; the second block is flat and so are parts of others."""
    luma = np.rint(rgb_to_y(astronaut))[100:400, 60:370]
    luma[:110, 85:200] = 235
    luma[150:280, 10:60] = 16
    return luma


# --- A slow version of each stage, in other words than the module's.


def slow_normalize(luma):
    y, x = np.mgrid[-3:4, -3:4]
    window = np.exp(-(x**2 + y**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    mean = ndimage.convolve(luma, window, mode="nearest")
    deviation = np.sqrt(np.abs(ndimage.convolve(luma**2, window, mode="nearest") - mean**2))
    near = [extreme(luma, 7, mode="nearest") for extreme in (ndimage.maximum_filter, ndimage.minimum_filter)]
    return np.where(near[0] - near[1] < 1e-9, 0, (luma - mean) / (deviation + 1)), deviation


def slow_half_size(luma):
    def weights(length):
        matrix = np.zeros((length // 2, length))
        for row in range(length // 2):
            for column in range(-8, length + 8):
                x = abs(column - (2 * row + 0.5)) / 2
                near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
                mirrored = [*range(length), *range(length)[::-1]][column % (2 * length)]
                matrix[row, mirrored] += near if x <= 1 else far if x <= 2 else 0
        return matrix / matrix.sum(axis=1, keepdims=True)

    return weights(luma.shape[0]) @ luma @ weights(luma.shape[1]).T


def slow_aggd(block):
    """Shape, left scale, right scale, mean; the search compares all 9801 shapes."""
    if not (block < 0).any() or not (block > 0).any():
        scale = np.sqrt(special.gamma(1 / 0.2) / special.gamma(3 / 0.2))
        sides = [
            np.sqrt(np.mean(side**2)) * scale if side.size else np.nan
            for side in (block[block < 0], block[block > 0])
        ]
        return 0.2, *sides, np.nan
    shapes = np.linspace(0.2, 10, 9801)
    ratios = special.gamma(2 / shapes) ** 2 / (special.gamma(1 / shapes) * special.gamma(3 / shapes))
    left, right = np.sqrt(np.mean(block[block < 0] ** 2)), np.sqrt(np.mean(block[block > 0] ** 2))
    g = left / right
    ratio = np.abs(block).mean() ** 2 / (block**2).mean() * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    shape = shapes[np.argmin((ratios - ratio) ** 2)]
    left, right = (s * np.sqrt(special.gamma(1 / shape) / special.gamma(3 / shape)) for s in (left, right))
    return shape, left, right, (right - left) * special.gamma(2 / shape) / special.gamma(1 / shape)


def slow_features(luma):
    rows, columns = luma.shape[0] // 96, luma.shape[1] // 96
    luma = luma[: rows * 96, : columns * 96]
    scales = [(slow_normalize(luma)[0], 96), (slow_normalize(slow_half_size(luma))[0], 48)]
    table = []
    for row in range(rows):
        for column in range(columns):
            features = []
            for image, side in scales:
                block = image[row * side : (row + 1) * side, column * side : (column + 1) * side]
                shape, left, right, _ = slow_aggd(block)
                features += [shape, (left + right) / 2]
                for down, aside in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    shape, left, right, mean = slow_aggd(block * np.roll(np.roll(block, down, 0), aside, 1))
                    features += [shape, mean, left, right]
            table.append(features)
    return np.array(table)


def test_normalisation_equals_the_slow_one(luma):
    for fast, slow in zip(normalize(luma), slow_normalize(luma), strict=True):
        np.testing.assert_allclose(fast, slow, atol=1e-5)  # the deviation, 0 of flat areas, is a root of rounding
    assert (normalize(luma)[0][5:100, 90:190] == 0).all()


def test_half_size_equals_the_slow_one(luma):
    np.testing.assert_allclose(half_size(luma[:96, :192]), slow_half_size(luma[:96, :192]), atol=1e-10)
    assert half_size(luma[:96, :192]).shape == (48, 96)


@pytest.mark.parametrize(
    ("column", "expected"), [(8, [0, 0, -3, 29, 111, -9, 0, 0]), (0, [140, -12, 0, 0, 0, 0, 0, 0])]
)
def test_half_size_weighs_by_the_kernel(column, expected):
    # By hand: the kernel at distances of 0.25, 0.75, 1.25 and 1.75 is 111, 29, -9 and -3 of 128, halved.
    impulse = np.zeros((16, 16))
    impulse[:, column] = 256
    np.testing.assert_allclose(half_size(impulse), [expected] * 8, atol=1e-10)
    np.testing.assert_allclose(half_size(impulse.T), np.transpose([expected] * 8), atol=1e-10)


def test_aggd_equals_the_slow_search(luma):
    rng = np.random.default_rng(0)
    blocks = [rng.laplace(size=(48, 48)), rng.normal(0.2, 2, (48, 48)), rng.uniform(-1, 1, (48, 48)) ** 3]
    blocks += [np.where(b < 0, 3 * b, b) for b in blocks]
    blocks += [normalize(luma)[0][-48:, -48:], np.ones((48, 48)), -np.ones((48, 48)), np.zeros((48, 48))]
    blocks.append(np.sign(rng.normal(size=(48, 48))))  # flatter than any: the largest shape
    expected = np.array([slow_aggd(block) for block in blocks])
    np.testing.assert_allclose(np.stack(fit_aggd(np.array(blocks)), axis=1), expected, rtol=1e-9, atol=1e-12)
    assert expected[-1, 0] == 10
    assert expected[-2, 0] == 0.2


@pytest.mark.parametrize(("shape", "left", "right"), [(2, 1, 1), (1, 0.5, 1.5), (0.7, 2, 1)])
def test_aggd_finds_what_values_were_drawn_from(shape, left, right):
    rng = np.random.default_rng(1)
    side = np.where(rng.random(400_000) < left / (left + right), -left, right)
    values = side * rng.gamma(1 / shape, size=side.shape) ** (1 / shape)
    found = [float(v[0]) for v in fit_aggd(values.reshape(1, 400, 1000))]
    assert found[:3] == pytest.approx([shape, left, right], rel=0.02)
    assert found[3] == pytest.approx(values.mean(), abs=0.02)


def test_features_equal_the_slow_ones(luma):
    features, sharpness = block_features(luma)
    expected = slow_features(luma)
    assert np.isnan(expected).any(axis=1).tolist() == [False, True] + 7 * [False]
    np.testing.assert_allclose(features, expected, rtol=1e-9, atol=1e-12)
    deviation = slow_normalize(luma[:288, :288])[1]
    slow = [deviation[y : y + 96, x : x + 96].mean() for y in (0, 96, 192) for x in (0, 96, 192)]
    np.testing.assert_allclose(sharpness, slow, atol=1e-5)


def test_distance_is_of_all_blocks_means_and_of_whole_blocks_covariance(luma):
    features = slow_features(luma)
    rng = np.random.default_rng(2)
    prior = Prior(rng.normal(size=36), np.cov(rng.normal(size=(36, 200))))
    mean = np.array([column[~np.isnan(column)].mean() for column in features.T])
    whole = np.delete(features, 1, axis=0)  # the second block is flat
    covariance = (whole - whole.mean(axis=0)).T @ (whole - whole.mean(axis=0)) / 7
    apart = mean - prior.mean
    expected = np.sqrt(apart @ np.linalg.solve((covariance + prior.covariance) / 2, apart))
    assert distance(prior, features) == pytest.approx(expected, rel=1e-9)


# --- BasicSR's numbers. Golden: its 1.4.2 (niqe.py, float32) with PyTorch 2.13 and SciPy 1.17 on the images that are
# part of scikit-image 0.26.


def test_features_of_a_block_are_basicsrs(astronaut):
    # The fourth block of the third row.
    expected = """
        2.287 0.66879312 0.775 0.00181572 0.08437233 0.08553072 0.671 0.04779915 0.05044341 0.07199765 0.754
        -0.00808344 0.08225581 0.07740041 0.731 0.00387374 0.07400955 0.07617652 2.059 0.60804373 0.633 0.04142419
        0.0379052 0.05376187 0.625 0.1140297 0.02175219 0.06378549 0.681 0.00124400 0.05723136 0.05781480 0.654
        0.03118593 0.04577581 0.05888364"""
    features, _ = block_features(np.rint(rgb_to_y(astronaut)))
    assert features.shape == (25, 36)
    np.testing.assert_allclose(features[2 * 5 + 3], [float(x) for x in expected.split()], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "whole", "cut"),
    [
        ("astronaut", 3.654456, 3.597912),
        ("coffee", 3.526228, 3.595267),
        ("chelsea", 4.135264, 4.115085),
    ],
)
def test_distances_from_a_plain_prior_are_basicsrs(data, name, whole, cut):
    # The prior: mean 0, covariance 1. `cut`: crop_border=4.
    image = getattr(data, name)()
    assert NIQE(PLAIN)(image) == pytest.approx(whole, abs=1e-4)
    assert NIQE(PLAIN)(image, border=4) == pytest.approx(cut, abs=1e-4)


@pytest.mark.skipif(not PUBLISHED, reason=f"{WEIGHTS_VARIABLE} and ../shared/weights hold no parameters of NIQE")
@pytest.mark.parametrize(
    ("name", "whole", "cut"),
    [
        ("astronaut", 3.064948, 2.991296),
        ("coffee", 4.115242, 4.079406),
        ("chelsea", 2.625524, 2.689313),
        ("rocket", 6.969155, 6.733104),
    ],
)
def test_published_prior_gives_basicsrs_figures(data, name, whole, cut):
    image = getattr(data, name)()
    assert NIQE(PUBLISHED[0])(image) == pytest.approx(whole, abs=1e-3)
    assert NIQE(PUBLISHED[0])(image, border=4) == pytest.approx(cut, abs=1e-3)


# --- The whole.


def test_border_is_cut_before_the_blocks(astronaut):
    score = NIQE(PLAIN)
    assert score(astronaut, border=7) == score(np.ascontiguousarray(astronaut[7:-7, 7:-7]))
    assert score(astronaut[:300, :200], border=0) != score(astronaut[:300, :200], border=4)


def test_worse_images_are_farther(data, astronaut):
    images = [astronaut, data.coffee(), data.chelsea(), data.rocket(), data.retina()[200:1200, 200:1200]]
    score = NIQE(fit_niqe(images, sharpness=0))
    blurred = ndimage.gaussian_filter(astronaut, (2, 2, 0))
    noise = np.random.default_rng(0).normal(0, 20, astronaut.shape)
    noisy = np.clip(np.rint(astronaut + noise), 0, 255).astype(np.uint8)
    assert score(blurred) > 1.5 * score(astronaut)
    assert score(noisy) > 1.5 * score(astronaut)


@pytest.mark.parametrize("border", [0, 4])
def test_smallest_side_is_enough_and_one_less_is_not(astronaut, border):
    side = SMALLEST + 2 * border
    assert NIQE(PLAIN)(astronaut[:side, :side], border) > 0
    for image in (astronaut[: side - 1, :400], astronaut[:400, : side - 1]):
        height, width = image.shape[:2]
        with pytest.raises(
            DataError, match=f"{width}x{height} with a border of {border} is too small .* {SMALLEST} pix"
        ):
            NIQE(PLAIN)(image, border)


def test_impossible_input_is_refused(astronaut):
    with pytest.raises(DataError, match="8 bits, not of float64"):
        NIQE(PLAIN)(astronaut / 255)
    with pytest.raises(DataError, match="RGB"):
        NIQE(PLAIN)(astronaut[..., 0])
    with pytest.raises(DataError, match="border of -1"):
        NIQE(PLAIN)(astronaut, border=-1)


def test_flat_images_are_refused_and_two_blocks_are_enough(astronaut):
    image = np.full((192, 192, 3), 90, np.uint8)
    image[:90, :90] = astronaut[:90, :90]
    with pytest.raises(DataError, match="two blocks with texture and 3 of 4 are flat"):
        NIQE(PLAIN)(image)
    image[102:, 102:] = astronaut[102:192, 102:192]
    assert np.isfinite(NIQE(PLAIN)(image))


# --- Fits.


def test_fit_is_of_the_sharp_blocks_of_each_image(data):
    images = [data.coffee(), data.chelsea(), data.retina()]
    lumas = [np.rint(rgb_to_y(image)) for image in images]
    chosen = []
    for luma in lumas:
        rows, columns = luma.shape[0] // BLOCK, luma.shape[1] // BLOCK
        deviation = slow_normalize(luma[: rows * BLOCK, : columns * BLOCK])[1]
        sharpness = deviation.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3)).ravel()
        features = block_features(luma)[0][sharpness > 0.3 * sharpness.max()]
        chosen.append(features[~np.isnan(features).any(axis=1)])
    blocks = np.concatenate(chosen)
    assert FEWEST_BLOCKS <= len(blocks) < 196
    edge = np.zeros((200, 200, 3), np.uint8)
    edge[:, 97:] = 255  # sharp, but no product with the pixel above is below 0
    nothing = [np.full((200, 200, 3), 90, np.uint8), edge, data.coffee()[:90], data.coffee()[:, :90]]
    prior = fit_niqe(iter(images + nothing), sharpness=0.3)
    np.testing.assert_allclose(prior.mean, blocks.mean(axis=0))
    apart = blocks - blocks.mean(axis=0)
    np.testing.assert_allclose(prior.covariance, apart.T @ apart / (len(blocks) - 1), atol=1e-12)


def test_three_quarters_of_the_sharpest_is_the_default(data):
    with pytest.raises(DataError) as error:
        fit_niqe([data.retina()])
    _, sharpness = block_features(np.rint(rgb_to_y(data.retina())))
    assert f"1 images have {(sharpness > 0.75 * sharpness.max()).sum()} sharp blocks" in str(error.value)


def test_fits_of_too_little_are_refused(astronaut):
    with pytest.raises(DataError, match="^0 images have 0 sharp blocks of 96x96, .* needs 100; give more"):
        fit_niqe([])
    with pytest.raises(DataError, match="4 images have 100 sharp blocks .* too alike"):
        fit_niqe([astronaut] * 4, sharpness=0)
    with pytest.raises(DataError, match="3 images have 75 sharp blocks .* needs 100"):
        fit_niqe([astronaut] * 3, sharpness=0)
    with pytest.raises(DataError, match="8 bits"):
        fit_niqe([astronaut.astype(float)])


def test_importing_needs_neither_keras_nor_scipy():
    code = "import sys, keras_fsr.metrics.niqe; print(*{'keras', 'scipy', 'skimage', 'torch'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(Path(keras_fsr.__file__).parents[1])}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
