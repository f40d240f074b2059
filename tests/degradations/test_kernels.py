"""Blur kernels against slow float64 formulas, and what is refused."""

import math

import numpy as np
import pytest

from keras_fsr.degradations.kernels import KINDS, blur_kernel, shifted_gaussian, sinc_kernel


def bessel(x: float, points: int = 400) -> float:
    """J1 by its integral, 1 / pi * integral of cos(t - x sin t) from 0 to pi, with the trapezoidal rule."""
    total = 0.5 * (1.0 + math.cos(math.pi))
    for k in range(1, points):
        t = math.pi * k / points
        total += math.cos(t - x * math.sin(t))
    return total / points


def normalized(values: list[list[float]]) -> np.ndarray:
    total = math.fsum(value for row in values for value in row)
    return np.array([[value / total for value in row] for row in values])


def slow_kernel(kind, size, sigma_x, sigma_y, rotation, beta) -> np.ndarray:
    """exp(-d**beta / 2) or 1 / (1 + d**beta), d = (x, y) C^-1 (x, y)^T, C = R diag(sigma_x**2, sigma_y**2) R^T."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    xx = cos * cos * sigma_x**2 + sin * sin * sigma_y**2
    yy = sin * sin * sigma_x**2 + cos * cos * sigma_y**2
    xy = cos * sin * (sigma_x**2 - sigma_y**2)
    determinant = xx * yy - xy * xy
    half = (size - 1) // 2
    rows = []
    for y in range(-half, half + 1):
        row = []
        for x in range(-half, half + 1):
            d = (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant
            row.append(1 / (1 + d**beta) if kind.startswith("plateau") else math.exp(-(d**beta) / 2))
        rows.append(row)
    return normalized(rows)


@pytest.mark.parametrize("size", [1, 7, 21])
@pytest.mark.parametrize(("sigma_x", "sigma_y", "rotation"), [(0.4, 2.5, 0.3), (3.0, 1.1, -2.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_is_its_formula(kind, sigma_x, sigma_y, rotation, size):
    beta = 1.0 if kind in ("iso", "aniso") else 1.7
    if kind.endswith("aniso"):
        kernel = blur_kernel(kind, size, sigma_x, sigma_y, rotation, beta)
        expected = slow_kernel(kind, size, sigma_x, sigma_y, rotation, beta)
    else:
        kernel, expected = (
            blur_kernel(kind, size, sigma_x, beta=beta),
            slow_kernel(kind, size, sigma_x, sigma_x, 0.0, beta),
        )
    assert kernel.dtype == np.float64
    assert kernel.shape == (size, size)
    np.testing.assert_allclose(kernel, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_sum_to_1(kind):
    assert blur_kernel(kind, 9, 0.8, 3.0, 1.0, 2.3).sum() == pytest.approx(1, abs=1e-12)


def test_there_are_six_kinds():
    assert set(KINDS) == {a + b for a in ("", "generalized_", "plateau_") for b in ("iso", "aniso")}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("aniso")])
def test_isotropic_kernel_does_not_turn_and_has_one_sigma(kind):
    plain = blur_kernel(kind, 11, 1.3, beta=1.5)
    np.testing.assert_allclose(blur_kernel(kind, 11, 1.3, 9.0, 0.7, 1.5), plain, atol=1e-12)
    np.testing.assert_allclose(plain, plain.T, atol=1e-12)


@pytest.mark.parametrize("kind", ["generalized_iso", "generalized_aniso"])
def test_generalized_gaussian_of_beta_1_is_the_gaussian(kind):
    plain = kind.removeprefix("generalized_")
    arguments = (13, 2.0, 0.9, 0.4)
    np.testing.assert_allclose(blur_kernel(kind, *arguments, 1.0), blur_kernel(plain, *arguments), atol=1e-15)


def test_gaussian_ignores_beta_and_the_others_do_not():
    def kernel(kind, beta):
        return blur_kernel(kind, 9, 2.0, 1.0, 0.2, beta)

    np.testing.assert_array_equal(kernel("aniso", 3.0), kernel("aniso", 1.0))
    for kind in ("generalized_aniso", "plateau_aniso"):
        assert np.abs(kernel(kind, 3.0) - kernel(kind, 1.0)).max() > 0.005


@pytest.mark.parametrize("rotation", [-2.5, -0.6, 0.0, 0.5, 1.2])
@pytest.mark.parametrize("kind", ["aniso", "generalized_aniso"])
def test_long_axis_lies_at_the_rotation_from_columns_to_rows(kind, rotation):
    kernel = blur_kernel(kind, 41, 4.0, 1.5, rotation)
    y, x = np.mgrid[-20:21, -20:21]
    xx, xy, yy = (kernel * x * x).sum(), (kernel * x * y).sum(), (kernel * y * y).sum()
    angle = 0.5 * math.atan2(2 * xy, xx - yy)  # of the principal axis, modulo pi
    assert math.cos(2 * (angle - rotation)) == pytest.approx(1, abs=1e-6)
    spread = math.hypot(xx - yy, 2 * xy)
    # The variances along the axes are the given ones.
    assert (xx + yy + spread) / 2 == pytest.approx(4.0**2, rel=1e-3)
    assert (xx + yy - spread) / 2 == pytest.approx(1.5**2, rel=1e-3)


def test_quarter_turn_swaps_the_axes():
    upright, turned = (blur_kernel("plateau_aniso", 15, 3.0, 0.7, angle, 1.4) for angle in (0.0, math.pi / 2))
    assert upright[7, 10] > 10 * upright[10, 7]
    np.testing.assert_allclose(turned, upright.T, atol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        ("iso", 8, 1.0),
        ("iso", 0, 1.0),
        ("iso", -3, 1.0),
        ("iso", 7, 0.0),
        ("iso", 7, -1.0),
        ("aniso", 7, 1.0, 0.0),
        ("aniso", 7, 0.0, 1.0),
        ("plateau_aniso", 7, 1.0),  # lacks its second standard deviation
    ],
)
def test_impossible_blur_is_refused(arguments):
    with pytest.raises(ValueError, match="give an odd size, sigmas above 0"):
        blur_kernel(*arguments)


@pytest.mark.parametrize("kind", ["", "gaussian", "generalised_iso", "plateau"])
def test_unknown_kind_is_refused_with_the_known_ones(kind):
    with pytest.raises(ValueError, match=f"'{kind}' is none of iso, aniso, generalized_iso"):
        blur_kernel(kind, 7, 1.0)


def test_bessel_of_the_tests_is_that_of_the_tables():
    # Abramowitz and Stegun, table 9.1: J1(1), J1(10), and the first zero.
    assert bessel(1.0) == pytest.approx(0.4400505857, abs=1e-10)
    assert bessel(10.0) == pytest.approx(0.0434727462, abs=1e-10)
    assert bessel(3.8317059702) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("cutoff", [math.pi / 5, 1.9, math.pi])
@pytest.mark.parametrize("size", [1, 7, 21])
def test_sinc_is_its_formula(size, cutoff):
    half = (size - 1) // 2
    rows = []
    for y in range(-half, half + 1):
        row = []
        for x in range(-half, half + 1):
            r = math.sqrt(x * x + y * y)
            # J1(z) / z tends to 1 / 2.
            row.append(cutoff * bessel(cutoff * r) / (2 * math.pi * r) if r else cutoff**2 / (4 * math.pi))
        rows.append(row)
    kernel = sinc_kernel(size, cutoff)
    assert kernel.dtype == np.float64
    np.testing.assert_allclose(kernel, normalized(rows), rtol=1e-9, atol=1e-12)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)


def test_sinc_passes_what_is_below_its_cutoff_and_stops_what_is_above():
    kernel = sinc_kernel(101, math.pi / 2)
    x = np.arange(101) - 50

    def response(frequency):
        return (kernel.sum(axis=0) * np.cos(frequency * x)).sum()

    # An infinite kernel is 1 below and 0 above; a cut one rings by some percent.
    assert response(0.3 * math.pi) == pytest.approx(1, abs=0.06)
    assert response(0.7 * math.pi) == pytest.approx(0, abs=0.06)
    assert kernel.min() < 0


@pytest.mark.parametrize(
    ("size", "cutoff"), [(8, 1.0), (0, 1.0), (-7, 1.0), (7, 0.0), (7, -1.0), (7, 3.15), (7, math.nan)]
)
def test_impossible_sinc_is_refused(size, cutoff):
    with pytest.raises(ValueError, match=r"give an odd size, a cutoff in \(0, pi\]"):
        sinc_kernel(size, cutoff)


@pytest.mark.parametrize(("size", "sigma", "shift"), [(25, 2.0, 0.5), (25, 1.1, 1.5), (25, 0.1, 0.5), (7, 3.0, 0.0)])
def test_shifted_gaussian_is_its_formula(size, sigma, shift):
    half = (size - 1) // 2
    rows = [
        [math.exp(-((x - shift) ** 2 + (y - shift) ** 2) / (2 * sigma**2)) for x in range(-half, half + 1)]
        for y in range(-half, half + 1)
    ]
    kernel = shifted_gaussian(size, sigma, shift)
    np.testing.assert_allclose(kernel, normalized(rows), rtol=1e-10, atol=1e-14)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5, 3.5])
def test_shifted_gaussian_lies_at_its_shift_to_the_lower_right(shift):
    kernel = shifted_gaussian(25, 1.2, shift)
    y, x = np.mgrid[-12:13, -12:13]
    assert (kernel * x).sum() == pytest.approx(shift, abs=1e-6)
    assert (kernel * y).sum() == pytest.approx(shift, abs=1e-6)
