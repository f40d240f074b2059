"""What the tests of exports share: small networks with something to lose, and a folder of images."""

import numpy as np
import pytest
from PIL import Image


def random_network(network):
    """Weights by which a network changes its input visibly, but not beyond recognition."""
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if layer.weights:
            spread = 0.02 if layer.name == "conv_last" else 0.15
            layer.set_weights([rng.normal(0, spread, w.shape) for w in layer.get_weights()])
    return network


@pytest.fixture(scope="session")
def rrdb():
    from keras_fsr.generators.rrdb import RRDB

    sizes = {"num_features": 16, "growth_channels": 8, "num_blocks": 1}
    return random_network(RRDB(4, hardware=True, activation="relu", anchor=True, **sizes, name="small_rrdb"))


@pytest.fixture(scope="session")
def edge():
    """In its wide form, which is folded when it is exported."""
    from keras_fsr.generators.edge import Edge

    network = Edge(4, num_features=16, num_blocks=2, reparameterized=True, name="small_edge")
    return random_network(network)


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A folder of 9 images of 224x200 pixels: 9 LR images of 56x50 at x4, a calibration patch in each."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(1)
    for i in range(9):
        coarse = rng.integers(0, 256, (7, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((200, 224), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def many_faces(tmp_path_factory):
    """3 images of 768x768 pixels: 4 * 4 calibration patches each, in two of them the least that int8 takes.

    A training leaves one of them to compare on.
    """
    folder = tmp_path_factory.mktemp("many_faces")
    rng = np.random.default_rng(2)
    for i in range(3):
        coarse = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(coarse).resize((768, 768), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder
