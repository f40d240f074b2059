"""DegNet and SynNet as one network: what flows where, copies in half precision, and the file."""

import numpy as np

from keras_fsr.degradations.learned.degnet import DegNet
from keras_fsr.degradations.learned.network import DegradationTransfer
from keras_fsr.degradations.learned.synnet import SynNet, noise_channels
from keras_fsr.training.precision import copy_network

SMALL = {"filters": [4, 4, 4, 4], "hidden": 8}


def tiny() -> DegradationTransfer:
    """With no weight at zero."""
    network = DegradationTransfer(4, 6, SMALL, {**SMALL, "dense": 2})
    draw = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign_add(draw.normal(0, 0.2, weight.shape))
    return network


def inputs() -> list[np.ndarray]:
    """Example HQ and LQ, HQ of another size, noise."""
    draw = np.random.default_rng(1)
    shapes = (2, 32, 64, 3), (2, 8, 16, 3), (2, 64, 32, 3), (2, 16, 8, noise_channels())
    return [draw.random(shape, dtype=np.float32) for shape in shapes]


def test_the_example_s_omega_degrades_the_other_image():
    network = tiny()
    example_hq, example_lq, hq, noise = inputs()
    omega = np.asarray(network.degnet([example_hq, example_lq]))
    expected = network.synnet([hq, omega, noise])
    assert expected.shape == (2, 16, 8, 3)
    np.testing.assert_array_equal(network([example_hq, example_lq, hq, noise]), expected)
    assert np.abs(network([example_hq, example_lq[::-1], hq, noise]) - expected).max() > 1e-4


def test_parts_have_the_options_that_they_were_given():
    network = DegradationTransfer(2, 5, {"filters": [4, 8]}, {"hidden": 16, "filters": [4, 4]})
    assert network.degnet.config == {"scale": 2, "size": 5, "filters": [4, 8], "hidden": 256}
    assert network.synnet.config == {"scale": 2, "size": 5, "filters": [4, 4], "hidden": 16, "dense": 4}


def test_without_options_the_parts_are_the_defaults():
    network = DegradationTransfer()
    assert network.degnet.config == DegNet().config
    assert network.synnet.config == SynNet().config
    assert network.count_params() == DegNet().count_params() + SynNet().count_params()


def test_copy_in_bfloat16_has_the_same_weights_and_puts_out_float32():
    network = tiny()
    copy = copy_network(network, "mixed_bfloat16")
    assert copy.degnet.get_layer("conv0a").compute_dtype == "bfloat16"
    assert copy.synnet.get_layer("mc0a").compute_dtype == "bfloat16"
    assert all(weight.dtype == "float32" for weight in copy.weights)
    lq = copy(inputs())
    assert lq.dtype == copy.degnet(inputs()[:2]).dtype == "float32"
    expected = np.asarray(network(inputs()))
    # bfloat16 has 8 bits: tens of roundings of 0.4 % each.
    assert np.abs(lq - expected).max() < 0.1 * np.abs(expected).max()


def test_saved_network_loads_as_an_equal_one(reload):
    network = tiny()
    copy = reload(network)
    assert isinstance(copy, DegradationTransfer)
    assert copy.get_config() == network.get_config()
    np.testing.assert_array_equal(copy(inputs()), network(inputs()))
    np.testing.assert_array_equal(copy.degnet(inputs()[:2]), network.degnet(inputs()[:2]))
