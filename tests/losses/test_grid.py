"""The grid penalty: silent on noise and blocks, loud on patterns of the up-sampling, and its gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.losses.grid import FARTHEST, NEAREST, GridPenalty, comb, comb_ratio, line_ratios, spectrum

SIZES = pytest.mark.parametrize(
    ("scale", "height", "width"), [(2, 128, 96), (3, 96, 120), (4, 128, 112), (8, 160, 176)], ids=str
)
AMPLITUDE = 0.03  # of a pattern, beside noise of a standard deviation of 0.05


def noise(count: int, height: int, width: int, natural: bool = False) -> np.ndarray:
    """White noise, or such whose power falls with the frequency as in photographs."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (count, height, width))
    if natural:
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
        x = np.fft.ifft2(np.fft.fft2(x) / np.maximum(frequency, 0.01)).real
    return (0.5 + 0.05 * x / x.std()).astype("float32")


def waves(height: int, width: int, down: float, right: float) -> np.ndarray:
    """A pattern of amplitude 1 that repeats after so many pixels down and to the right; 0 is never."""
    y, x = np.mgrid[:height, :width]
    column = np.cos(2 * np.pi * y / down) if down else 1
    row = np.cos(2 * np.pi * x / right) if right else 1
    return (column * row).astype("float32")


def ratio(images: np.ndarray, scale: int) -> float:
    """Of the comb, mean of the images."""
    return float(np.mean(comb_ratio(spectrum(tf.constant(images)), scale)))


def lines(images: np.ndarray, scale: int) -> np.ndarray:
    """Of the lines, mean of the images: (2, lines) of rows and of columns."""
    return np.mean(line_ratios(spectrum(tf.constant(images)), scale), axis=0).reshape(2, -1)


def penalty(images: np.ndarray, scale: int) -> float:
    rgb = np.repeat(images[..., None], 3, axis=-1)
    return float(GridPenalty(scale)(rgb, rgb))


@SIZES
@pytest.mark.parametrize("natural", [False, True], ids=["white", "natural"])
def test_noise_has_a_ratio_of_about_one(scale, height, width, natural):
    images = noise(48, height, width, natural)
    # At x2 all three points mirror themselves, so that half of their neighbours say the same as the other half.
    assert 0.7 < ratio(images, scale) < (1.8 if scale == 2 else 1.4)
    assert lines(images, scale).min() > 0.8
    assert lines(images, scale).max() < 1.25
    assert penalty(images, scale) < 0.3


@SIZES
@pytest.mark.parametrize("kind", ["down", "right", "both", "two"])
def test_a_pattern_of_the_up_sampling_stands_out(scale, height, width, kind):
    if kind == "two" and scale % 2:
        pytest.skip("an odd scale has no pattern of period 2")
    periods = {"down": (scale, 0), "right": (0, scale), "both": (scale, scale), "two": (0, 2)}
    images = noise(4, height, width)
    marked = images + AMPLITUDE * waves(height, width, *periods[kind])
    assert ratio(marked, scale) > 4 * ratio(images, scale)
    assert penalty(marked, scale) > penalty(images, scale) + 2


@SIZES
def test_a_pattern_shows_in_the_line_of_its_axis_and_period(scale, height, width):
    images = noise(4, height, width)
    plain = lines(images, scale)
    for axis, periods in enumerate([(scale, 0), (0, scale)]):
        marked = lines(images + 2 * AMPLITUDE * waves(height, width, *periods), scale)
        # The first line is that of one period in `scale` pixels.
        assert marked[axis, 0] > 1.5 * plain[axis, 0]
        np.testing.assert_allclose(
            np.delete(marked, axis * len(plain[0])), np.delete(plain, axis * len(plain[0])), 0.3
        )


def test_a_pattern_locked_along_one_axis_alone_shows_in_the_lines():
    # Stripes at random heights: free along y, locked along x.
    stripes = np.random.default_rng(1).normal(0, AMPLITUDE, (4, 128, 1)) * waves(128, 128, 0, 4)
    images = noise(4, 128, 128)
    marked = lines((images + stripes).astype("float32"), 4)
    assert marked[1, 0] > 2 * lines(images, 4)[1, 0]
    assert penalty((images + stripes).astype("float32"), 4) > penalty(images, 4) + 0.5


def test_a_stronger_pattern_costs_more():
    images, pattern = noise(2, 80, 80), waves(80, 80, 4, 4)
    costs = [penalty(images + amplitude * pattern, 4) for amplitude in (0.01, 0.02, 0.04, 0.08)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1] / 4


def test_a_pattern_of_another_period_does_not_stand_out():
    images = noise(16, 80, 80)
    assert ratio(images + AMPLITUDE * waves(80, 80, 0, 80 / 30), 4) == pytest.approx(ratio(images, 4), rel=0.1)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_rows_and_columns_count_alike(scale):
    side = 20 * scale
    images = noise(4, side, side) + AMPLITUDE * waves(side, side, scale, 0)
    turned = images.transpose(0, 2, 1)
    np.testing.assert_allclose(lines(turned, scale), lines(images, scale)[::-1], rtol=1e-3)
    assert ratio(turned, scale) == pytest.approx(ratio(images, scale), rel=1e-3)


def test_every_image_counts_on_its_own():
    images = noise(3, 80, 80)
    images[1] += AMPLITUDE * waves(80, 80, 4, 4)
    together = comb_ratio(spectrum(tf.constant(images)), 4)
    assert together.shape == (3,)
    alone = [ratio(image[None], 4) for image in images]
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    each = line_ratios(spectrum(tf.constant(images)), 4)
    assert each.shape == (3, 4)


def test_brightness_and_contrast_do_not_matter():
    # Of what is well above the steps of 8 bits.
    images = noise(2, 80, 80) + AMPLITUDE * waves(80, 80, 4, 4)
    assert ratio(2 * images, 4) == pytest.approx(ratio(images, 4), rel=0.02)
    assert ratio(images + 0.3, 4) == pytest.approx(ratio(images, 4), rel=1e-2)


def test_a_pattern_below_the_steps_of_eight_bits_costs_little():
    flat, pattern = np.full((1, 80, 80), 0.5, "float32"), waves(80, 80, 4, 4)
    assert penalty(flat + 1e-4 * pattern, 4) < 0.5
    assert penalty(flat + 1e-2 * pattern, 4) > 5


@SIZES
def test_nothing_stands_out_of_a_flat_image_and_its_gradient_is_finite(scale, height, width):
    image = tf.fill((1, height, width, 3), 0.5)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = GridPenalty(scale)(image, image)
    assert float(value) < 0.3
    assert np.abs(tape.gradient(value, image)).max() < 1e-3


@pytest.mark.parametrize("scale", [2, 4])
def test_blocks_of_nearest_neighbour_cost_nothing(scale):
    small = noise(8, 30, 34, natural=True)
    assert penalty(small.repeat(scale, axis=1).repeat(scale, axis=2), scale) == 0


@pytest.mark.parametrize(("down", "right"), [(4, 0), (0, 2), (4, 4)])
def test_its_gradient_takes_the_pattern_away_and_little_else(down, right):
    clean, pattern = noise(1, 80, 80), waves(80, 80, down, right)
    images = tf.Variable(np.repeat((clean + AMPLITUDE * pattern)[..., None], 3, axis=-1))
    loss = GridPenalty(4)

    def amplitude() -> float:
        inside = (slice(None), slice(20, 60), slice(20, 60))  # the window weakens the edges
        rest = np.asarray(images)[..., 0] - clean
        return float((rest * pattern)[inside].sum() / (pattern**2)[20:60, 20:60].sum())

    costs, before = [], amplitude()
    for _ in range(40):
        with tf.GradientTape() as tape:
            cost = loss(images, images)
        gradient = tape.gradient(cost, images)
        images.assign_sub(0.1 * gradient / tf.maximum(tf.norm(gradient), 1e-6))
        costs.append(float(cost))
    assert before == pytest.approx(AMPLITUDE, rel=1e-3)
    assert costs[-1] < 0.5 * costs[0]
    assert abs(amplitude()) < 0.5 * before
    # What was taken is the pattern: beside it the picture has changed by less than half of that.
    removed = clean[0] + AMPLITUDE * pattern - np.asarray(images)[0, ..., 0]
    inside = (slice(20, 60), slice(20, 60))
    share = (removed * pattern)[inside].sum() / np.sqrt((removed**2)[inside].sum() * (pattern**2)[inside].sum())
    assert share > 0.8


@pytest.mark.parametrize(("height", "width"), [(82, 90), (83, 81)])
def test_sides_that_are_no_multiples_of_the_scale_are_taken(height, width):
    images = noise(8, height, width)
    marked = images + AMPLITUDE * waves(height, width, 4, 4)
    assert ratio(marked, 4) > 1.5 * ratio(images, 4)
    assert np.isfinite(penalty(marked, 4))


def test_images_whose_size_only_shows_at_run_time_are_measured():
    # As validation gives them.
    images = np.repeat((noise(1, 80, 88) + AMPLITUDE * waves(80, 88, 4, 4))[..., None], 3, axis=-1)
    loss = GridPenalty(4)
    run = tf.function(loss, input_signature=[tf.TensorSpec((1, None, None, 3))] * 2)
    assert float(run(images, images)) == pytest.approx(float(loss(images, images)), rel=1e-4)


def test_comb_by_hand():
    points, offsets = comb(2)
    neighbours = {
        tuple(p): {tuple(o) for o in each} for p, each in zip(points.tolist(), offsets.tolist(), strict=True)
    }
    distances = {*range(NEAREST, FARTHEST + 1), *range(-FARTHEST, -NEAREST + 1)}
    down, right = {(d, 0) for d in distances}, {(0, d) for d in distances}
    # Points on an axis have their neighbours along it alone.
    assert neighbours == {(0, 1): right, (1, 0): down, (1, 1): down | right}


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_no_neighbour_is_a_point_of_the_comb(scale):
    height, width = 20 * scale, 24 * scale
    points, offsets = comb(scale)
    bins = points * [20, 24]
    around = {(y % height, x % width) for y, x in (bins[:, None] + offsets).reshape(-1, 2).tolist()}
    assert not around & {(20 * i, 24 * k) for i in range(scale) for k in range(scale)}


def test_only_the_luma_of_the_generated_image_counts():
    rng = np.random.default_rng(0)
    clean = np.repeat(noise(1, 80, 80)[..., None], 3, axis=-1)
    marked = clean + AMPLITUDE * waves(80, 80, 4, 4)[..., None]
    assert float(GridPenalty(4)(clean, marked)) == float(GridPenalty(4)(rng.random(clean.shape), marked))
    # Red against green and blue, so that the luma stays (BT.601).
    colour = np.array([1 / 65.481, -1 / 128.553, 0], "float32") * 65.481
    hidden = clean + AMPLITUDE * waves(80, 80, 4, 4)[..., None] * colour
    assert float(GridPenalty(4)(clean, hidden)) == pytest.approx(float(GridPenalty(4)(clean, clean)), abs=1e-2)


def test_weight_multiplies_and_the_loss_survives_its_config():
    marked = np.repeat((noise(1, 60, 60) + AMPLITUDE * waves(60, 60, 3, 3))[..., None], 3, axis=-1)
    original = GridPenalty(3, 0.25, name="mine")
    assert float(original(marked, marked)) == pytest.approx(0.25 * float(GridPenalty(3)(marked, marked)), rel=1e-6)
    copy = keras.losses.deserialize(keras.losses.serialize(original))
    assert type(copy) is GridPenalty
    assert copy.get_config() == original.get_config()
    assert copy.get_config().items() >= {"scale": 3, "weight": 0.25, "name": "mine"}.items()
