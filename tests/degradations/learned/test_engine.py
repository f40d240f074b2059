"""SynNet in LiteRT: the same pixels as in Keras, sizes, threads, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from keras_fsr import pretrained
from keras_fsr.degradations.learned.engine import NOISE_CHANNELS, SynNetEngine, convert
from keras_fsr.degradations.learned.synnet import SynNet, noise_channels
from keras_fsr.errors import ModelError


@pytest.fixture(scope="module")
def synnet() -> SynNet:
    """With no weight at zero."""
    keras.utils.set_random_seed(0)
    network = SynNet(4, 6, filters=[4, 4, 4, 4], hidden=8, dense=2)
    draw = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign_add(draw.normal(0, 0.1, weight.shape))
    return network


@pytest.fixture(scope="module")
def content(synnet) -> bytes:
    return convert(synnet)


@pytest.fixture(scope="module")
def engine(content) -> SynNetEngine:
    return SynNetEngine(content, "tiny")


def inputs(height: int = 8, width: int = 16, seed: int = 0) -> list[np.ndarray]:
    """HQ, Omega and noise of one image."""
    draw = np.random.default_rng(seed)
    hq = draw.random((height * 4, width * 4, 3), dtype=np.float32)
    noise = draw.standard_normal((height, width, NOISE_CHANNELS), np.float32)
    return [hq, draw.standard_normal(6, np.float32), noise]


def test_noise_has_as_many_channels_as_the_network_takes():
    assert noise_channels() == NOISE_CHANNELS


def test_engine_makes_the_pixels_of_the_network_at_any_size(engine, synnet):
    for height, width in ((8, 16), (24, 8), (8, 16)):
        given = inputs(height, width)
        expected = np.asarray(synnet([part[None] for part in given]))[0]
        result = engine(*given)
        assert result.shape == (height, width, 3)
        # float16 weights; half a level of 255 is 0.002.
        np.testing.assert_allclose(result, expected, atol=2e-3)
        assert expected.std() > 0.02


def test_threads_do_not_mix_up_their_images(engine):
    given = [inputs(8 * (1 + i % 3), 16, seed=i) for i in range(12)]
    alone = [engine(*parts) for parts in given]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda parts: engine(*parts), given))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_omega_of_another_size_is_refused_and_harms_nothing(engine):
    hq, omega, noise = inputs()
    before = engine(hq, omega, noise)
    with pytest.raises(ModelError, match=r"tiny: cannot degrade .* by \(5,\)") as caught:
        engine(hq, omega[:5], noise)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(engine(hq, omega, noise), before)


@pytest.mark.parametrize("bad", ["text", "cut", "upscaler"])
def test_what_is_no_synnet_is_refused(bad, content):
    upscaler = pretrained.weights("face_x4").read_bytes()
    made = {"text": b"this is text" * 100, "cut": content[:2000], "upscaler": upscaler}[bad]
    with pytest.raises(ModelError, match="mine: is no SynNet") as caught:
        SynNetEngine(made, "mine")
    assert "\n" not in str(caught.value)
