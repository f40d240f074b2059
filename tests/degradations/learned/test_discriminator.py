"""The pair discriminator: its logits, what they depend on, its spectral norms and its file."""

import numpy as np
import pytest

from keras_fsr.degradations.learned.discriminator import PairDiscriminator, Projection
from keras_fsr.layers import SpectralConv2D, advance_spectral_norms

SIZE = 6


def inputs(height: int = 8, width: int = 8, scale: int = 4) -> list[np.ndarray]:
    """HQ, LQ and Omega of two pairs."""
    draw = np.random.default_rng(0)
    images = [draw.random((2, height * s, width * s, 3), dtype=np.float32) for s in (scale, 1)]
    return [*images, draw.standard_normal((2, SIZE), np.float32)]


@pytest.mark.parametrize(("height", "width", "scale"), [(8, 16, 4), (24, 8, 2)])
def test_there_is_a_logit_for_each_4_pixels(height, width, scale):
    logits = PairDiscriminator(scale, SIZE, 4)(inputs(height, width, scale))
    assert logits.shape == (2, height // 4, width // 4, 1)
    assert logits.dtype == "float32"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_logits_depend_on_both_images_and_omega(which):
    network = PairDiscriminator(4, SIZE, 4)
    given = inputs()
    logits = np.asarray(network(given))
    given[which] = given[which][::-1]
    assert np.abs(network(given) - logits).max() > 1e-4


def test_of_the_hq_image_the_block_means_count():
    network = PairDiscriminator(4, SIZE, 4)
    hq, lq, omega = inputs()
    means = hq.reshape(2, 8, 4, 8, 4, 3).mean(axis=(2, 4)).repeat(4, 1).repeat(4, 2)
    np.testing.assert_allclose(network([means, lq, omega]), network([hq, lq, omega]), atol=1e-5)


def test_projection_by_hand():
    maps = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], np.float32)
    vector = np.array([[10.0, -1.0]], np.float32)
    # (1 * 10 - 2) / 2 and (3 * 10 - 4) / 2.
    np.testing.assert_allclose(Projection()([maps, vector]), [[[[4.0], [13.0]]]])
    assert Projection().compute_output_shape([(1, 1, 2, 2), (1, 2)]) == (1, 1, 2, 1)


def test_spectral_norms_advance():
    network = PairDiscriminator(4, SIZE, 4)
    layers = [layer for layer in network.layers if isinstance(layer, SpectralConv2D)]
    assert len(layers) == 5
    for layer in layers:  # far from settled
        layer.u.assign(np.eye(layer.filters, dtype="float32")[0])
    for _ in range(100):
        advance_spectral_norms(network)
    for layer in layers:
        matrix = np.asarray(layer.kernel).reshape(-1, layer.filters)
        largest = np.linalg.svd(matrix, compute_uv=False)[0]
        assert float(layer.sigma()) == pytest.approx(largest, rel=0.01), layer.name


def test_logits_do_not_grow_with_the_kernels():
    network = PairDiscriminator(4, SIZE, 4)
    logits = np.asarray(network(inputs()))
    for layer in network.layers:
        if isinstance(layer, SpectralConv2D):
            layer.kernel.assign(7 * layer.kernel)
    np.testing.assert_allclose(network(inputs()), logits, atol=1e-5)


def test_saved_network_loads_as_an_equal_one(reload):
    network = PairDiscriminator(4, SIZE, 4, name="judge")
    copy = reload(network)
    assert copy.get_config() == network.get_config() == {"name": "judge", "scale": 4, "size": 6, "num_features": 4}
    np.testing.assert_array_equal(copy(inputs()), network(inputs()))
