"""PieAPP against piq and by its properties, with random weights: the authors' are not free, and 273 MB."""

import logging
from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.errors import DataError, ModelError
from keras_fsr.losses import pieapp as module
from keras_fsr.losses.pieapp import PieAPP, build_network, cut, load_pieapp_weights, pieapp, positions

# Names and shapes of the file: facts of piq's PieAPPModel and of the authors' network.
CONVOLUTIONS = (3, 64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512)
DENSE = {
    "fc1_score": (512, 120832),
    "fc2_score": (1, 512),
    "fc1_weight": (512, 2048),
    "fc2_weight": (1, 512),
    "ref_score_subtract": (1, 1),
}


def random_state() -> dict[str, np.ndarray]:
    """Weights of sane scale, always the same, in the layout of the authors' file.

    One generator, layer by layer: kernel uniform of variance 2 / inputs, then bias uniform in +-0.1. Then four
    changes: the first kernel takes pixels in 0..255; what differs adds up to a score of about 1; patch weights are
    positive; and equal images score 0, as the authors' bias of ref_score_subtract is there for.
    """
    draw = np.random.default_rng(2018)
    shapes = {f"conv{i + 1}": (CONVOLUTIONS[i + 1], CONVOLUTIONS[i], 3, 3) for i in range(11)} | DENSE
    state = {}
    for name, shape in shapes.items():
        for part, size, reach in (("weight", shape, (6 / np.prod(shape[1:])) ** 0.5), ("bias", shape[0], 0.1)):
            state[f"{name}.{part}"] = draw.random(size, dtype=np.float32)
            state[f"{name}.{part}"] -= np.float32(0.5)
            state[f"{name}.{part}"] *= np.float32(2 * reach)
    state["conv1.weight"] /= 128
    state["fc2_score.weight"] = np.abs(state["fc2_score.weight"]) * 8
    state["fc2_weight.weight"] *= 5
    state["fc2_weight.bias"] += 2
    state["ref_score_subtract.weight"] = np.array([1.25], np.float32)
    resting = np.maximum(state["fc1_score.bias"], 0) @ state["fc2_score.weight"][0] + state["fc2_score.bias"]
    state["ref_score_subtract.bias"] = np.float32(-1.25 * 0.01) * resting
    return state


def random_images() -> tuple[np.ndarray, np.ndarray]:
    """Two images of 96x80 and their copies, one with a little noise and one with much."""
    draw = np.random.default_rng(7)
    reference = draw.random((2, 96, 80, 3), dtype=np.float32)
    noise = (draw.random(reference.shape, dtype=np.float32) - 0.5) * np.float32([[[[0.2]]], [[[1.0]]]])
    return reference, np.clip(reference + noise, 0, 1)


# piq.PieAPP(reduction="none", stride=stride) of piq 0.8.0 and torch 2.13.0 (CPU) with random_state() as its weights,
# on random_images(), by stride: RGB as piq feeds them, and the same with the channels turned round before.
PIQ = {27: (0.14240915, 0.60940963), 6: (0.11944409, 0.56072503)}
PIQ_OF_BGR = {27: (0.14047307, 0.56671906), 6: (0.12601398, 0.57073557)}
# The same patches and those that touch the right and lower edge, cut by hand, through piq's PieAPPModel, in BGR.
PIQ_OF_BGR_WITH_EDGES = {27: (0.13331376, 0.60232699), 6: (0.12686065, 0.57871574)}

STRIDES = pytest.mark.parametrize("stride", [27, 6])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "PieAPPv0.1.npz"
    np.savez(file, **random_state())
    yield load_pieapp_weights(build_network(), file.parent)
    file.unlink()


@STRIDES
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"channels": "rgb", "cover_edges": False}, PIQ),
        ({"channels": "bgr", "cover_edges": False}, PIQ_OF_BGR),
        ({}, PIQ_OF_BGR_WITH_EDGES),
    ],
    ids=["rgb", "bgr", "bgr with edges"],
)
def test_scores_are_those_of_piq(network, stride, options, expected):
    scores = pieapp(*random_images(), network, stride, **options)
    np.testing.assert_allclose(scores, expected[stride], rtol=0, atol=1e-5)


@STRIDES
def test_scores_are_those_of_a_live_piq(network, stride, monkeypatch):
    piq = pytest.importorskip("piq", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in random_state().items()}
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: state)
    reference, image = random_images()
    pair = [torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for x in (image, reference)]
    expected = piq.PieAPP(reduction="none", stride=stride)(*pair)
    scores = pieapp(reference, image, network, stride, cover_edges=False, channels="rgb")
    np.testing.assert_allclose(scores, expected.numpy(), rtol=0, atol=1e-5)


def test_parameters(network):
    convolutions = sum(9 * a * b + b for a, b in pairwise(CONVOLUTIONS))
    dense = sum(a * b + a for a, b in DENSE.values())
    assert (convolutions, convolutions + dense) == (5_459_968, 68_376_580)
    assert network.get_layer("trunk").count_params() == convolutions
    assert network.count_params() == convolutions + dense
    assert network.trainable_weights == []


def test_equal_images_score_zero(network):
    reference, _ = random_images()
    np.testing.assert_allclose(pieapp(reference, reference, network), 0, atol=1e-6)


def test_a_step_down_the_gradient_lowers_the_loss(network):
    reference, image = random_images()
    loss = PieAPP(weight=0.5, network=network)
    image = tf.Variable(image)
    with tf.GradientTape() as tape:
        before = loss(reference, image)
    gradient = tape.gradient(before, image).numpy()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).max(axis=(1, 2, 3)) > 0).all()
    assert (np.abs(gradient) > 0).mean() > 0.99, "patches cover every pixel"
    step = 1e-3 / np.abs(gradient).max()
    assert float(loss(reference, image - step * gradient)) < float(before)
    np.testing.assert_allclose(before, 0.5 * np.mean(PIQ_OF_BGR_WITH_EDGES[27]), atol=1e-5)


def test_rows_at_once_and_unknown_sizes_change_nothing(network):
    reference, image = random_images()
    np.testing.assert_allclose(
        pieapp(reference, image, network, rows_at_once=2), PIQ_OF_BGR_WITH_EDGES[27], rtol=0, atol=1e-5
    )
    traced = tf.function(lambda a, b: pieapp(a, b, network), autograph=False)
    any_size = tf.TensorSpec((None, None, None, 3))
    scores = traced.get_concrete_function(any_size, any_size)(tf.constant(reference), tf.constant(image))
    np.testing.assert_allclose(scores, PIQ_OF_BGR_WITH_EDGES[27], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "stride", "cover_edges", "expected"),
    [
        (64, 27, True, [0]),
        (64, 27, False, [0]),
        (90, 27, True, [0, 26]),
        (90, 27, False, [0]),
        (91, 27, True, [0, 27]),
        (128, 27, True, [0, 27, 54, 64]),
        (128, 27, False, [0, 27, 54]),
        (77, 6, True, [0, 6, 12, 13]),
        (77, 6, False, [0, 6, 12]),
    ],
)
def test_positions(size, stride, cover_edges, expected):
    np.testing.assert_array_equal(positions(size, stride, cover_edges), expected)
    np.testing.assert_array_equal(positions(tf.constant(size), stride, cover_edges), expected)


def test_cut_takes_the_patches_row_by_row():
    images = np.random.default_rng(0).random((2, 70, 80, 3), dtype=np.float32)
    rows, columns = (0, 6), (0, 9, 16)
    expected = [x[y : y + 64, c : c + 64] for x in images for y in rows for c in columns]
    np.testing.assert_array_equal(cut(images, tf.constant(rows), tf.constant(columns)), expected)


@pytest.mark.parametrize(
    ("reference", "image", "message"),
    [
        ((1, 63, 70, 3), (1, 63, 70, 3), "an image of 70x63 is too small for PieAPP; give at least 64 pixels a side"),
        ((1, 64, 64, 1), (1, 64, 64, 1), "two (N, H, W, 3) batches of one shape, not (1, 64, 64, 1) and"),
        ((1, 64, 64, 3), (1, 64, 65, 3), "two (N, H, W, 3) batches of one shape, not (1, 64, 64, 3) and"),
        ((64, 64, 3), (64, 64, 3), "two (N, H, W, 3) batches of one shape, not (64, 64, 3) and"),
    ],
)
def test_images_that_do_not_fit_are_refused(reference, image, message):
    with pytest.raises(DataError) as error:
        pieapp(np.zeros(reference, "float32"), np.zeros(image, "float32"), network=None)
    assert message in str(error.value)


def test_images_in_bytes_are_refused():
    image = np.full((1, 64, 64, 3), 128.0, "float32")
    with pytest.raises(tf.errors.InvalidArgumentError, match="divide images in 0..255 by 255"):
        pieapp(image, image, network=None)


@pytest.mark.parametrize("options", [{"stride": 0}, {"stride": 2.5}, {"channels": "gbr"}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="PieAPP's"):
        PieAPP(**options)


def test_loss_survives_its_config(network, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "build_network", lambda: network)
    monkeypatch.setattr(module, "load_pieapp_weights", lambda network, path: asked.append(path) or network)
    options = {"weight": 0.1, "weights_file": "some.pth", "stride": 40, "cover_edges": False, "channels": "rgb"}
    original = PieAPP(name="mine", **options)
    copy = keras.losses.deserialize(keras.losses.serialize(original))
    assert type(copy) is PieAPP
    assert copy.get_config() == original.get_config()
    assert copy.get_config().items() >= {"name": "mine", **options}.items()
    assert asked == ["some.pth", "some.pth"]
    np.testing.assert_allclose(copy(*random_images()), original(*random_images()))


def test_a_trained_model_does_not_carry_the_weights(network, tmp_path):
    model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(3, 1)])
    model.compile(optimizer="sgd", loss=PieAPP(network=network))
    reference, image = (x[:, :64, :64] for x in random_images())
    model.fit(image, reference, verbose=0)
    model.save(tmp_path / "model.keras")
    assert (tmp_path / "model.keras").stat().st_size < 100_000


def test_weights_come_from_a_folder_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_FSR_WEIGHTS", raising=False)
    with pytest.raises(ModelError, match="download https://.*/PieAPPv0.1.pth .*non-commercial.* KERAS_FSR_WEIGHTS"):
        PieAPP()
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path))
    with pytest.raises(ModelError, match="holds no PieAPPv0.1.pth; download https://.* or set KERAS_FSR_WEIGHTS"):
        PieAPP()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv3.bias"), r"lacks conv3.bias of shape \(64,\), so it is not PieAPP v0.1; down"),
        (lambda state: state.update({"conv12.bias": 0}), "also holds conv12.bias, so it is not PieAPP"),
        (
            lambda state: state.update({"conv2.weight": np.zeros((64, 64, 3, 2), "float32")}),
            r"conv2.weight has shape \(64, 64, 3, 2\) instead of \(64, 64, 3, 3\), so it is not PieAPP",
        ),
    ],
)
def test_weights_of_another_network_are_refused(network, monkeypatch, tmp_path, change, message):
    shapes = {f"conv{i + 1}": (CONVOLUTIONS[i + 1], CONVOLUTIONS[i], 3, 3) for i in range(11)} | DENSE
    number = np.zeros(1, "float32")
    state = {f"{name}.weight": np.broadcast_to(number, shape) for name, shape in shapes.items()}
    state |= {f"{name}.bias": np.broadcast_to(number, shape[:1]) for name, shape in shapes.items()}
    change(state)
    monkeypatch.setattr(module, "read_state", lambda path: state)
    (tmp_path / "PieAPPv0.1.pth").touch()
    with pytest.raises(ModelError, match=message):
        load_pieapp_weights(network, tmp_path)
    assert network.get_layer("trunk").get_layer("conv1").kernel.numpy().any(), "nothing was overwritten"


def test_terms_are_logged_once(caplog):
    module.say_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="keras_fsr"):
        module.say_once(module.WEIGHTS_NOTICE)
        module.say_once(module.WEIGHTS_NOTICE)
    assert [record.message for record in caplog.records] == [module.WEIGHTS_NOTICE]
    assert "non-commercial, educational purposes only" in module.WEIGHTS_NOTICE
