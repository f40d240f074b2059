"""Random steps: what draws the parameters of one blur, resize, change of colour, noise or JPEG.

Probabilities and ranges are fields that a preset's YAML sets; `second_order` says where they come from.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from keras_fsr.degradations.classical import (
    ANTIALIASED,
    JPEG,
    RESIZING,
    Blur,
    Colour,
    GaussianNoise,
    PoissonNoise,
    Resize,
    Sinc,
    Step,
    draw_seed,
)
from keras_fsr.degradations.kernels import GENERALIZED, KINDS, PLATEAU
from keras_fsr.degradations.limits import (
    MAX_FACTOR,
    MAX_SHARE,
    MAX_SIDE,
    MAX_SIGMA,
    MIN_SIGMA,
    require,
    require_shares,
)

Range = tuple[float, float]
MODES = tuple(RESIZING)


@dataclass(frozen=True)
class BlurDraw:
    """A blur with its probability.

    Args:
        sizes: smallest and largest odd side of a kernel.
        sinc: probability that it is a sinc kernel instead, of a cutoff from pi / 3 (pi / 5 for 13 pixels and more)
            to pi.
        kinds: kernel of `kernels.KINDS` -> its probability among the others.
        sigma: standard deviations; both axes are drawn from it.
        generalized, plateau: exponents; half of them are drawn below 1 and half above (half are 1 for the plateau).
    """

    probability: float = 1.0
    sizes: tuple[int, int] = (7, 21)
    sinc: float = 0.0
    kinds: Mapping[str, float] = field(default_factory=lambda: {"iso": 1.0})
    sigma: Range = (0.2, 3.0)
    generalized: Range = (0.5, 4.0)
    plateau: Range = (1.0, 2.0)

    def __post_init__(self):
        require(
            bool(self.kinds) and {*self.kinds} <= {*KINDS}, f"kinds {[*self.kinds]} are not of {', '.join(KINDS)}"
        )
        require_shares("kinds", self.kinds.values())
        require_ranges(
            self, sizes=(1, MAX_SIDE), sigma=(MIN_SIGMA, MAX_SIGMA), generalized=(0.01, 100), plateau=(0.01, 100)
        )
        require(self.sizes[0] % 2 == self.sizes[1] % 2 == 1, f"sizes {self.sizes} are not odd")

    def draw(self, rng: np.random.Generator) -> list[Step]:
        if rng.random() >= self.probability:
            return []
        size = draw_odd(rng, self.sizes)
        if rng.random() < self.sinc:
            return [Sinc(size, float(rng.uniform(math.pi / (3 if size < 13 else 5), math.pi)))]
        kind = draw_key(rng, self.kinds)
        sigma_x = float(rng.uniform(*self.sigma))
        isotropic = not kind.endswith("aniso")
        sigma_y = sigma_x if isotropic else float(rng.uniform(*self.sigma))
        rotation = 0.0 if isotropic else float(rng.uniform(-math.pi, math.pi))
        return [Blur(kind, size, sigma_x, sigma_y, rotation, self._beta(rng, kind))]

    def _beta(self, rng: np.random.Generator, kind: str) -> float:
        below = rng.random() < 0.5
        if kind.startswith(GENERALIZED):
            return float(rng.uniform(self.generalized[0], 1) if below else rng.uniform(1, self.generalized[1]))
        if kind.startswith(PLATEAU):
            return self.plateau[0] if below else float(rng.uniform(*self.plateau))
        return 1.0


@dataclass(frozen=True)
class ResizeDraw:
    """A resize: up, down or not at all, each with its probability, by a factor drawn evenly from its range.

    Args:
        divide: instead, always divide by a number drawn evenly from this range.
    """

    up: float = 0.0
    down: float = 0.0
    enlarge: Range = (1.0, 1.5)
    reduce: Range = (0.15, 1.0)
    divide: Range | None = None
    modes: tuple[str, ...] = MODES

    def __post_init__(self):
        require_ranges(self, enlarge=(1, MAX_SHARE), reduce=(0, 1), divide=(1 / MAX_SHARE, MAX_FACTOR))
        require_modes(self.modes)

    def draw(self, rng: np.random.Generator, share: float) -> list[Step]:
        """A resize to the factor times `share` of the original's size."""
        draw, mode = rng.random(), str(rng.choice(self.modes))
        if self.divide:
            factor = 1 / float(rng.uniform(*self.divide))
        elif draw < self.up:
            factor = float(rng.uniform(*self.enlarge))
        elif draw < self.up + self.down:
            factor = float(rng.uniform(*self.reduce))
        else:
            factor = 1.0
        return [Resize(share * factor, mode)]


@dataclass(frozen=True)
class ColourDraw:
    """A change of colours; each range is drawn from evenly, gain (times brightness) and offset for each channel."""

    probability: float = 0.0
    brightness: Range = (1.0, 1.0)
    gain: Range = (1.0, 1.0)
    offset: Range = (0.0, 0.0)
    contrast: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    gamma: Range = (1.0, 1.0)
    gray: float = 0.0  # probability, apart from the others', of no colour at all

    def __post_init__(self):
        factors = dict.fromkeys(("brightness", "gain", "contrast", "saturation"), (0, 10))
        require_ranges(self, offset=(-1, 1), gamma=(0.01, 100), **factors)

    def draw(self, rng: np.random.Generator) -> list[Step]:
        steps: list[Step] = []
        if rng.random() < self.probability:
            gain = tuple(map(float, rng.uniform(*self.gain, 3) * rng.uniform(*self.brightness)))
            offset = tuple(map(float, rng.uniform(*self.offset, 3)))
            ranges = (self.contrast, self.saturation, self.gamma)
            steps.append(Colour(gain, offset, *(float(rng.uniform(*range_)) for range_ in ranges)))
        if rng.random() < self.gray:
            steps.append(Colour(saturation=0.0))
        return steps


@dataclass(frozen=True)
class NoiseDraw:
    """Noise with its probability: Gaussian or else Poisson.

    Args:
        gaussian: probability of Gaussian noise among the two.
        sigma: its standard deviation, in levels of 255; `poisson`: the scale of the other.
        gray: probability of the same noise in all channels; `correlated`: of noise that is correlated between them.
    """

    probability: float = 1.0
    gaussian: float = 1.0
    sigma: Range = (1.0, 30.0)
    whole_levels: bool = False
    poisson: Range = (0.05, 3.0)
    gray: float = 0.0
    correlated: float = 0.0

    def __post_init__(self):
        require_ranges(self, sigma=(0, 1000), poisson=(0, 1000))

    def draw(self, rng: np.random.Generator) -> list[Step]:
        if rng.random() >= self.probability:
            return []
        gaussian, channels, seed = rng.random() < self.gaussian, rng.random(), draw_seed(rng)
        gray = channels < self.gray
        if not gaussian:
            return [PoissonNoise(float(rng.uniform(*self.poisson)), gray, seed)]
        if not gray and channels < self.gray + self.correlated:
            return [GaussianNoise(self.sigma[1], False, seed, draw_mixing(rng))]
        sigma = draw_whole(rng, self.sigma) if self.whole_levels else rng.uniform(*self.sigma)
        return [GaussianNoise(float(sigma), gray, seed)]


@dataclass(frozen=True)
class JPEGDraw:
    """JPEG compression with its probability, of a quality drawn evenly from whole numbers."""

    probability: float = 1.0
    quality: tuple[int, int] = (30, 95)

    def __post_init__(self):
        require_ranges(self, quality=(0, 100))

    def draw(self, rng: np.random.Generator) -> list[Step]:
        return [JPEG(draw_whole(rng, self.quality))] if rng.random() < self.probability else []


def require_ranges(settings, **limits: tuple[float, float]) -> None:
    """Refuses ranges of a record that run backwards or leave their limits, and shares outside of 0..1."""
    for name, (low, high) in limits.items():
        range_ = getattr(settings, name)
        if range_ is not None:
            require(low <= range_[0] <= range_[1] <= high, f"{name} {range_} is no range within {low} and {high}")
    for name in ("probability", "sinc", "up", "down", "gray", "gaussian", "correlated"):
        require(0 <= getattr(settings, name, 0) <= 1, f"{name} is no probability")


def require_modes(modes: tuple[str, ...], known: tuple[str, ...] = (*MODES, ANTIALIASED)) -> None:
    require(bool(modes) and {*modes} <= {*known}, f"modes {list(modes)} are not of {', '.join(known)}")


def draw_odd(rng: np.random.Generator, sizes: tuple[int, int]) -> int:
    return int(rng.integers(sizes[0] // 2, sizes[1] // 2 + 1)) * 2 + 1


def draw_whole(rng: np.random.Generator, limits: tuple[float, float]) -> int:
    return int(rng.integers(int(limits[0]), int(limits[1]) + 1))


def draw_key(rng: np.random.Generator, probabilities: Mapping[str, float]) -> str:
    """A key by its probability; they need not sum to 1."""
    shares = np.array(list(probabilities.values()), float)
    return list(probabilities)[rng.choice(len(shares), p=shares / shares.sum())]


def draw_mixing(rng: np.random.Generator) -> tuple[tuple[float, ...], ...]:
    """A square root of BSRGAN's random covariance of the channels, 3x3."""
    basis = np.linalg.qr(rng.random((3, 3)))[0]
    covariance = np.abs(basis.T @ np.diag(rng.random(3)) @ basis)
    values, vectors = np.linalg.eigh(covariance)  # the absolute values may cost it its definiteness
    return tuple(tuple(map(float, row)) for row in vectors * np.sqrt(np.maximum(values, 0)))
