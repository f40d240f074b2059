"""LPIPS beside the authors' package `lpips` on PyTorch; skipped without the two, which this package does not need.

To run it: pip install torch && pip install --no-deps lpips scipy tqdm. `lpips` asks torchvision for three networks of
random weights; where torchvision is absent or does not fit torch, they are made here.
"""

import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.metrics.lpips import BACKBONES, LPIPS
from keras_fsr.metrics.lpips_weights import FILES, read_weights

torch = pytest.importorskip("torch", reason="PyTorch is absent")
nn = torch.nn

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"
each_backbone = pytest.mark.parametrize("backbone", BACKBONES)


class Fire(nn.Module):
    """Iandola et al., "SqueezeNet", 2016, section 3.2."""

    def __init__(self, inputs: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], dim=1)


def squeezenet1_1() -> list[nn.Module]:
    layers = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU()]
    inputs = 64
    for sizes in ([(16, 64)] * 2, [(32, 128)] * 2, [(48, 192)] * 2 + [(64, 256)] * 2):
        layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        for squeezed, expanded in sizes:
            layers.append(Fire(inputs, squeezed, expanded))
            inputs = 2 * expanded
    return layers


def vgg16() -> list[nn.Module]:
    """Simonyan and Zisserman, ICLR 2015, table 1, configuration D."""
    layers, inputs = [], 3
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, filters, 3, padding=1), nn.ReLU()]
            inputs = filters
        layers.append(nn.MaxPool2d(2))
    return layers


def alexnet() -> list[nn.Module]:
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014."""
    layers = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for inputs, filters in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(inputs, filters, 3, padding=1), nn.ReLU()]
    return [*layers, nn.MaxPool2d(3, 2)]


def stand_in() -> types.ModuleType:
    """As much of torchvision as `lpips` uses."""

    def maker(layers):
        return lambda pretrained: types.SimpleNamespace(features=nn.Sequential(*layers()))

    package, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    package.models = models
    for layers in (squeezenet1_1, vgg16, alexnet):
        setattr(models, layers.__name__, maker(layers))
    return package


@pytest.fixture(scope="module")
def authors():
    """The package `lpips`."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            import torchvision.models  # noqa: F401
        except (ImportError, RuntimeError) as error:
            warnings.warn(f"torchvision's networks are made here, for it cannot be imported ({error})", stacklevel=1)
            package = stand_in()
            patch.setitem(sys.modules, "torchvision", package)
            patch.setitem(sys.modules, "torchvision.models", package.models)
        yield pytest.importorskip("lpips", reason="the package lpips is absent")


@pytest.fixture(scope="module")
def pairs(authors, tmp_path_factory):
    """Backbone -> the authors' LPIPS and ours of the same weights: a random network, and the heads of `lpips`."""
    pairs = {}
    for seed, backbone in enumerate(BACKBONES):
        torch.manual_seed(seed)
        theirs = authors.LPIPS(net=backbone, pnet_rand=True, verbose=False)
        for parameter in theirs.net.parameters():
            if parameter.ndim == 4:  # features of about 1, as trained ones; PyTorch's own draw lets them fade
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.normal_(parameter, std=0.1)
        folder = tmp_path_factory.mktemp(backbone)
        network, heads = FILES[backbone]
        np.savez(folder / network.archive, **arrays_of(theirs.net))
        weights = Path(authors.__file__).parent / "weights" / "v0.1" / heads.name
        (folder / heads.name).write_bytes(weights.read_bytes())
        pairs[backbone] = theirs, LPIPS(folder, backbone)
    return pairs


def arrays_of(net: nn.Module) -> dict[str, np.ndarray]:
    """Kernels and biases by our names; theirs are `slice<i>.<n>.weight` or `slice<i>.<n>.squeeze.weight`."""
    arrays = {}
    for name, parameter in net.named_parameters():
        _, *layer, kind = name.split(".")
        array = parameter.numpy()
        key = "_".join(["features", *layer])
        arrays |= {f"{key}__kernel": array.transpose(2, 3, 1, 0)} if kind == "weight" else {f"{key}__bias": array}
    return arrays


def as_torch(images: np.ndarray):
    """(N, H, W, 3) in [0, 1] to (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()) * 2 - 1


def measure(theirs: nn.Module, *images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return theirs(*map(as_torch, images)).numpy().ravel()


@each_backbone
@pytest.mark.parametrize("size", [(31, 31), (64, 64), (65, 82), (100, 37), (47, 128), (129, 95)])
def test_random_images_are_as_far_apart_as_in_pytorch(pairs, backbone, size):
    theirs, ours = pairs[backbone]
    images = np.random.default_rng(sum(size)).random((2, 2, *size, 3), dtype=np.float32)
    expected = measure(theirs, *images)
    assert expected.min() > 0.02
    np.testing.assert_allclose(ours(*images), expected, rtol=1e-5)  # measured: below 4e-7


@each_backbone
def test_near_and_dark_images_are_too(pairs, backbone):
    # Where the features are weak, the two normalisations differ most.
    theirs, ours = pairs[backbone]
    rng = np.random.default_rng(3)
    dark = rng.random((2, 64, 48, 3), dtype=np.float32) * np.float32(0.02)
    near = dark + rng.normal(0, 0.01, dark.shape).astype("float32")
    np.testing.assert_allclose(ours(dark, near), measure(theirs, dark, near), rtol=1e-4)


@each_backbone
def test_both_refuse_a_side_below_the_smallest(pairs, backbone):
    theirs, ours = pairs[backbone]
    side = BACKBONES[backbone].smallest
    images = np.random.default_rng(4).random((2, 1, side, side, 3), dtype=np.float32)
    np.testing.assert_allclose(ours(*images), measure(theirs, *images), rtol=1e-5)
    with pytest.raises(RuntimeError, match="too small|Output size"):
        measure(theirs, *images[:, :, :-1])


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the weights in ../shared/weights are absent")
def test_the_documented_check_holds():
    # Golden: 0.1008, in the docstring of torchmetrics' LearnedPerceptualImagePatchSimilarity(net_type="squeeze").
    torch.manual_seed(123)
    images = [torch.rand(10, 3, 100, 100) * 2 - 1 for _ in range(2)]
    ours = LPIPS(WEIGHTS)(*((x.numpy().transpose(0, 2, 3, 1) + 1) / 2 for x in images))
    assert abs(float(np.mean(np.array(ours))) - 0.1008) < 2e-4


@each_backbone
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the weights in ../shared/weights are absent")
def test_the_archives_of_the_heads_are_the_authors(authors, backbone):
    heads = FILES[backbone][1]
    file = Path(authors.__file__).parent / "weights" / "v0.1" / heads.name
    state, ours, archive = torch.load(file, map_location="cpu"), read_weights(file), np.load(WEIGHTS / heads.archive)
    assert len(state) == len(ours) == len(archive.files)
    for name in archive.files:
        np.testing.assert_array_equal(archive[name], state[f"{name}.model.1.weight"].numpy().ravel())
        np.testing.assert_array_equal(archive[name], ours[name])
