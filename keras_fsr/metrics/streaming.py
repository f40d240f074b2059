"""PSNR as a Keras metric: the running mean of per-image values, by the protocol of the reports."""

import keras
from keras import ops

from keras_fsr.losses.pixel import luma


def psnr_y(reference, image, border: int):
    """PSNR of the luma in dB, one value an image.

    Args:
        reference, image: (N, H, W, 3) RGB in [0, 1]; both are rounded to 8 bit first.
        border: pixels cut from each side, the scale by custom.

    Returns:
        (N,) float32; 100 dB where the images are equal.
    """
    inner = slice(border, -border or None)
    steps = [ops.round(ops.clip(x[:, inner, inner], 0.0, 1.0) * 255.0) for x in (reference, image)]
    error = ops.mean(ops.square(luma(steps[0]) - luma(steps[1])), axis=(1, 2, 3))
    return 10.0 / ops.log(10.0) * ops.log(255.0**2 / ops.maximum(error, 255.0**2 * 1e-10))


@keras.saving.register_keras_serializable(package="keras_fsr")
class PSNRY(keras.metrics.Mean):
    """Mean over images of the PSNR on luma in dB, for `trainer.compile(metrics=[PSNRY(scale)])`.

    Args:
        border: pixels cut from each side before measuring; the scale by custom.
    """

    def __init__(self, border: int = 4, name: str = "psnr_y", **kwargs):
        super().__init__(name=name, **kwargs)
        self.border = border

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(psnr_y(y_true, y_pred, self.border), sample_weight)

    def get_config(self):
        return {**super().get_config(), "border": self.border}
