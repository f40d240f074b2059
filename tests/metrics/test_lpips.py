"""LPIPS against PyTorch's with the published weights, and its structure with weights of no meaning."""

from pathlib import Path

import numpy as np
import pytest

from keras_fsr.errors import DataError, ModelError
from keras_fsr.files import WEIGHTS_VARIABLE
from keras_fsr.metrics.lpips import LPIPS, find_weights

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"
BACKBONE, HEADS = "squeezenet1_1_torchvision.npz", "lpips_v0.1_lin_squeeze.npz"
published = pytest.mark.skipif(
    not (WEIGHTS / BACKBONE).is_file(), reason="the weights in ../shared/weights are absent"
)

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
TAPS = (64, 128, 256, 384, 384, 512, 512)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Random weights of the right shapes."""
    folder, rng = tmp_path_factory.mktemp("weights"), np.random.default_rng(0)
    shapes = {"features_0": (3, 3, 3, 64)}
    for number, (inputs, squeezed, expanded) in FIRES.items():
        shapes[f"features_{number}_squeeze"] = (1, 1, inputs, squeezed)
        shapes[f"features_{number}_expand1x1"] = (1, 1, squeezed, expanded)
        shapes[f"features_{number}_expand3x3"] = (3, 3, squeezed, expanded)
    arrays = {}
    for name, shape in shapes.items():
        arrays[f"{name}__kernel"] = rng.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape).astype("float32")
        arrays[f"{name}__bias"] = rng.normal(0, 0.1, shape[3]).astype("float32")
    np.savez(folder / BACKBONE, **arrays)
    np.savez(folder / HEADS, **{f"lin{i}": rng.random(n, dtype="float32") for i, n in enumerate(TAPS)})
    return folder


@pytest.fixture(scope="module")
def distance(folder) -> LPIPS:
    return LPIPS(folder)


def draw(*shape: int, seed: int = 123) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)


@published
@pytest.mark.parametrize(
    ("shape", "expected"),
    # Golden: LPIPS written anew in PyTorch 2.13 functional calls and float64, with these weights and the authors'
    # normalisation (norm + 1e-10). On torch.manual_seed(123), rand(10, 3, 100, 100) * 2 - 1 and the next such draw
    # that code gives 0.100791, and so does LPIPS (difference by image below 5e-8); torchmetrics' docstring states
    # 0.1008 for it. The second shape has odd sides, where the pooling's rounding up shows.
    [
        ((2, 100, 100, 3), (0.10255016, 0.10603286)),
        ((2, 65, 82, 3), (0.11433852, 0.10689355)),
    ],
)
def test_published_weights_give_pytorchs_values(shape, expected):
    np.testing.assert_allclose(LPIPS(WEIGHTS)(*draw(*shape)), expected, atol=1e-6)


def test_equal_images_are_at_no_distance_and_order_does_not_matter(distance):
    a, b = draw(2, 40, 33, 3)
    np.testing.assert_array_equal(distance(a, a), np.zeros(2))
    np.testing.assert_allclose(distance(a, b), distance(b, a), rtol=1e-6)
    assert np.array(distance(a, b)).min() > 0


def test_images_of_a_batch_are_measured_apart(distance):
    a, b = draw(3, 32, 32, 3)
    each = [np.array(distance(a[i : i + 1], b[i : i + 1]))[0] for i in range(3)]
    np.testing.assert_allclose(distance(a, b), each, rtol=1e-5)
    assert distance(a, b).shape == (3,)


def test_taps_have_the_sizes_of_torchvision(distance):
    # 3x3 convolution of stride 2 without padding, then three poolings of stride 2 that round up.
    shapes = [tap.shape for tap in distance.features(np.zeros((1, 100, 100, 3), "float32"))]
    sides = (49, 24, 12, 6, 6, 6, 6)
    assert shapes == [(1, side, side, channels) for side, channels in zip(sides, TAPS, strict=True)]


def test_gradient_is_finite_and_points_downhill(distance):
    tf = pytest.importorskip("tensorflow")
    a, b = draw(1, 32, 32, 3)
    image = tf.Variable(b)
    with tf.GradientTape() as tape:
        before = distance(a, image)
    gradient = tape.gradient(before, image)
    image.assign_sub(1e-2 * gradient / tf.norm(gradient))
    assert float(distance(a, image)[0]) < float(before[0])
    black = tf.Variable(np.zeros((1, 32, 32, 3), "float32"))
    with tf.GradientTape() as tape:
        same = distance(black, black)
    assert np.isfinite(tape.gradient(same, black)).all()


def test_it_runs_in_a_graph_with_open_sizes(distance):
    tf = pytest.importorskip("tensorflow")
    signature = [tf.TensorSpec((None, None, None, 3), tf.float32)] * 2
    a, b = draw(2, 32, 36, 3)
    np.testing.assert_allclose(tf.function(distance, input_signature=signature)(a, b), distance(a, b), rtol=1e-5)


def test_it_computes_in_float32_and_is_not_trained(distance, folder, dtype_policy):
    dtype_policy("mixed_bfloat16")
    lpips = LPIPS(folder)
    assert {tap.dtype for tap in lpips.features.outputs} == {"float32"}
    assert lpips.features.trainable_weights == []
    np.testing.assert_array_equal(lpips(*draw(1, 32, 32, 3)), distance(*draw(1, 32, 32, 3)))


@pytest.mark.parametrize(
    ("reference", "image", "message"),
    [
        ((1, 32, 32, 3), (1, 32, 33, 3), "one shape"),
        ((32, 32, 3), (32, 32, 3), "N, H, W, 3"),
        ((1, 32, 32, 1), (1, 32, 32, 1), "N, H, W, 3"),
        ((1, 16, 40, 3), (1, 16, 40, 3), "40x16 is too small .*17"),
    ],
)
def test_impossible_images_are_refused(distance, reference, image, message):
    with pytest.raises(DataError, match=message):
        distance(np.zeros(reference), np.zeros(image))


def test_the_smallest_image_is_measured(distance):
    assert np.isfinite(distance(*draw(1, 17, 17, 3))).all()


def test_missing_weights_name_file_variable_and_remedy(tmp_path, folder, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    with pytest.raises(ModelError, match=rf"{BACKBONE}: no folder of weights; set {WEIGHTS_VARIABLE}"):
        LPIPS()
    with pytest.raises(ModelError, match=rf"{tmp_path}/{BACKBONE}: is missing; .*{WEIGHTS_VARIABLE}"):
        LPIPS(tmp_path)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    (tmp_path / BACKBONE).write_bytes((folder / BACKBONE).read_bytes())
    with pytest.raises(ModelError, match=rf"{tmp_path}/{HEADS}: is missing") as caught:
        LPIPS()
    assert "\n" not in str(caught.value)
    assert find_weights(HEADS, folder) == folder / HEADS


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
    with pytest.raises(ModelError, match=rf"{name}: is not the file LPIPS needs") as caught:
        LPIPS(tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_backbone_is_refused(folder):
    with pytest.raises(ModelError, match="no backbone resnet; choose from squeeze"):
        LPIPS(folder, backbone="resnet")
