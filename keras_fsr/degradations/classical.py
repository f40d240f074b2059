"""The classical degradations: what happens to an image, each step with its parameters, and chains of them.

A step is a small frozen record that does one thing to an (H, W, 3) float32 RGB image in [0, 1]. A `Chain` of them
makes an LR image of an HR one, is written as JSON, and makes the same pixels again from it, noise included.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from keras_fsr.degradations.kernels import KINDS, blur_kernel, shifted_gaussian, sinc_kernel
from keras_fsr.degradations.limits import (
    MAX_SHARE,
    MAX_SIDE,
    MAX_SIGMA,
    MIN_SIGMA,
    require,
    require_between,
    require_odd,
    require_whole,
)
from keras_fsr.errors import DataError

RESIZING = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
"""Ways of a resize. None filters before a reduction but "area"; "antialiased" is Pillow's bicubic, which does."""
ANTIALIASED = "antialiased"
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601


@dataclass(frozen=True)
class Blur:
    """Convolution with a kernel of `kernels.blur_kernel`; the image is mirrored at its edges."""

    kind: str
    size: int  # pixels, odd
    sigma_x: float  # pixels
    sigma_y: float
    rotation: float = 0.0  # radians
    beta: float = 1.0

    def __post_init__(self):
        require(self.kind in KINDS, f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        require_odd(self.size)
        require_between("sigma_x", self.sigma_x, MIN_SIGMA, MAX_SIGMA)
        require_between("sigma_y", self.sigma_y, MIN_SIGMA, MAX_SIGMA)
        require_between("beta", self.beta, 0.01, 100)
        require_between("rotation", self.rotation, -1000, 1000)

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        kernel = blur_kernel(self.kind, self.size, self.sigma_x, self.sigma_y, self.rotation, self.beta)
        return filtered(image, kernel)


@dataclass(frozen=True)
class Sinc:
    """Low-pass that rings; see `kernels.sinc_kernel`."""

    size: int
    cutoff: float  # radians a pixel

    def __post_init__(self):
        require_odd(self.size)
        require_between("cutoff", self.cutoff, 1e-3, math.pi)

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        return np.clip(filtered(image, sinc_kernel(self.size, self.cutoff)), 0, 1)


@dataclass(frozen=True)
class Resize:
    """To a share of the original's size; halves and less are cut off, but no side falls below 1."""

    share: float
    mode: str  # of RESIZING, or ANTIALIASED

    def __post_init__(self):
        require_between("share", self.share, 0, MAX_SHARE)
        modes = (*RESIZING, ANTIALIASED)
        require(self.mode in modes, f"mode {self.mode!r} is none of {', '.join(modes)}")

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        # a share such as 1 / 3 of 96 must not end as 31.999
        height, width = (max(int(side * self.share + 1e-6), 1) for side in original)
        if (height, width) == image.shape[:2]:
            return image
        if self.mode == ANTIALIASED:
            bands = [
                Image.fromarray(band).resize((width, height), Image.Resampling.BICUBIC)
                for band in np.moveaxis(image, 2, 0)
            ]
            return np.clip(np.stack(bands, axis=2), 0, 1)
        return np.clip(cv2.resize(image, (width, height), interpolation=RESIZING[self.mode]), 0, 1)


@dataclass(frozen=True)
class Decimate:
    """Gaussian blur that centres each block, then every n-th pixel (BSRGAN's other down-sampling)."""

    every: int
    sigma: float
    size: int = 25

    def __post_init__(self):
        require_odd(self.size)
        require_whole("every", self.every, 1, MAX_SIDE)
        require_between("sigma", self.sigma, 0.05, MAX_SIGMA)  # below, an even step leaves no weight

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        kernel = shifted_gaussian(self.size, self.sigma, (self.every - 1) / 2)
        return np.ascontiguousarray(filtered(image, kernel)[:: self.every, :: self.every])


@dataclass(frozen=True)
class GaussianNoise:
    """Normal noise of a standard deviation in levels of 255, clipped to [0, 1].

    Args:
        gray: the same value for all three channels.
        mixing: 3x3 matrix that is multiplied to the three channels' noise, which correlates them; none = identity.
    """

    sigma: float
    gray: bool
    seed: int
    mixing: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self):
        require_between("sigma", self.sigma, 0, 1000)
        require_whole("seed", self.seed, 0, math.inf)
        mixing = np.eye(3) if self.mixing is None else np.array(self.mixing, float)
        require(mixing.shape == (3, 3) and bool(np.isfinite(mixing).all()), "mixing is no 3x3 matrix")

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        channels = 1 if self.gray else 3
        noise = np.random.default_rng(self.seed).standard_normal((*image.shape[:2], channels), np.float32)
        if self.mixing is not None:
            noise = noise @ np.array(self.mixing, np.float32).T
        return np.clip(image + noise * np.float32(self.sigma / 255), 0, 1)


@dataclass(frozen=True)
class PoissonNoise:
    """Shot noise, `scale` times as strong as that of an image whose number of gray levels is its number of photons.

    Photons a unit of brightness: the number of different values of the 8-bit image, raised to a power of two
    (Real-ESRGAN's code). Gray noise is that of the luma, the same for all channels.
    """

    scale: float
    gray: bool
    seed: int

    def __post_init__(self):
        require_between("scale", self.scale, 0, 1000)
        require_whole("seed", self.seed, 0, math.inf)

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        clean = np.rint(np.clip(image, 0, 1) * 255)
        if self.gray:
            clean = np.rint(clean @ LUMA)[..., None]
        levels = np.count_nonzero(np.bincount(clean.astype(np.uint8).ravel(), minlength=256))
        photons = 2.0 ** math.ceil(math.log2(levels))
        clean = clean.astype(np.float32) / 255
        noise = np.random.default_rng(self.seed).poisson(clean * photons) / photons - clean
        return np.clip(image + np.float32(self.scale) * noise.astype(np.float32), 0, 1)


@dataclass(frozen=True)
class JPEG:
    """JPEG compression and decompression, colours at half resolution; quality 0 to 100."""

    quality: int

    def __post_init__(self):
        require_whole("quality", self.quality, 0, 100)

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        _, data = cv2.imencode(".jpg", to_levels(image)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255


@dataclass(frozen=True)
class Colour:
    """What a camera does to colours: gains, offsets, saturation, gamma; clipped to [0, 1].

    ``((saturate(image) * gain - 0.5) * contrast + 0.5 + offset) ** gamma``, with saturation 0 a gray image.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    contrast: float = 1.0
    saturation: float = 1.0
    gamma: float = 1.0

    def __post_init__(self):
        for name in ("gain", "offset"):
            require(len(getattr(self, name)) == 3, f"{name} is not one number a channel")
        for value in (*self.gain, *self.offset, self.contrast, self.saturation):
            require_between("a factor or offset", value, -100, 100)
        require_between("gamma", self.gamma, 0.01, 100)

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        luma = (image @ LUMA)[..., None]
        image = (luma + (image - luma) * np.float32(self.saturation)) * np.array(self.gain, np.float32)
        image = (image - 0.5) * np.float32(self.contrast) + 0.5 + np.array(self.offset, np.float32)
        return np.clip(image, 0, 1) ** np.float32(self.gamma)


Step = Blur | Sinc | Resize | Decimate | GaussianNoise | PoissonNoise | JPEG | Colour
STEPS = {kind.__name__: kind for kind in Step.__args__}


@dataclass(frozen=True)
class Chain:
    """Steps in their order, which make an LR image of an HR one."""

    steps: tuple[Step, ...]

    def __call__(self, hr: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> its degraded image, uint8, rounded. The same chain makes the same pixels."""
        image = hr.astype(np.float32) / 255
        for step in self.steps:
            image = step(image, hr.shape[:2])
        return to_levels(image)

    def reseeded(self, seed: int) -> "Chain":
        """The same degradation with other noise, as the next picture of a camera has."""
        rng = np.random.default_rng(seed)
        steps = [
            dataclasses.replace(step, seed=draw_seed(rng)) if getattr(step, "seed", None) is not None else step
            for step in self.steps
        ]
        return Chain(tuple(steps))

    def to_json(self) -> list[dict[str, Any]]:
        """One mapping a step: its kind as "step", and all its parameters."""
        return [{"step": type(step).__name__, **dataclasses.asdict(step)} for step in self.steps]

    @classmethod
    def from_json(cls, steps: Sequence[Mapping[str, Any]]) -> "Chain":
        """The chain that `to_json` described.

        Raises:
            DataError: an unknown step or parameter.
        """
        made = []
        for values in steps:
            values = dict(values)
            name = values.pop("step", None)
            try:
                made.append(find_step(name)(**{key: to_tuple(value) for key, value in values.items()}))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"degradation step {name!r} with {values} is not possible ({error})") from None
        return cls(tuple(made))


def find_step(name: str) -> type:
    """The class of a step by its name (KeyError if there is none)."""
    if name == "Learned":  # whose network is loaded when it is called
        from keras_fsr.degradations.learned.transfer import Learned

        return Learned
    return STEPS[name]


def draw_seed(rng: np.random.Generator) -> int:
    """A seed for the noise of one step."""
    return int(rng.integers(2**53))  # which every reader of JSON keeps exactly


def to_tuple(value):
    """JSON knows lists alone; a step that was read equals the step that was written."""
    return tuple(map(to_tuple, value)) if isinstance(value, list) else value


def filtered(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """An image correlated with a kernel, mirrored about its outermost pixels."""
    return cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)


def to_levels(image: np.ndarray) -> np.ndarray:
    """[0, 1] -> uint8, rounded."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
