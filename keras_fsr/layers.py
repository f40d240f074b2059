"""Layers that several networks share.

All of them are written in `keras.ops`, hold no weights unless said so, accept any height and width (NHWC) and
leave the value range as it is.
"""

import keras
from keras import ops

_register = keras.saving.register_keras_serializable(package="keras_fsr")


@_register
class PixelShuffle(keras.layers.Layer):
    """Depth to space: (N, H, W, C * scale**2) -> (N, H * scale, W * scale, C).

    Channel order is TensorFlow's `depth_to_space` (the block index varies slower than the channel), so the
    layer becomes one DEPTH_TO_SPACE operation in TFLite and one DepthToSpace node in ONNX.

    Args:
        scale: block side in pixels, at least 2.
    """

    def __init__(self, scale: int, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x):
        return ops.depth_to_space(x, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        times = self.scale
        return (n, h and h * times, w and w * times, c // times**2)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@_register
class PixelUnshuffle(keras.layers.Layer):
    """Space to depth: (N, H, W, C) -> (N, H / scale, W / scale, C * scale**2); H and W are multiples of scale.

    The inverse of `PixelShuffle`.

    Args:
        scale: block side in pixels, at least 2.
    """

    def __init__(self, scale: int, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x):
        return ops.space_to_depth(x, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        times = self.scale
        return (n, h and h // times, w and w // times, c * times**2)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@_register
class NearestUpsampling(keras.layers.Layer):
    """Nearest-neighbour enlargement, (N, H, W, C) -> (N, H * scale, W * scale, C), made for export.

    Repeats the channels and shuffles them into space: bit-identical to `UpSampling2D`, which Keras lowers to
    operations that LiteRT cannot run with dynamic sizes (a Flex convolution) and that int8 cannot convert.

    Args:
        scale: enlargement of each side, at least 2.
    """

    def __init__(self, scale: int, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x):
        repeated = ops.concatenate([x] * self.scale**2, axis=-1)
        return ops.depth_to_space(repeated, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        times = self.scale
        return (n, h and h * times, w and w * times, c)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@_register
class ScaledResidual(keras.layers.Layer):
    """`shortcut + scale * branch` of two tensors of equal shape (ESRGAN's residual scaling).

    Args:
        scale: factor of the branch; a small one keeps deep trunks stable.
    """

    def __init__(self, scale: float, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs):
        shortcut, branch = inputs
        return shortcut + branch * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}
