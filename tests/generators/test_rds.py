"""RDS: sizes, what its graph computes in parallel and in sequence, both scales, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr import generators
from keras_fsr.generators.rds import RDS, copy_common_weights

TINY = {"num_features": 8, "growth_channels": 4, "num_blocks": 1}
SCALES = pytest.mark.parametrize("scale", [4, 8])
PARALLEL = pytest.mark.parametrize("parallel", [True, False], ids=["parallel", "sequence"])
NORMALIZATIONS = pytest.mark.parametrize("normalization", ["none", "batch"])


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), dtype=np.float32)


def randomise(network) -> None:
    """Random weights everywhere, so that no path through the network is zero; positive, as variances must be."""
    rng = np.random.default_rng(1)
    for layer in network.layers:
        low = 0.5 if isinstance(layer, keras.layers.BatchNormalization) else -0.15
        layer.set_weights([rng.uniform(low, low + 0.35, w.shape) for w in layer.get_weights()])


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        # By hand: conv_first 27*64+64; each of 23 structures has the three dense blocks of ESRGAN's (719,424, of the
        # authors' released 16,697,987); conv_trunk, conv_up1, conv_up2 64*9*64+64; refine4 64*9*32+32; image4
        # 96*9*3+3.
        ({}, 16_680_387),
        ({"parallel": False}, 16_680_387),
        # image4 goes, refine8 96*9*32+32 and image8 128*9*3+3 come.
        ({"scale": 8}, 16_708_931),
        # image4 stays: 2,595 more.
        ({"scale": 8, "all_scales": True}, 16_711_526),
        # 23*3*4 normalisations of 32 channels have 2 trainable numbers a channel instead of a bias.
        ({"normalization": "batch"}, 16_689_219),
    ],
)
def test_parameter_count(options, parameters):
    assert sum(int(np.prod(w.shape)) for w in RDS(**options).trainable_weights) == parameters


def written_down(network, x: np.ndarray) -> dict[str, tf.Tensor]:
    """The network in TensorFlow with its weights, without anchor."""
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}

    def conv(x, name):
        kernel, *bias = weights[name]
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME") + (bias[0] if bias else 0)

    def triple(x, name, i):
        x = conv(x, f"{name}_conv{i}")
        if network.normalization == "batch":
            gamma, beta, mean, variance = weights[f"{name}_norm{i}"]
            x = gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta
        return tf.nn.relu(x)

    def branch(x, name):
        seen = [x]
        for i in (1, 2, 3, 4):
            seen.append(triple(tf.concat(seen, -1), name, i))
        return conv(tf.concat(seen, -1), f"{name}_conv5")

    def double(x):
        return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)

    shallow = trunk = tf.nn.relu(conv(x, "conv_first"))
    for block in range(network.num_blocks):
        names = [f"block{block}_dense{d}" for d in (1, 2, 3)]
        if network.parallel:
            inner = trunk + 0.2 * sum(branch(trunk, name) for name in names)
        else:
            inner = trunk
            for name in names:
                inner = inner + 0.2 * branch(inner, name)
        trunk = trunk + 0.2 * inner
    x = shallow + conv(trunk, "conv_trunk")
    for i in (1, 2):
        x = tf.nn.relu(conv(double(x), f"conv_up{i}"))
    images = {}
    for times in (4, 8)[: network.scale // 4]:
        x = double(x) if times == 8 else x
        x = tf.concat([x, tf.nn.relu(conv(x, f"refine{times}"))], -1)
        if f"image{times}" in weights:
            images[f"x{times}"] = conv(x, f"image{times}")
    return images


@NORMALIZATIONS
@PARALLEL
@SCALES
def test_graph_computes_what_is_written_down(scale, parallel, normalization):
    network = RDS(
        scale, num_features=8, growth_channels=4, num_blocks=2, normalization=normalization, parallel=parallel
    )
    randomise(network)
    x = random_images(1, 6, 5)
    expected = written_down(network, x)[f"x{scale}"]
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(network(x), expected, rtol=1e-3, atol=1e-4 * np.std(expected))


@PARALLEL
@SCALES
def test_output_is_scale_times_the_input(scale, parallel):
    network = RDS(scale, parallel=parallel, **TINY)
    assert network(random_images(2, 8, 12)).shape == (2, 8 * scale, 12 * scale, 3)
    assert network(random_images(1, 5, 7)).shape == (1, 5 * scale, 7 * scale, 3)
    assert network.output_shape == (None, None, None, 3)


@NORMALIZATIONS
def test_parallel_and_sequence_hold_the_same_layers_and_differ_in_output(normalization):
    parallel, sequence = (RDS(parallel=parallel, normalization=normalization, **TINY) for parallel in (True, False))
    randomise(parallel)
    shapes = [
        {layer.name: [w.shape for w in layer.weights] for layer in network.layers if layer.weights}
        for network in (parallel, sequence)
    ]
    assert shapes[0] == shapes[1]
    assert parallel.count_params() == sequence.count_params()
    assert len(copy_common_weights(parallel, sequence)) == len(shapes[0])
    x = random_images(1, 6, 6)
    assert np.abs(parallel(x) - sequence(x)).max() > 1e-3


def path_length(network) -> int:
    """Convolutions on the longest path through the graph."""
    longest: dict[int, int] = {}
    for operation in network.operations:  # in topological order
        before = [longest.get(id(t), 0) for t in operation._inbound_nodes[0].input_tensors]
        for tensor in operation._inbound_nodes[0].output_tensors:
            longest[id(tensor)] = max(before, default=0) + isinstance(operation, keras.layers.Conv2D)
    return max(longest.values())


def test_parallel_path_is_ten_convolutions_shorter_in_each_structure():
    options = {"num_features": 8, "growth_channels": 4, "num_blocks": 2}
    # Two structures of 5 or 15 convolutions; first, trunk, two enlargements, refinement, image.
    assert path_length(RDS(parallel=True, **options)) == 2 * 5 + 6
    assert path_length(RDS(parallel=False, **options)) == 2 * 15 + 6


def test_all_scales_gives_both_images():
    network = RDS(8, all_scales=True, **TINY)
    randomise(network)
    x = random_images(1, 6, 5)
    images = network(x)
    assert {key: image.shape for key, image in images.items()} == {"x4": (1, 24, 20, 3), "x8": (1, 48, 40, 3)}
    for key, expected in written_down(network, x).items():
        np.testing.assert_allclose(images[key], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("all_scales", [False, True])
def test_x8_takes_the_weights_of_x4(all_scales):
    x4, x8 = RDS(4, **TINY), RDS(8, all_scales=all_scales, **TINY)
    randomise(x4)
    own = {layer.name for layer in x8.layers if layer.weights} - set(copy_common_weights(x4, x8))
    assert own == {"refine8", "image8"}
    x = random_images(1, 6, 5)
    features = [keras.Model(n.input, n.get_layer("refined4").output)(x) for n in (x4, x8)]
    np.testing.assert_array_equal(*features)
    if all_scales:
        np.testing.assert_array_equal(x8(x)["x4"], x4(x))


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        copy_common_weights(RDS(4, **TINY), RDS(8, **{**TINY, "num_features": 6}))


@SCALES
def test_fresh_anchored_network_is_the_nearest_enlargement(scale):
    x = random_images(1, 6, 4)
    result = RDS(scale, anchor=True, **TINY)(x)
    np.testing.assert_array_equal(result, x.repeat(scale, axis=1).repeat(scale, axis=2))


def test_both_images_of_a_fresh_anchored_network_are_enlargements():
    x = random_images(1, 6, 4)
    images = RDS(8, all_scales=True, anchor=True, **TINY)(x)
    for times in (4, 8):
        np.testing.assert_array_equal(images[f"x{times}"], x.repeat(times, axis=1).repeat(times, axis=2))


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 4},
        {"scale": 4, "parallel": False, "normalization": "batch", "anchor": True},
        {"scale": 8, "all_scales": True},
    ],
)
def test_config_and_file_give_the_same_network(options, tmp_path):
    network = RDS(name="small", **options, **TINY)
    randomise(network)
    x = random_images(1, 6, 5)
    expected = keras.tree.map_structure(np.asarray, network(x))
    copy = RDS.from_config(network.get_config())
    assert copy.get_config() == network.get_config()
    assert network.get_config().items() >= {**options, **TINY}.items()
    copy.set_weights(network.get_weights())
    keras.tree.map_structure(np.testing.assert_array_equal, keras.tree.map_structure(np.asarray, copy(x)), expected)

    network.save(tmp_path / "small.keras")
    loaded = generators.load(tmp_path / "small.keras")
    assert type(loaded) is RDS
    assert loaded.get_config() == network.get_config()
    keras.tree.map_structure(np.testing.assert_array_equal, keras.tree.map_structure(np.asarray, loaded(x)), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 2}, "4 or 8, not 2"),
        ({"normalization": "layer"}, "none, batch, not 'layer'"),
        ({"scale": 4, "all_scales": True}, "scale 8 only"),
    ],
)
def test_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RDS(**options)


def test_graph_exports_as_plain_operations():
    layers = RDS(8, anchor=True, **TINY).layers
    assert all(len(layer.input) == 2 for layer in layers if isinstance(layer, keras.layers.Concatenate))
    assert not any(isinstance(layer, keras.layers.UpSampling2D) for layer in layers)


@NORMALIZATIONS
@pytest.mark.parametrize("anchor", [False, True])
def test_output_is_float32_under_mixed_precision(anchor, normalization, dtype_policy):
    dtype_policy("mixed_bfloat16")
    network = RDS(4, anchor=anchor, normalization=normalization, **TINY)
    assert network.get_layer("conv_trunk").compute_dtype == "bfloat16"
    x = random_images(1, 4, 4)
    result = network(x)
    assert result.dtype == "float32"
    if anchor:  # the anchor does not pass through bfloat16
        np.testing.assert_array_equal(result, x.repeat(4, axis=1).repeat(4, axis=2))


def test_recipes_find_it_by_its_name():
    assert "rds" in generators.names()
    assert generators.get("rds") is RDS
