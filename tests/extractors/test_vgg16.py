"""The reduced VGG against keras.applications, what it refuses, its narrower form, and where weights come from."""

import importlib
import inspect
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.errors import ModelError, TrainingError
from keras_fsr.extractors.vgg16 import VGG, build_vgg, layer_names
from keras_fsr.extractors.weights import ADDRESS, FILES, fill, load_imagenet, strongest
from keras_fsr.generators.rrdb import RRDB
from keras_fsr.losses.perceptual import Perceptual
from keras_fsr.losses.pixel import L1
from keras_fsr.training.trainer import Trainer

FOLDER_VARIABLE = "KERAS_FSR_WEIGHTS"
SHARED = Path(__file__).parents[3] / "shared" / "weights"
KINDS = {16: keras.applications.VGG16, 19: keras.applications.VGG19}
PREPROCESS = {
    16: keras.applications.vgg16.preprocess_input,
    19: keras.applications.vgg19.preprocess_input,
}
DEPTHS = pytest.mark.parametrize("depth", [16, 19])
SMALL = {"cut": "block1_conv2", "width": 2 / 64}


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def references() -> dict[int, keras.Model]:
    """Keras' own networks with random weights, biases too."""
    keras.utils.set_random_seed(0)
    rng, networks = np.random.default_rng(0), {}
    for depth, kind in KINDS.items():
        networks[depth] = kind(weights=None, include_top=False)
        for layer in networks[depth].layers:
            if isinstance(layer, keras.layers.Conv2D):
                layer.bias.assign(rng.normal(0, 1, layer.bias.shape))
    return networks


def copy_weights(reference: keras.Model, network: VGG) -> VGG:
    for name in layer_names(network.depth)[: layer_names(network.depth).index(network.cut) + 1]:
        network.get_layer(name).set_weights(reference.get_layer(name).get_weights())
    return network


def features(reference: keras.Model, tap: str, images: np.ndarray, before_activation: bool) -> np.ndarray:
    """Of Keras' network, by its own preprocessing; its layers hold their ReLU."""
    depth = 19 if "block3_conv4" in [layer.name for layer in reference.layers] else 16
    prepared = PREPROCESS[depth](255.0 * images)
    layer = reference.get_layer(tap)
    if not before_activation:
        return np.asarray(keras.Model(reference.inputs, layer.output)(prepared))
    x = keras.Model(reference.inputs, layer.input)(prepared)
    return np.asarray(tf.nn.conv2d(x, layer.kernel.value, 1, "SAME") + layer.bias.value)


def assert_equal_features(result, expected):
    """Within 1e-5 of the largest feature."""
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        # By hand, 9 * inputs * filters + filters a layer: 1,792 + 36,928 + 73,856 + 147,584 + 295,168 + 2 * 590,080.
        ({}, 1_735_488),
        # keras.applications.VGG16 and VGG19 without their top.
        ({"cut": "block5_conv3"}, 14_714_688),
        ({"depth": 19, "cut": "block5_conv4"}, 20_024_384),
        # 590,080 more than VGG16's.
        ({"depth": 19, "cut": "block3_conv4"}, 2_325_568),
        # Half of all filters: 896 + 9,248 + 18,496 + 36,928 + 73,856 + 2 * 147,584.
        ({"width": 0.5}, 434_592),
    ],
)
def test_parameter_count(options, parameters):
    network = VGG(**options)
    assert network.count_params() == parameters
    assert network.trainable_weights == []


def test_nothing_is_built_behind_the_cut():
    names = [layer.name for layer in VGG(cut="block2_conv2").layers]
    assert [name for name in names if name.startswith("block3")] == []
    assert "block2_pool" not in names


@DEPTHS
@pytest.mark.parametrize("before_activation", [True, False])
def test_features_are_those_of_keras(depth, before_activation, references):
    last = layer_names(depth)[-1]
    taps = ["block1_conv2", "block2_conv2", "block3_conv3", last]
    network = VGG(last, taps, before_activation, depth)
    copy_weights(references[depth], network)
    images = random_images(2, 32, 48)
    maps = network(images)
    assert len(maps) == 4
    for tap, result in zip(taps, maps, strict=True):
        assert_equal_features(result, features(references[depth], tap, images, before_activation))
        assert bool(np.asarray(result).min() < 0) == before_activation


@DEPTHS
@pytest.mark.skipif(not SHARED.is_dir(), reason="the weights in ../shared/weights are absent")
@pytest.mark.parametrize("before_activation", [True, False])
def test_features_are_those_of_keras_with_imagenet_weights(depth, before_activation, references):
    last = {16: "block3_conv3", 19: "block3_conv4"}[depth]
    network = build_vgg(str(SHARED), cut=last, depth=depth, before_activation=before_activation)
    reference = keras.models.clone_model(references[depth])
    with np.load(SHARED / f"vgg{depth}_keras_block1to3.npz") as arrays:
        for name in layer_names(depth)[: layer_names(depth).index(last) + 1]:
            reference.get_layer(name).set_weights([arrays[f"{name}__kernel"], arrays[f"{name}__bias"]])
    images = random_images(2, 32, 40)
    # By default a network with one tap has one map, in a list or alone.
    (result,) = keras.tree.flatten(network(images))
    assert_equal_features(result, features(reference, last, images, before_activation))


def test_maps_come_in_the_order_of_the_taps():
    network = VGG("block2_conv1", ["block2_conv1", "block1_conv1"], width=2 / 64)
    assert [x.shape for x in network(random_images(1, 8, 8))] == [(1, 4, 4, 4), (1, 8, 8, 2)]


def test_input_is_blue_first_without_the_imagenet_mean():
    images = np.array([[[[1.0, 0.5, 0.0]]]], "float32")
    result = VGG(**SMALL).get_layer("caffe_input")(images)
    np.testing.assert_allclose(result, [[[[-103.939, 127.5 - 116.779, 255 - 123.68]]]], rtol=1e-5)


def test_gradient_reaches_the_image():
    network, images = VGG(**SMALL), tf.constant(random_images(1, 8, 8))
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.add_n([tf.reduce_sum(x**2) for x in keras.tree.flatten(network(images))])
    assert np.abs(tape.gradient(value, images)).min() > 0


IN_BYTES = pytest.raises(tf.errors.InvalidArgumentError, match=r"VGG takes RGB in \[0, 1\]")


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_images_in_0_to_255_are_refused(wrap):
    run = wrap(VGG(**SMALL))
    run(tf.constant(random_images(1, 8, 8)))
    run(tf.constant(3 * random_images(1, 8, 8) - 1))  # single values may lie outside
    with IN_BYTES:
        run(tf.constant(255 * random_images(1, 8, 8)))


def test_images_in_0_to_255_are_refused_within_fit():
    trainer = Trainer(RRDB(2, num_features=8, growth_channels=4, num_blocks=1), None, VGG(**SMALL))
    trainer.compile("adam", loss=L1(), perceptual=Perceptual({"block1_conv2": 1.0}))
    small, large = random_images(2, 8, 8), random_images(2, 16, 16)
    trainer.fit(small, large, verbose=0)
    with pytest.raises(TrainingError, match=r"far outside \[0, 1\] at step 1"):
        trainer.fit(255 * small, 255 * large, verbose=0)


def test_first_layer_reads_pixels_in_float32(dtype_policy):
    dtype_policy("mixed_bfloat16")
    network = VGG("block2_conv1", width=4 / 64)
    dtypes = [network.get_layer(name).compute_dtype for name in ("caffe_input", "block1_conv1", "block1_conv2")]
    assert dtypes == ["float32", "float32", "bfloat16"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 11}, "VGG depth is 16 or 19, not 11"),
        ({"width": 0}, "above 0 and at most 1, not 0"),
        ({"width": 1.5}, "above 0 and at most 1, not 1.5"),
        ({"cut": "block3_conv4"}, "VGG16 has no layer 'block3_conv4'; it has block1_conv1, .*block5_conv3"),
        ({"cut": "block2_pool"}, "VGG16 has no layer 'block2_pool'"),
        ({"taps": ["block4_conv1"]}, "tap 'block4_conv1' is not among the layers up to the cut: .*block3_conv3"),
        ({"taps": ["block3_conv3", "conv"]}, "tap 'conv' is not among"),
    ],
)
def test_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VGG(**options)
    with pytest.raises(ModelError, match=message) as caught:
        build_vgg("random", **options)
    assert "\n" not in str(caught.value)


def test_config_and_file_give_the_same_network(reload):
    options = {
        "cut": "block2_conv1",
        "taps": ["block1_conv2", "block2_conv1"],
        "before_activation": False,
        "depth": 19,
        "width": 4 / 64,
    }
    network = build_vgg("random", name="eye", **options)
    assert network.get_config() == {"name": "eye", **options}
    loaded = reload(network)
    assert loaded.get_config() == network.get_config()
    images = random_images(1, 8, 8)
    for a, b in zip(network(images), loaded(images), strict=True):
        np.testing.assert_array_equal(a, b)


# Narrower networks


def test_strongest_filters_by_hand():
    # Sums of absolute weights: 3, 1, 4, 4, 0; of equal ones the first.
    kernel = np.array([[1, 1, -4, 2, 0], [-2, 0, 0, 2, 0]], "float32").reshape(1, 1, 2, 5)
    assert strongest(kernel, 1).tolist() == [2]
    assert strongest(kernel, 2).tolist() == [2, 3]
    assert strongest(kernel, 3).tolist() == [0, 2, 3]
    assert strongest(kernel, 5).tolist() == [0, 1, 2, 3, 4]


def test_a_narrower_network_keeps_the_strongest_filters_and_what_reads_them():
    # block1_conv1: filters 5 and 9 are the strongest. block1_conv2: as read from 5 and 9 alone, 7 and 1 are, though 3
    # is stronger in what the others give it.
    first = np.full((3, 3, 3, 64), 0.1, "float32")
    first[..., 5], first[..., 9] = 0.3, -0.2
    second = np.zeros((3, 3, 64, 64), "float32")
    second[:, :, 0, 3] = 9
    second[:, :, 5, 7], second[:, :, 9, 1] = 0.5, -0.25
    arrays = {
        "block1_conv1": (first, np.arange(64, dtype="float32")),
        "block1_conv2": (second, -np.arange(64, dtype="float32")),
    }
    network = VGG(cut="block1_conv2", width=2 / 64)
    fill(network, arrays.get)

    kernel, bias = network.get_layer("block1_conv1").get_weights()
    np.testing.assert_array_equal(kernel, first[..., [5, 9]])
    np.testing.assert_array_equal(bias, [5, 9])
    kernel, bias = network.get_layer("block1_conv2").get_weights()
    np.testing.assert_array_equal(kernel[0, 0], [[0, 0.5], [-0.25, 0]])  # inputs 5 and 9, filters 1 and 7
    np.testing.assert_array_equal(bias, [-1, -7])


# Files


ARRAYS = {
    name: (
        np.random.default_rng(i).normal(size=shape).astype("float32"),
        np.random.default_rng(i + 9).normal(size=shape[-1]).astype("float32"),
    )
    for i, (name, shape) in enumerate({"block1_conv1": (3, 3, 3, 64), "block1_conv2": (3, 3, 64, 64)}.items())
}


def write_npz(path: Path, arrays=ARRAYS) -> Path:
    parts = {
        f"{name}__{part}": a
        for name, pair in arrays.items()
        for part, a in zip(("kernel", "bias"), pair, strict=True)
    }
    np.savez(path, **parts)
    return path


def write_h5(path: Path, pattern: tuple[str, str] = ("{}_W_1:0", "{}_b_1:0")) -> Path:
    """The layout of Keras before 3, as in the files of `keras.applications`."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in ["input_1", *ARRAYS, "block1_pool"]]
        file.create_group("input_1").attrs["weight_names"] = []
        for name, pair in ARRAYS.items():
            group = file.create_group(name)
            names = [part.format(name) for part in pattern]
            group.attrs["weight_names"] = [n.encode() for n in names]
            for part, array in zip(names, pair, strict=True):
                group.create_dataset(part, data=array)
        file.create_group("block1_pool").attrs["weight_names"] = []
    return path


def assert_filled(network: VGG) -> None:
    for name, arrays in ARRAYS.items():
        for loaded, array in zip(network.get_layer(name).get_weights(), arrays, strict=True):
            np.testing.assert_array_equal(loaded, array)


@pytest.fixture
def no_download(monkeypatch):
    """No connection, and no folder from the environment."""

    def refuse(*args, **kwargs):
        raise OSError("URL fetch failure on https://storage: None\n[Errno -2] Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", refuse)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)


def refusal(network: VGG, path=None) -> str:
    with pytest.raises(ModelError) as caught:
        load_imagenet(network, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_from_npz(tmp_path):
    assert_filled(build_vgg(str(write_npz(tmp_path / "any.npz")), cut="block1_conv2"))


@pytest.mark.parametrize("pattern", [("{}_W_1:0", "{}_b_1:0"), ("{0}/kernel:0", "{0}/bias:0")], ids=str)
def test_weights_from_h5(pattern, tmp_path):
    assert_filled(build_vgg(str(write_h5(tmp_path / "any.h5", pattern)), cut="block1_conv2"))


@pytest.mark.parametrize(
    ("name", "write"), [("vgg16_mine.npz", write_npz), ("vgg16_mine.h5", write_h5), (FILES[16][0], write_h5)]
)
def test_weights_from_a_folder(name, write, tmp_path):
    write(tmp_path / name)
    (tmp_path / "other.npz").write_text("no weights")
    (tmp_path / "vgg19_mine.npz").write_text("no weights")
    network = VGG(cut="block1_conv2")
    load_imagenet(network, tmp_path)
    assert_filled(network)


def test_weights_from_the_folder_of_the_environment(tmp_path, no_download, monkeypatch):
    write_npz(tmp_path / "vgg16.npz")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert_filled(build_vgg(cut="block1_conv2"))


def test_weights_from_the_official_address(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    asked = []

    def get_file(name, address, file_hash):
        asked.append((name, address, file_hash))
        return str(write_h5(tmp_path / name))

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    assert_filled(build_vgg("imagenet", cut="block1_conv2"))
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    address = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{name}"
    assert asked == [(name, address, "6d6bbae143d832006294945121d1f1fc")]


def test_random_weights_need_no_file(no_download):
    build_vgg("random", **SMALL)


def test_no_connection_says_what_to_do(no_download):
    message = refusal(VGG(**SMALL))
    assert "cannot be downloaded (URL fetch failure" in message
    assert FILES[16][0] in message
    assert FOLDER_VARIABLE in message


def test_missing_file_is_named(tmp_path):
    assert f"{tmp_path / 'none.npz'}: holds no weights of VGG16" in refusal(VGG(**SMALL), tmp_path / "none.npz")


def test_folder_without_weights_says_what_belongs_there(tmp_path):
    write_npz(tmp_path / "vgg16.npz")
    message = refusal(VGG("block1_conv2", depth=19), tmp_path)
    assert f"{tmp_path}: holds no weights of VGG19; put {FILES[19][0]}" in message


@pytest.mark.parametrize(("name", "write"), [("a.npz", write_npz), ("a.h5", write_h5)])
@pytest.mark.parametrize("kept", [0, 100, 50_000])
def test_truncated_file_is_refused(name, write, kept, tmp_path):
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{path}: is not a file of VGG weights" in refusal(VGG(**SMALL), path)


@pytest.mark.parametrize(("name", "write"), [("a.npz", write_npz), ("a.h5", write_h5)])
def test_file_that_ends_before_the_cut_is_refused(name, write, tmp_path):
    path = write(tmp_path / name)
    message = refusal(VGG("block2_conv1"), path)
    assert message.startswith(f"{path}: holds no VGG16 up to block2_conv1 (")


def test_file_of_other_shapes_is_refused(tmp_path):
    kernel, bias = ARRAYS["block1_conv2"]
    path = write_npz(tmp_path / "a.npz", ARRAYS | {"block1_conv2": (kernel[:1], bias)})
    assert f"{path}: is not a file of VGG weights" in refusal(VGG("block1_conv2"), path)


def test_pickles_are_not_read(tmp_path):
    objects = {f"{name}__{part}": np.array([{}], object) for name in ARRAYS for part in ("kernel", "bias")}
    np.savez(tmp_path / "a.npz", **objects)
    assert "is not a file of VGG weights" in refusal(VGG(**SMALL), tmp_path / "a.npz")


@DEPTHS
def test_addresses_and_checksums_are_those_of_keras(depth):
    application = importlib.import_module(f"keras.src.applications.vgg{depth}")
    name, digest = FILES[depth]
    assert ADDRESS.format(depth=depth) + name == application.WEIGHTS_PATH_NO_TOP
    assert digest in inspect.getsource(application)
