"""PI, the perceptual index: half of NIQE plus what Ma's score lacks of 10. Lower is better.

Source: Blau et al., "The 2018 PIRM Challenge on Perceptual Image Super-Resolution", ECCVW 2018, whose code cuts a
border of 4 pixels. Ma's score (Ma et al., "Learning a No-Reference Quality Metric for Single-Image
Super-Resolution", CVIU 2017) is pyiqa's `nrqm`, an optional package; it takes seconds an image.
"""

from collections.abc import Callable

import numpy as np

from keras_fsr.errors import ModelError, first_line
from keras_fsr.metrics.niqe import NIQE


class PerceptualIndex:
    """PI of single images.

    Args:
        niqe: with the prior of your choice; by default `NIQE()`.
        ma: Ma's score of an ``(H, W, 3)`` uint8 RGB image, about 0 to 10, higher is better; by default `pyiqa_ma()`.

    Raises:
        ModelError: NIQE's parameters or the weights of Ma's score are missing.
        ModuleNotFoundError: pyiqa is needed and not installed.
    """

    def __init__(self, niqe: NIQE | None = None, ma: Callable[[np.ndarray], float] | None = None):
        self.ma = ma or pyiqa_ma()
        self.niqe = niqe or NIQE()

    def __call__(self, image: np.ndarray, border: int = 0) -> float:
        """The index, about 2 for good photographs.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            border: pixels cut from every side before measuring.

        Raises:
            DataError: as of `NIQE`.
        """
        naturalness = self.niqe(image, border)
        height, width = image.shape[:2]
        return float(((10 - self.ma(image[border : height - border, border : width - border])) + naturalness) / 2)


def pyiqa_ma() -> Callable[[np.ndarray], float]:
    """Ma's score by pyiqa, of the luma that its own PI takes (its default for `nrqm` is that of YIQ), without a crop.

    Raises:
        ModelError: its weights are neither in its cache nor to be downloaded.
        ModuleNotFoundError: pyiqa is not installed.
    """
    import pyiqa
    from PIL import Image

    try:
        metric = pyiqa.create_metric("nrqm", color_space="ycbcr", crop_border=0)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # whatever the network stack or PyTorch raises
        raise ModelError(
            f"Ma's score: pyiqa cannot load its nrqm ({first_line(error)}); connect to the network once, "
            f"or put NRQM_model.mat into ~/.cache/torch/hub/pyiqa"
        ) from error
    return lambda image: float(metric(Image.fromarray(image)))
