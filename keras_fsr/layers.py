"""Layers that several networks share.

All of them are written in `keras.ops`, hold no weights unless said so, accept any height and width (NHWC) and
leave the value range as it is.
"""

import keras
import numpy as np
from keras import ops

_register = keras.saving.register_keras_serializable(package="keras_fsr")


class Scaled(keras.layers.Layer):
    """A layer without weights whose one setting is a `scale`."""

    def __init__(self, scale: float, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@_register
class PixelShuffle(Scaled):
    """Depth to space: (N, H, W, C * scale**2) -> (N, H * scale, W * scale, C).

    Channel order is TensorFlow's `depth_to_space` (the block index varies slower than the channel), so the
    layer becomes one DEPTH_TO_SPACE operation in TFLite and one DepthToSpace node in ONNX.

    Args:
        scale: block side in pixels, at least 2.
    """

    def call(self, x):
        return ops.depth_to_space(x, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        times = self.scale
        return (n, h and h * times, w and w * times, c // times**2)


@_register
class PixelUnshuffle(Scaled):
    """Space to depth: (N, H, W, C) -> (N, H / scale, W / scale, C * scale**2); H and W are multiples of scale.

    The inverse of `PixelShuffle`.

    Args:
        scale: block side in pixels, at least 2.
    """

    def call(self, x):
        return ops.space_to_depth(x, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        times = self.scale
        return (n, h and h // times, w and w // times, c * times**2)


@_register
class NearestUpsampling(Scaled):
    """Nearest-neighbour enlargement, (N, H, W, C) -> (N, H * scale, W * scale, C), made for export.

    Repeats the channels and shuffles them into space: bit-identical to `UpSampling2D`, which Keras lowers to
    operations that LiteRT cannot run with dynamic sizes (a Flex convolution) and that int8 cannot convert.

    Args:
        scale: enlargement of each side, at least 2.
    """

    def call(self, x):
        repeated = ops.concatenate([x] * self.scale**2, axis=-1)
        return ops.depth_to_space(repeated, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        times = self.scale
        return (n, h and h * times, w and w * times, c)


@_register
class ScaledResidual(Scaled):
    """`shortcut + scale * branch` of two tensors of equal shape (ESRGAN's residual scaling).

    Args:
        scale: factor of the branch; a small one keeps deep trunks stable.
    """

    def call(self, inputs):
        shortcut, branch = inputs
        return shortcut + branch * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@_register
class BicubicUpsampling(Scaled):
    """Bicubic enlargement (Keys, a = -0.5, as Pillow's), (N, H, W, C) -> (N, H * scale, W * scale, C).

    A fixed 5x5 convolution at low resolution whose channels are shuffled into space, so that it takes any size
    and exports as plain operations. Beyond the edge the image is mirrored, where Pillow renormalises.

    Args:
        scale: enlargement of each side, at least 2.
    """

    RADIUS = 2

    def build(self, input_shape):
        channels = input_shape[-1]
        taps = bicubic_taps(self.scale)
        kernel = np.einsum("yi,xj,cd->ijcyxd", taps, taps, np.eye(channels))
        self._kernel = kernel.reshape(*kernel.shape[:3], -1).astype("float32")

    def call(self, x):
        r = self.RADIUS
        padded = ops.pad(x, ((0, 0), (r, r), (r, r), (0, 0)), mode="symmetric")
        phases = ops.conv(padded, ops.cast(self._kernel, x.dtype), padding="valid", data_format="channels_last")
        return ops.depth_to_space(phases, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        times = self.scale
        return (n, h and h * times, w and w * times, c)


def bicubic_taps(scale: int) -> np.ndarray:
    """Weights of the five nearest samples for each of the `scale` phases, (scale, 5); rows sum to 1."""
    phases = (np.arange(scale) + 0.5) / scale - 0.5
    distance = np.abs(phases[:, None] - np.arange(-2, 3)[None, :])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


@_register
class SpectralConv2D(keras.layers.Layer):
    """Convolution, "same" padding, whose kernel is divided by its largest singular value.

    The kernel itself is never rewritten: the division is part of the graph and its gradient flows through
    sigma, as in the authors' code (`keras.layers.SpectralNormalization` overwrites the kernel in every training
    call, which cuts that gradient). `call` changes nothing; `advance` takes the power iteration, once a
    discriminator step, however often the layer is called within it.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks" (2018), algorithm 1.

    Args:
        filters, kernel_size, strides, use_bias: as in `keras.layers.Conv2D`.
    """

    WARM_START = 15  # power iterations when the layer is built

    def __init__(self, filters: int, kernel_size: int = 3, strides: int = 1, use_bias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.use_bias = use_bias

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        # float32 under any policy: sigma in bfloat16 would be off by up to 0.4 %
        self.kernel = self.add_weight(
            shape=shape, initializer=keras.initializers.HeNormal(), autocast=False, name="kernel"
        )
        self.bias = (
            self.add_weight(shape=(self.filters,), initializer="zeros", name="bias") if self.use_bias else None
        )
        self.u = self.add_weight(
            shape=(self.filters,), initializer="random_normal", trainable=False, autocast=False, name="u"
        )
        self.advance(self.WARM_START)

    def advance(self, iterations: int = 1) -> None:
        """Takes power iterations from the present u, the left singular vector."""
        matrix = self._matrix()
        u = ops.convert_to_tensor(self.u)
        for _ in range(iterations):
            u = _unit(ops.matmul(_unit(ops.matmul(matrix, u)), matrix))
        self.u.assign(u)

    def sigma(self):
        """The largest singular value by the present u; differentiable with regard to the kernel, u held."""
        matrix = self._matrix()
        u = ops.stop_gradient(ops.convert_to_tensor(self.u))
        v = ops.stop_gradient(_unit(ops.matmul(matrix, u)))
        return ops.sum(v * ops.matmul(matrix, u))

    def call(self, x):
        kernel = ops.cast(self.kernel / self.sigma(), self.compute_dtype)
        x = ops.conv(x, kernel, self.strides, padding="same", data_format="channels_last")
        return x if self.bias is None else x + ops.cast(self.bias, x.dtype)

    def _matrix(self):
        return ops.reshape(ops.convert_to_tensor(self.kernel), (-1, self.filters))

    def compute_output_shape(self, input_shape):
        n, h, w, _ = input_shape
        return (n, h and -(-h // self.strides), w and -(-w // self.strides), self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "use_bias": self.use_bias,
        }


def _unit(vector):
    return vector / ops.maximum(ops.norm(vector), 1e-12)


def assert_unit_range(images, network: str) -> None:
    """Stops a run (TensorFlow alone) whose images were left in 0..255 where a network takes RGB in [0, 1].

    By the mean: single values of a young generator may lie anywhere. What is not finite is not this check's to name.

    Raises:
        InvalidArgumentError: the mean absolute value is above 2.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        mean = tf.reduce_mean(tf.abs(tf.cast(images, tf.float32)))
        message = f"{network} takes RGB in [0, 1]; divide images in 0..255 by 255 first"
        tf.debugging.Assert(~(tf.math.is_finite(mean) & (mean > 2.0)), [message])


def advance_spectral_norms(network: keras.Model) -> None:
    """One power iteration in every `SpectralConv2D` of a network: what starts a discriminator step."""
    for layer in network.layers:
        if isinstance(layer, SpectralConv2D):
            layer.advance()
