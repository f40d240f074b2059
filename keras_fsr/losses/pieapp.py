"""PieAPP v0.1: how much worse an image looks than its original, as a network learned it from people's choices.

Source: Prashnani et al., "PieAPP: Perceptual Image-Error Assessment through Pairwise Preference", CVPR 2018,
sections 3 and 5; https://github.com/prashnani/PerceptualImageError. Both images are cut into 64x64 patches; every
pair of patches gets an error and a weight, and the score is the weighted mean of the errors: about 0 for equal
images, more for worse ones, at times a little below 0.

The weights are not part of this package and never downloaded by it. What is known of their terms: the authors'
repository names no licence for code or weights; its data set, which they were trained on, is "for non-commercial,
educational purposes only". Whoever uses them decides for themselves; a trained generator that must be free of such
terms does without this loss.
"""

import functools
import logging
import os
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from keras_fsr.errors import DataError, ModelError
from keras_fsr.files import WEIGHTS_VARIABLE
from keras_fsr.layers import assert_unit_range
from keras_fsr.losses.pixel import WeightedLoss
from keras_fsr.losses.torch_weights import read_state

ADDRESS = "https://web.ece.ucsb.edu/~ekta/projects/PieAPPv0.1/weights/PieAPPv0.1.pth"
FILE = "PieAPPv0.1.pth"
TERMS = "no stated licence; trained on data for non-commercial, educational purposes only"
WEIGHTS_NOTICE = f"PieAPP v0.1 weights (Prashnani et al., CVPR 2018): {TERMS}"

SIDE = 64  # of a patch
SPARSE, DENSE = 27, 6  # the authors' strides
FILTERS = (64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512)
TAPS = (3, 5, 7, 9, 11)  # convolutions whose maps are compared, height x width of each: 32, 16, 8, 4, 2
POOLED = (2, 4, 6, 8, 10)  # convolutions before a pooling
CHANNELS = ("bgr", "rgb")


@keras.saving.register_keras_serializable(package="keras_fsr")
class PieAPP(WeightedLoss):
    """The PieAPP score of each image, times `weight`: (N, H, W, 3) RGB in [0, 1], H and W >= 64, to (N,).

    At 128x128 and stride 27 an image has 16 patches; the trunk runs on those of the whole batch at once. The
    network is not saved with a model that is compiled with this loss.

    Args:
        weight: factor of this term in a sum of losses.
        weights_file: as `path` of `load_pieapp_weights`; read when the loss is made, also from its config.
        stride, cover_edges, channels: as in `pieapp`.
        network: a network that is ready, of `build_network`, instead of a file; not part of the config.

    Raises:
        ModelError: the weights cannot be had.
        ValueError: an impossible stride or channel order.
        DataError: when called, as `pieapp`.
    """

    compares_pixels = False

    def __init__(
        self,
        weight: float = 1.0,
        weights_file: Path | str | None = None,
        stride: int = SPARSE,
        cover_edges: bool = True,
        channels: str = "bgr",
        network: keras.Model | None = None,
        name: str = "pieapp",
        **kwargs,
    ):
        super().__init__(weight, name, **kwargs)
        check_options(stride, channels)
        self.weights_file = weights_file and str(weights_file)
        self.options = {"stride": stride, "cover_edges": cover_edges, "channels": channels}
        network = network or load_pieapp_weights(build_network(), weights_file)
        # Inside a partial, Keras does not find the network, and does not write it into files of trained models.
        self.score = functools.partial(pieapp, network=network, **self.options)

    def call(self, y_true, y_pred):
        return self.weight * self.score(y_true, y_pred)

    def get_config(self):
        return {**super().get_config(), "weights_file": self.weights_file, **self.options}


def pieapp(
    reference,
    image,
    network: keras.Model,
    stride: int = SPARSE,
    cover_edges: bool = True,
    channels: str = "bgr",
    rows_at_once: int | None = None,
):
    """PieAPP score of each image against its reference, differentiable in both.

    Args:
        reference, image: (N, H, W, 3) RGB in [0, 1], of one shape, H and W >= 64.
        network: of `build_network`, with its weights.
        stride: pixels from patch to patch, 27 (the authors' "sparse") or 6 ("dense", which they recommend for
            evaluation) or any other.
        cover_edges: end each row and column of patches with one that touches the edge, so that every pixel counts.
            The authors' script lists that patch too, but reaches it only where it starts one of its sub-images of
            10 x 10 patches; to repeat its numbers, or those of piq, leave it out.
        channels: order in which the network sees colours: "bgr", as the authors' script does, or "rgb", as piq.
        rows_at_once: rows of patches per run of the network, which bounds the memory of an evaluation; None runs
            once for all patches of the batch. Needs a height that is known.

    Returns:
        (N,) float32.

    Raises:
        DataError: no two batches of RGB images of one shape, or smaller than a patch.
        ValueError: an impossible stride or channel order.
        InvalidArgumentError: (TensorFlow) images in 0..255, or too small where that shows only at run time.
    """
    check_options(stride, channels)
    check_images(reference, image)
    pair = [ops.cast(x, "float32") * 255.0 for x in (reference, image)]
    if channels == "bgr":
        pair = [ops.flip(x, axis=-1) for x in pair]
    n, height, width, _ = ops.shape(image)
    rows, columns = (positions(size, stride, cover_edges) for size in (height, width))
    groups = (
        [rows] if rows_at_once is None else [rows[i : i + rows_at_once] for i in range(0, len(rows), rows_at_once)]
    )

    total = weights = 0.0
    for group in groups:
        score, weight = network([cut(x, group, columns) for x in pair])
        total += ops.sum(ops.reshape(score * weight, (n, -1)), axis=1)
        weights += ops.sum(ops.reshape(weight, (n, -1)), axis=1)
    return total / weights


def positions(size, stride: int, cover_edges: bool):
    """First pixels of the patches along a side of `size` pixels, an int or an integer tensor: (P,) int32."""
    if not cover_edges:
        return ops.arange(0, size - SIDE + 1, stride, dtype="int32")
    last = ops.cast(ops.reshape(size - SIDE, (1,)), "int32")
    return ops.concatenate([ops.arange(0, size - SIDE, stride, dtype="int32"), last])


def cut(images, rows, columns):
    """(N, H, W, C) -> (N * rows * columns, 64, 64, C): the patches at each row and column, image by image."""
    inside = ops.arange(SIDE, dtype="int32")
    patches = ops.take(images, rows[:, None] + inside, axis=1)
    patches = ops.take(patches, columns[:, None] + inside, axis=3)  # (N, rows, 64, columns, 64, C)
    patches = ops.transpose(patches, (0, 1, 3, 2, 4, 5))
    return ops.reshape(patches, (-1, SIDE, SIDE, images.shape[-1]))


def check_options(stride: int, channels: str) -> None:
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"PieAPP's stride is a whole number of pixels, 27 or 6 as a rule, not {stride!r}")
    if channels not in CHANNELS:
        raise ValueError(f"PieAPP's channels are {' or '.join(CHANNELS)}, not {channels!r}")


def check_images(reference, image) -> None:
    shapes = tuple(reference.shape), tuple(image.shape)
    if any(len(shape) != 4 or shape[3] != 3 for shape in shapes) or not all(
        a == b or None in (a, b) for a, b in zip(*shapes, strict=True)
    ):
        raise DataError(f"PieAPP compares two (N, H, W, 3) batches of one shape, not {shapes[0]} and {shapes[1]}")
    for _, height, width, _ in shapes:
        if any(side is not None and side < SIDE for side in (height, width)):
            raise DataError(
                f"an image of {width}x{height} is too small for PieAPP; give at least {SIDE} pixels a side"
            )
    for x in (reference, image):
        assert_unit_range(x, "PieAPP")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        message = f"PieAPP takes images of at least {SIDE} pixels a side"
        tf.debugging.assert_greater_equal(tf.reduce_min(tf.shape(image)[1:3]), SIDE, message)


def build_network() -> keras.Model:
    """The network, [reference, image] patches -> [error, weight], its weights 0 until they are loaded.

    Two (P, 64, 64, 3) batches in the file's channel order and 0..255 become two (P, 1). It computes in float32
    and is not trainable. 68,376,580 parameters, of which 5,459,968 in the 11 convolutions that both images share.
    """
    patch = keras.Input((SIDE, SIDE, 3), dtype="float32")
    x, taps = patch, []
    for i, filters in enumerate(FILTERS, start=1):
        x = layers.Conv2D(filters, 3, padding="same", **_layer(f"conv{i}"))(x)
        if i in TAPS:
            taps.append(layers.Flatten(dtype="float32")(x))
        if i in POOLED:
            x = layers.MaxPooling2D(2, dtype="float32")(x)
    trunk = keras.Model(patch, [layers.Concatenate(dtype="float32")(taps), taps[-1]], name="trunk")

    pair = [keras.Input((SIDE, SIDE, 3), dtype="float32", name=name) for name in ("reference", "image")]
    (all_a, last_a), (all_b, last_b) = (trunk(x) for x in pair)
    score = layers.Dense(512, **_layer("fc1_score"))(all_a - all_b)
    score = layers.Dense(1, **_layer("fc2_score", None))(score)
    score = layers.Dense(1, **_layer("ref_score_subtract", None))(0.01 * score)
    weight = layers.Dense(512, **_layer("fc1_weight"))(last_a - last_b)
    weight = layers.Dense(1, **_layer("fc2_weight", None))(weight) + 1e-6
    network = keras.Model(pair, [score, weight], name="pieapp")
    network.trainable = False
    return network


def _layer(name: str, activation: str | None = "relu") -> dict:
    return {"name": name, "activation": activation, "kernel_initializer": "zeros", "dtype": "float32"}


def load_pieapp_weights(network: keras.Model, path: Path | str | None = None) -> keras.Model:
    """Fills a network of `build_network` with the authors' weights and returns it; logs `WEIGHTS_NOTICE` once.

    Args:
        path: their file `PieAPPv0.1.pth` (273 MB, from `ADDRESS`; piq's release v0.5.4 has a copy), a `.npz` with
            the same names and axes, or a folder that holds one of them. None looks into the folder that the
            environment variable KERAS_FSR_WEIGHTS names. PyTorch is not needed, nothing is downloaded.

    Raises:
        ModelError: no file, or not the weights of PieAPP.
    """
    file = find_weights(path)
    state = read_state(file)
    check_state(state, network, file)
    for layer in weighted_layers(network):
        kernel = to_keras(state.pop(f"{layer.name}.weight"), layer)
        layer.set_weights([kernel, state.pop(f"{layer.name}.bias")])
    say_once(WEIGHTS_NOTICE)
    return network


def find_weights(path: Path | str | None) -> Path:
    folder = path or os.environ.get(WEIGHTS_VARIABLE)
    if not folder:
        raise ModelError(
            f"PieAPP needs its authors' weights: download {ADDRESS} ({TERMS}) into a folder and set "
            f"{WEIGHTS_VARIABLE} to it"
        )
    for file in (Path(folder), Path(folder, FILE), Path(folder, FILE).with_suffix(".npz")):
        if file.is_file():
            return file
    raise ModelError(
        f"{folder}: holds no {FILE}; download {ADDRESS} ({TERMS}), or set {WEIGHTS_VARIABLE} to its folder"
    )


def weighted_layers(network: keras.Model) -> list[layers.Layer]:
    """The layers that the file knows, by its names."""
    candidates = (*network.get_layer("trunk").layers, *network.layers)
    return [layer for layer in candidates if isinstance(layer, layers.Conv2D | layers.Dense)]


def check_state(state: dict[str, np.ndarray], network: keras.Model, file: Path) -> None:
    shapes = {}
    for layer in weighted_layers(network):
        *window, inputs, outputs = layer.kernel.shape
        shapes |= {f"{layer.name}.weight": (outputs, inputs, *window), f"{layer.name}.bias": (outputs,)}
    remedy = f"so it is not PieAPP v0.1; download {ADDRESS}"
    for key, shape in shapes.items():
        if key not in state:
            raise ModelError(f"{file}: lacks {key} of shape {shape}, {remedy}")
        # The authors' file has a vector of 1 for the 1x1 matrix of ref_score_subtract.
        if state[key].shape not in (shape, *([(1,)] if shape == (1, 1) else [])):
            raise ModelError(f"{file}: {key} has shape {state[key].shape} instead of {shape}, {remedy}")
    if state.keys() > shapes.keys():
        raise ModelError(f"{file}: also holds {min(state.keys() - shapes.keys())}, {remedy}")


def to_keras(kernel: np.ndarray, layer: layers.Layer) -> np.ndarray:
    """OIHW -> HWIO, or (out, in) -> (in, out), where inputs that were CHW maps become HWC maps."""
    if kernel.ndim == 4:
        return kernel.transpose(2, 3, 1, 0)
    order = []
    for tap in {"fc1_score": TAPS, "fc1_weight": TAPS[-1:]}.get(layer.name, ()):
        maps = FILTERS[tap - 1], SIDE >> tap // 2, SIDE >> tap // 2
        order.append(np.arange(np.prod(maps)).reshape(maps).transpose(1, 2, 0).ravel() + sum(map(len, order)))
    kernel = kernel.reshape(layer.units, -1).T
    return kernel[np.concatenate(order)] if order else kernel


@functools.cache
def say_once(notice: str) -> None:
    logging.getLogger("keras_fsr").warning(notice)
