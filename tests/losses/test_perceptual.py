"""Losses on feature maps and total variation, against NumPy, with their weights and configs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.losses.perceptual import Perceptual, TotalVariation, gram

TAPS = {"block1_conv2": 0.5, "block3_conv3": 2.0}


def random_maps(seed: int) -> list[np.ndarray]:
    """Of two taps, for a batch of three; each image has another scale."""
    rng = np.random.default_rng(seed)
    scales = np.array([1.0, 5.0, 0.5])[:, None, None, None]
    return [(scales * rng.normal(0.3, 1, (3, *shape))).astype("float32") for shape in ((6, 5, 4), (3, 2, 7))]


TRUE, PREDICTED = random_maps(0), random_maps(1)


def by_numpy(true, predicted, size, relative: bool) -> np.ndarray:
    """Distance of each image of one tap."""
    values = []
    for t, p in zip(true.astype("float64"), predicted.astype("float64"), strict=True):
        values.append(size(t - p).mean() / (size(t).mean() if relative else 1))
    return np.array(values)


def gram_by_numpy(maps) -> np.ndarray:
    return np.stack([np.tensordot(m, m, ((0, 1), (0, 1))) / (m.shape[0] * m.shape[1]) for m in maps])


@pytest.mark.parametrize("style_weight", [0.0, 0.25])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("distance", "size"), [("l1", np.abs), ("l2", np.square)])
def test_value_is_numpys(distance, size, relative, style_weight):
    each = 0
    for weight, t, p in zip(TAPS.values(), TRUE, PREDICTED, strict=True):
        each += weight * by_numpy(t, p, size, relative)
        each += weight * style_weight * by_numpy(gram_by_numpy(t), gram_by_numpy(p), size, relative)
    loss = Perceptual(TAPS, 0.1, distance=distance, relative=relative, style_weight=style_weight)
    np.testing.assert_allclose(loss.call(TRUE, PREDICTED), 0.1 * each, rtol=1e-4)
    assert float(loss(TRUE, PREDICTED)) == pytest.approx(0.1 * each.mean(), rel=1e-4)


def test_value_by_hand():
    # One image of 1x2 pixels and two channels; differences 1, -2, 0, 3: means 1.5 and 14 / 4.
    true = [np.array([[[[1.0, 2.0], [4.0, -1.0]]]], "float32")]
    predicted = [np.array([[[[0.0, 4.0], [4.0, -4.0]]]], "float32")]
    assert float(Perceptual({"a": 2.0})(true, predicted)) == pytest.approx(3.0)
    assert float(Perceptual({"a": 2.0}, distance="l2")(true, predicted)) == pytest.approx(7.0)
    # The originals: mean size 2, mean square 22 / 4.
    assert float(Perceptual({"a": 2.0}, relative=True)(true, predicted)) == pytest.approx(1.5, rel=1e-5)
    relative = Perceptual({"a": 2.0}, distance="l2", relative=True)
    assert float(relative(true, predicted)) == pytest.approx(2 * 14 / 22, rel=1e-5)
    # Gram matrices [[17, -2], [-2, 5]] / 2 and [[16, -16], [-16, 32]] / 2: differences 1, 14, 14, -27 over 2.
    style = Perceptual({"a": 1.0}, style_weight=1.0)
    assert float(style(true, predicted)) == pytest.approx(1.5 + 56 / 2 / 4)


def test_gram_by_hand():
    maps = np.array([[[[1.0, 2.0], [4.0, -1.0]]]], "float32")
    np.testing.assert_allclose(gram(maps), [[[8.5, -1.0], [-1.0, 2.5]]])


def test_gram_forgets_where_things_are():
    maps = TRUE[0]
    moved = np.roll(maps[:, ::-1], 2, axis=2)
    np.testing.assert_allclose(gram(maps), gram(moved), rtol=1e-4, atol=1e-4)


def test_gram_takes_sizes_that_only_show_at_run_time():
    run = tf.function(gram, input_signature=[tf.TensorSpec((None, None, None, 4))])
    np.testing.assert_allclose(run(TRUE[0]), gram_by_numpy(TRUE[0]), rtol=1e-4, atol=1e-5)


def test_relative_distance_does_not_depend_on_the_scale_of_the_features():
    loss = Perceptual(TAPS, relative=True)
    larger = [[1000 * m for m in maps] for maps in (TRUE, PREDICTED)]
    assert float(loss(*larger)) == pytest.approx(float(loss(TRUE, PREDICTED)), rel=1e-4)


def test_relative_distance_of_dead_features_is_finite():
    dead = [np.zeros_like(m) for m in TRUE]
    assert np.isfinite(float(Perceptual(TAPS, relative=True)(dead, PREDICTED)))


@pytest.mark.parametrize("options", [{}, {"distance": "l2"}, {"relative": True}, {"style_weight": 1.0}], ids=str)
def test_equal_maps_cost_nothing(options):
    assert float(Perceptual(TAPS, **options)(TRUE, TRUE)) == 0


def test_half_precision_features_are_compared_in_float32():
    halves = [[tf.cast(m, tf.bfloat16) for m in maps] for maps in (TRUE, PREDICTED)]
    exact = [[tf.cast(m, tf.float32) for m in maps] for maps in halves]
    value = Perceptual(TAPS, style_weight=1.0)(*halves)
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx(float(Perceptual(TAPS, style_weight=1.0)(*exact)), rel=1e-6)


def test_another_number_of_maps_is_refused():
    with pytest.raises(ValueError, match="zip"):
        Perceptual({"a": 1.0})(TRUE, PREDICTED)


def test_wrong_distance_is_refused():
    with pytest.raises(ValueError, match="perceptual distance is l1 or l2, not 'cosine'"):
        Perceptual(TAPS, distance="cosine")


def test_perceptual_loss_survives_its_config():
    options = {"weight": 0.5, "distance": "l2", "relative": True, "style_weight": 0.1, "name": "mine"}
    original = Perceptual(TAPS, **options)
    copy = keras.losses.deserialize(keras.losses.serialize(original))
    assert type(copy) is Perceptual
    assert copy.get_config() == original.get_config()
    assert copy.get_config().items() >= {"tap_weights": TAPS, **options}.items()
    assert list(copy.tap_weights) == list(TAPS), "the order is that of the extractor's maps"
    assert float(copy(TRUE, PREDICTED)) == pytest.approx(float(original(TRUE, PREDICTED)))


def test_total_variation_by_hand():
    # Rows 0 1 / 5 3: down |5|, |2| and right |1|, |-2|: means 3.5 and 1.5.
    image = np.array([[[[0.0], [1.0]], [[5.0], [3.0]]]], "float32")
    assert float(TotalVariation()(image, image)) == pytest.approx(5.0)
    assert float(TotalVariation(weight=0.5)(image, image)) == pytest.approx(2.5)


def test_total_variation_is_numpys_of_the_generated_image_alone():
    rng = np.random.default_rng(0)
    true, image = rng.random((2, 5, 7, 3), dtype=np.float32), rng.random((2, 5, 7, 3), dtype=np.float32)
    each = [np.abs(np.diff(x, axis=0)).mean() + np.abs(np.diff(x, axis=1)).mean() for x in image]
    np.testing.assert_allclose(TotalVariation().call(true, image), each, rtol=1e-5)
    assert float(TotalVariation()(image, np.full_like(image, 0.5))) == 0


def test_total_variation_survives_its_config():
    original = TotalVariation(weight=0.5, name="mine")
    copy = keras.losses.deserialize(keras.losses.serialize(original))
    assert type(copy) is TotalVariation
    assert copy.get_config() == original.get_config()
