"""The measures as Keras metrics, for `trainer.compile(metrics=[...])`: running values over the images of an epoch.

Images are (N, H, W, 3) RGB in [0, 1]; all are rounded to 8 bits first, as in a report. `PSNRY` and `SSIMY` are graphs
of `keras.ops`, `LPIPSDistance` and `PieAPPScore` are networks; the others are NumPy called from within the graph, and
slow: for validation.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_fsr.errors import DataError
from keras_fsr.losses.pieapp import PieAPP
from keras_fsr.losses.pixel import luma
from keras_fsr.metrics.colour import colour_drift
from keras_fsr.metrics.grid import grid_peaks, periods
from keras_fsr.metrics.identity import Identity
from keras_fsr.metrics.lpips import LPIPS
from keras_fsr.metrics.niqe import NIQE
from keras_fsr.metrics.perceptual_index import PerceptualIndex

_register = keras.saving.register_keras_serializable(package="keras_fsr")


def in_8_bits(images, border: int = 0):
    """Rounded to steps of 1 / 255 and cut to [0, 1], without the border."""
    inner = slice(border, -border or None)
    return ops.round(ops.clip(images[:, inner, inner], 0.0, 1.0) * 255.0) / 255.0


def psnr_y(reference, image, border: int):
    """PSNR of the luma in dB, one value an image.

    Args:
        reference, image: (N, H, W, 3) RGB in [0, 1]; both are rounded to 8 bit first.
        border: pixels cut from each side, the scale by custom.

    Returns:
        (N,) float32; 100 dB where the images are equal.
    """
    error = ops.mean(ops.square(luma(in_8_bits(reference, border)) - luma(in_8_bits(image, border))), axis=(1, 2, 3))
    return -10.0 / ops.log(10.0) * ops.log(ops.maximum(error, 1e-10))


def ssim_y(reference, image, border: int):
    """SSIM of the luma, one value an image: (N,) float32. Arguments as of `psnr_y`; 11 pixels at least inside."""
    return ops.image.ssim(luma(in_8_bits(reference, border)), luma(in_8_bits(image, border)), max_val=1.0)


class Bordered(keras.metrics.Mean):
    """A mean over images of what is measured without a border of pixels, the scale by custom."""

    def __init__(self, border: int = 4, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.border = border

    def get_config(self):
        return {**super().get_config(), "border": self.border}


@_register
class PSNRY(Bordered):
    """Mean of the PSNR on luma in dB, e.g. `PSNRY(scale)`."""

    def __init__(self, border: int = 4, name: str = "psnr_y", **kwargs):
        super().__init__(border, name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(psnr_y(y_true, y_pred, self.border), sample_weight)


@_register
class SSIMY(Bordered):
    """Mean of the SSIM on luma, e.g. `SSIMY(scale)`."""

    def __init__(self, border: int = 4, name: str = "ssim_y", **kwargs):
        super().__init__(border, name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(ssim_y(y_true, y_pred, self.border), sample_weight)


@_register
class LPIPSDistance(keras.metrics.Mean):
    """Mean LPIPS; arguments as of `metrics.lpips.LPIPS`, whose errors it raises."""

    def __init__(self, weights: Path | str | None = None, backbone: str = "squeeze", name: str = "lpips", **kwargs):
        super().__init__(name=name, **kwargs)
        self.weights_folder, self.backbone = weights and str(weights), backbone
        self.distance = LPIPS(weights, backbone)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(self.distance(in_8_bits(y_true), in_8_bits(y_pred)), sample_weight)

    def get_config(self):
        return {**super().get_config(), "weights": self.weights_folder, "backbone": self.backbone}


@_register
class PieAPPScore(keras.metrics.Mean):
    """Mean PieAPP; `weights_file` and `options` as of `losses.pieapp.PieAPP`, whose errors it raises."""

    def __init__(self, weights_file: Path | str | None = None, name: str = "pieapp", dtype=None, **options):
        super().__init__(name=name, dtype=dtype)
        self.loss = PieAPP(weights_file=weights_file, **options)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(self.loss.score(in_8_bits(y_true), in_8_bits(y_pred)), sample_weight)

    def get_config(self):
        return {**super().get_config(), "weights_file": self.loss.weights_file, **self.loss.options}


class Measured(keras.metrics.Metric):
    """The mean over images of what a NumPy function gives for each; images for which that is NaN do not count.

    Weights of samples are not looked at.

    Args:
        measure: HR and SR, ``(H, W, 3)`` uint8 -> `size` numbers.
        size: how many.
    """

    def __init__(
        self, measure: Callable[[np.ndarray, np.ndarray], Sequence[float]], size: int, name: str, dtype=None
    ):
        super().__init__(name=name, dtype=dtype)
        self.measure, self.size = measure, size
        self.total = self.add_variable((size,), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            found = tf.numpy_function(self.measure_batch, [in_8_bits(y_true), in_8_bits(y_pred)], tf.float32)
            found = tf.ensure_shape(found, (None, self.size))
        else:
            found = self.measure_batch(*(ops.convert_to_numpy(in_8_bits(x)) for x in (y_true, y_pred)))
        known = ops.logical_not(ops.any(ops.isnan(found), axis=1))
        self.total.assign_add(ops.sum(ops.where(known[:, None], found, 0.0), axis=0))
        self.count.assign_add(ops.sum(ops.cast(known, "float32")))

    def measure_batch(self, reference: np.ndarray, image: np.ndarray) -> np.ndarray:
        pairs = (np.rint(images * 255.0).astype(np.uint8) for images in (reference, image))
        rows = [np.asarray(self.measure(hr, sr), np.float32) for hr, sr in zip(*pairs, strict=True)]
        return np.stack(rows).reshape(-1, self.size)

    def result(self):
        """The first of the means; NaN before any image."""
        return (self.total / self.count)[0]


@_register
class NIQEScore(Measured):
    """Mean NIQE of the images that are large enough; arguments as of `metrics.niqe.NIQE`."""

    def __init__(self, prior: Path | str | None = None, border: int = 4, name: str = "niqe", dtype=None):
        self.prior, self.border = prior and str(prior), border
        super().__init__(blind(NIQE(prior), border), 1, name, dtype)

    def get_config(self):
        return {**super().get_config(), "prior": self.prior, "border": self.border}


@_register
class PerceptualIndexScore(Measured):
    """Mean PI of the images that are large enough for NIQE; `prior` as of `metrics.niqe.NIQE`."""

    def __init__(self, prior: Path | str | None = None, border: int = 4, name: str = "pi", dtype=None):
        self.prior, self.border = prior and str(prior), border
        super().__init__(blind(PerceptualIndex(NIQE(prior)), border), 1, name, dtype)

    def get_config(self):
        return {**super().get_config(), "prior": self.prior, "border": self.border}


@_register
class IdentityDistance(Measured):
    """Mean distance of dlib's face descriptors, over the originals in which a face is found."""

    def __init__(self, name: str = "identity", dtype=None):
        judge = Identity()
        super().__init__(lambda hr, sr: (judge(hr, sr),), 1, name, dtype)


@_register
class ColourDrift(Measured):
    """`metrics.colour.largest_drift`: of the mean shifts of the channels the largest, in levels of 255."""

    def __init__(self, border: int = 4, name: str = "colour", dtype=None):
        self.border = border
        super().__init__(lambda hr, sr: colour_drift(sr, hr, border), 3, name, dtype)

    def result(self):
        return ops.max(ops.abs(self.total / self.count))

    def get_config(self):
        return {**super().get_config(), "border": self.border}


@_register
class Grid(Measured):
    """`metrics.grid.grid` of images enlarged by `scale`; NaN where all are too small for it."""

    def __init__(self, scale: int = 4, name: str = "grid", dtype=None):
        self.scale = scale
        super().__init__(lambda hr, sr: grid_peaks(sr, scale), 2 * len(periods(scale)), name, dtype)

    def result(self):
        return ops.max(self.total / self.count)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def blind(score: Callable[..., float], border: int) -> Callable[[np.ndarray, np.ndarray], Sequence[float]]:
    """A score of the enlarged image alone; NaN where it is too small."""

    def measure(hr: np.ndarray, sr: np.ndarray) -> Sequence[float]:
        try:
            return (score(sr, border=border),)
        except DataError:
            return (math.nan,)

    return measure
