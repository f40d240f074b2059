"""LPIPS against PyTorch's numbers, with the published weights and with random ones, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from keras_fsr.errors import DataError, ModelError
from keras_fsr.metrics.lpips import LPIPS

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"
NAMES = {  # backbone -> its file and that of its heads
    "squeeze": ("squeezenet1_1_torchvision.npz", "lpips_v0.1_lin_squeeze.npz"),
    "vgg": ("vgg16_torchvision.npz", "lpips_v0.1_lin_vgg.npz"),
    "alex": ("alexnet_torchvision.npz", "lpips_v0.1_lin_alex.npz"),
}
BACKBONE, HEADS = NAMES["squeeze"]
published = pytest.mark.skipif(
    not (WEIGHTS / BACKBONE).is_file(), reason="the weights in ../shared/weights are absent"
)
each_backbone = pytest.mark.parametrize("backbone", NAMES)

# SqueezeNet 1.1: layer number -> channels in, squeezed, and of each expansion
FIRES = {
    3: (64, 16, 64),
    4: (128, 16, 64),
    6: (128, 32, 128),
    7: (256, 32, 128),
    9: (256, 48, 192),
    10: (384, 48, 192),
    11: (384, 64, 256),
    12: (512, 64, 256),
}
# layer number -> channels out and size; an eighth of VGG16's and AlexNet's channels
CHAINS = {
    "vgg": {0: (8, 3), 2: (8, 3), 5: (16, 3), 7: (16, 3)}
    | dict.fromkeys((10, 12, 14), (32, 3))
    | dict.fromkeys((17, 19, 21, 24, 26, 28), (64, 3)),
    "alex": {0: (8, 11), 3: (24, 5), 6: (48, 3), 8: (32, 3), 10: (32, 3)},
}
TAPS = {"squeeze": (64, 128, 256, 384, 384, 512, 512), "vgg": (8, 16, 32, 64, 64), "alex": (8, 24, 48, 32, 32)}
SMALLEST = {"squeeze": 17, "vgg": 16, "alex": 31}


def kernel_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    """HWIO by torchvision's layer names."""
    shapes = {}
    if backbone == "squeeze":
        shapes["features_0"] = (3, 3, 3, 64)
        for number, (inputs, squeezed, expanded) in FIRES.items():
            shapes[f"features_{number}_squeeze"] = (1, 1, inputs, squeezed)
            shapes[f"features_{number}_expand1x1"] = (1, 1, squeezed, expanded)
            shapes[f"features_{number}_expand3x3"] = (3, 3, squeezed, expanded)
    else:
        inputs = 3
        for number, (filters, size) in CHAINS[backbone].items():
            shapes[f"features_{number}"] = (size, size, inputs, filters)
            inputs = filters
    return shapes


def random_arrays(backbone: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights of sane scale, always the same: of the backbone, then of the heads, from one generator."""
    rng, arrays = np.random.default_rng(0), {}
    for name, shape in kernel_shapes(backbone).items():
        arrays[f"{name}__kernel"] = rng.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape).astype("float32")
        arrays[f"{name}__bias"] = rng.normal(0, 0.1, shape[3]).astype("float32")
    return arrays, {f"lin{i}": rng.random(n, dtype="float32") for i, n in enumerate(TAPS[backbone])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Random weights of all backbones."""
    folder = tmp_path_factory.mktemp("weights")
    for backbone, names in NAMES.items():
        for name, arrays in zip(names, random_arrays(backbone), strict=True):
            np.savez(folder / name, **arrays)
    return folder


@pytest.fixture(scope="module")
def distances(folder) -> dict[str, LPIPS]:
    return {backbone: LPIPS(folder, backbone) for backbone in NAMES}


@pytest.fixture(scope="module")
def distance(distances) -> LPIPS:
    return distances["squeeze"]


def draw(*shape: int, seed: int = 123) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)


@published
@pytest.mark.parametrize(
    ("shape", "expected"),
    # Golden: LPIPS written anew in PyTorch 2.13 functional calls and float64, with these weights and the authors'
    # normalisation (norm + 1e-10). The second shape has odd sides, where the pooling's rounding up shows.
    [
        ((2, 100, 100, 3), (0.10255016, 0.10603286)),
        ((2, 65, 82, 3), (0.11433852, 0.10689355)),
    ],
)
def test_published_weights_give_pytorchs_values(shape, expected):
    np.testing.assert_allclose(LPIPS(WEIGHTS)(*draw(*shape)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    # Golden: lpips 0.1.4 in PyTorch 2.13 and float64, its slices of torchvision's networks (these of an eighth of the
    # channels), its scaling and its normalisation, with random_arrays() as weights.
    [
        ("squeeze", (0.73692376, 0.74279898)),
        ("vgg", (0.87607248, 0.87163473)),
        ("alex", (1.00179156, 1.02334296)),
    ],
)
def test_random_weights_give_pytorchs_values(distances, backbone, expected):
    np.testing.assert_allclose(distances[backbone](*draw(2, 65, 82, 3)), expected, atol=1e-6)


@each_backbone
def test_equal_images_are_at_no_distance_and_order_does_not_matter(distances, backbone):
    a, b = draw(2, 40, 33, 3)
    distance = distances[backbone]
    np.testing.assert_array_equal(distance(a, a), np.zeros(2))
    np.testing.assert_allclose(distance(a, b), distance(b, a), rtol=1e-6)
    assert np.array(distance(a, b)).min() > 0


def test_images_of_a_batch_are_measured_apart(distance):
    a, b = draw(3, 32, 32, 3)
    each = [np.array(distance(a[i : i + 1], b[i : i + 1]))[0] for i in range(3)]
    np.testing.assert_allclose(distance(a, b), each, rtol=1e-5)
    assert distance(a, b).shape == (3,)


@pytest.mark.parametrize(
    ("backbone", "sides"),
    [
        # 3x3 convolution of stride 2 without padding, then three poolings of stride 2 that round up.
        ("squeeze", ((49, 33), (24, 16), (12, 8), (6, 4), (6, 4), (6, 4), (6, 4))),
        # four poolings of 2x2 that round down
        ("vgg", ((100, 67), (50, 33), (25, 16), (12, 8), (6, 4))),
        # 11x11 convolution of stride 4, padded by 2, then two poolings of 3x3 and stride 2 that round down
        ("alex", ((24, 16), (11, 7), (5, 3), (5, 3), (5, 3))),
    ],
)
def test_taps_have_the_sizes_of_torchvision(distances, backbone, sides):
    shapes = [tap.shape for tap in distances[backbone].features(np.zeros((1, 100, 67, 3), "float32"))]
    assert shapes == [(1, *side, channels) for side, channels in zip(sides, TAPS[backbone], strict=True)]


@each_backbone
def test_gradient_is_finite_and_points_downhill(distances, backbone):
    tf = pytest.importorskip("tensorflow")
    distance = distances[backbone]
    a, b = draw(1, 32, 32, 3)
    image = tf.Variable(b)
    with tf.GradientTape() as tape:
        before = distance(a, image)
    gradient = tape.gradient(before, image)
    assert np.isfinite(gradient).all()
    image.assign_sub(1e-2 * gradient / tf.norm(gradient))
    assert float(distance(a, image)[0]) < float(before[0])
    black = tf.Variable(np.zeros((1, 32, 32, 3), "float32"))
    with tf.GradientTape() as tape:
        same = distance(black, black)
    assert np.isfinite(tape.gradient(same, black)).all()


@each_backbone
def test_gradient_is_finite_where_all_features_are_0(tmp_path, backbone):
    tf = pytest.importorskip("tensorflow")
    arrays, heads = random_arrays(backbone)
    dead = {name: -np.abs(array) if name.endswith("__bias") else array * 0 for name, array in arrays.items()}
    for name, content in zip(NAMES[backbone], (dead, heads), strict=True):
        np.savez(tmp_path / name, **content)
    distance = LPIPS(tmp_path, backbone)
    a, b = (tf.Variable(x) for x in draw(1, 32, 32, 3))
    with tf.GradientTape() as tape:
        value = distance(a, b)
    assert float(value[0]) == 0
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(value, [a, b]))


@each_backbone
def test_it_runs_in_a_graph_with_open_sizes(distances, backbone):
    tf = pytest.importorskip("tensorflow")
    distance = distances[backbone]
    signature = [tf.TensorSpec((None, None, None, 3), tf.float32)] * 2
    a, b = draw(2, 32, 36, 3)
    np.testing.assert_allclose(tf.function(distance, input_signature=signature)(a, b), distance(a, b), rtol=1e-5)


@each_backbone
def test_it_computes_in_float32_and_is_not_trained(distances, folder, dtype_policy, backbone):
    dtype_policy("mixed_bfloat16")
    lpips = LPIPS(folder, backbone)
    assert {layer.compute_dtype for layer in lpips.features.layers[1:]} == {"float32"}  # all but the input
    assert {tap.dtype for tap in lpips.features.outputs} == {"float32"}
    assert lpips.features.trainable_weights == []
    np.testing.assert_array_equal(lpips(*draw(1, 32, 32, 3)), distances[backbone](*draw(1, 32, 32, 3)))


def test_floats_of_other_precisions_are_taken(distance, folder, tmp_path):
    a, b = draw(1, 32, 32, 3)
    in_double = distance(a.astype("float64"), b.astype("float64"))
    np.testing.assert_array_equal(in_double, distance(a, b))
    for name in NAMES["squeeze"]:
        np.savez(tmp_path / name, **{key: array.astype("float16") for key, array in np.load(folder / name).items()})
    in_half = LPIPS(tmp_path)(a, b)
    np.testing.assert_allclose(in_half, in_double, rtol=1e-3)
    assert {value.dtype for value in (in_double, in_half)} == {distance(a, b).dtype}


@pytest.mark.parametrize(
    ("reference", "image", "message"),
    [
        ((1, 32, 32, 3), (1, 32, 33, 3), "one shape"),
        ((32, 32, 3), (32, 32, 3), "N, H, W, 3"),
        ((1, 32, 32, 1), (1, 32, 32, 1), "N, H, W, 3"),
    ],
)
def test_impossible_images_are_refused(distance, reference, image, message):
    with pytest.raises(DataError, match=message):
        distance(np.zeros(reference), np.zeros(image))


@each_backbone
def test_the_smallest_image_is_measured_and_a_smaller_one_refused(distances, backbone):
    distance, side = distances[backbone], SMALLEST[backbone]
    assert np.isfinite(distance(*draw(1, side, side, 3))).all()
    for height, width in ((side - 1, 40), (40, side - 1)):
        with pytest.raises(
            DataError, match=rf"{width}x{height} is too small for LPIPS \({backbone}\).* {side} pixels"
        ):
            distance(*draw(1, height, width, 3))
        with pytest.raises(ValueError, match="size would be zero or negative"):
            distance.features.compute_output_shape((1, height, width, 3))


@pytest.mark.parametrize("name", [BACKBONE, HEADS])
@pytest.mark.parametrize("damage", ["text", "half", "key", "shape", "array"])
def test_damaged_weights_are_refused_in_one_line(tmp_path, folder, name, damage):
    for file in (BACKBONE, HEADS):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    whole, path = dict(np.load(folder / name)), tmp_path / name
    first = next(iter(whole))
    if damage == "text":
        path.write_text("no archive")
    elif damage == "half":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "array":
        with path.open("wb") as stream:
            np.save(stream, whole[first])
    else:
        broken = {**whole, first: whole[first][:1]} if damage == "shape" else {k: whole[k] for k in list(whole)[1:]}
        np.savez(path, **broken)
    reason = {"key": f"it lacks '{first}'", "array": "it is no .npz archive"}.get(damage, "")
    with pytest.raises(ModelError, match=rf"{name}: is not the file LPIPS needs \({reason}") as caught:
        LPIPS(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path, folder):
    (tmp_path / NAMES["vgg"][0]).write_bytes((folder / NAMES["alex"][0]).read_bytes())
    (tmp_path / NAMES["vgg"][1]).write_bytes((folder / NAMES["vgg"][1]).read_bytes())
    with pytest.raises(ModelError, match="vgg16_torchvision.npz: is not the file LPIPS needs"):
        LPIPS(tmp_path, "vgg")
    (tmp_path / NAMES["vgg"][0]).write_bytes((folder / NAMES["vgg"][0]).read_bytes())
    (tmp_path / NAMES["vgg"][1]).write_bytes((folder / NAMES["alex"][1]).read_bytes())
    with pytest.raises(ModelError, match=r"lin_vgg.npz: .* \(lin1 has shape \(24,\), not \(16,\)\)"):
        LPIPS(tmp_path, "vgg")


def test_unknown_backbone_is_refused(folder):
    with pytest.raises(ModelError, match="no backbone resnet; choose from squeeze, vgg, alex"):
        LPIPS(folder, backbone="resnet")
