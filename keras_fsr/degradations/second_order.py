"""Random chains of degradations: n stages in order, or BSRGAN's shuffled steps; presets of both as YAML.

Sources: Wang et al., "Real-ESRGAN" (2021), section 3 and the authors' training options; Zhang et al., "Designing a
Practical Degradation Model" (BSRGAN, 2021), section 3; Wang et al., "GFPGAN" (2021), section 4.1.

A preset draws `Chain`s. All that is random comes from the generator that it is given, so a seed fixes a chain, and a
chain fixes the pixels.
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
    Chain,
    Colour,
    Decimate,
    GaussianNoise,
    PoissonNoise,
    Resize,
    Sinc,
    Step,
    draw_seed,
)
from keras_fsr.degradations.kernels import GENERALIZED, PLATEAU

Range = tuple[float, float]
MODES = tuple(RESIZING)
MAX_STAGES = 4


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
    """A change of colours; each range is drawn from evenly, gain and offset for each channel."""

    probability: float = 0.0
    gain: Range = (1.0, 1.0)
    offset: Range = (0.0, 0.0)
    contrast: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    gamma: Range = (1.0, 1.0)
    gray: float = 0.0  # probability, apart from the others', of no colour at all

    def draw(self, rng: np.random.Generator) -> list[Step]:
        steps: list[Step] = []
        if rng.random() < self.probability:
            gain, offset = (tuple(map(float, rng.uniform(*range_, 3))) for range_ in (self.gain, self.offset))
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

    def draw(self, rng: np.random.Generator) -> list[Step]:
        return [JPEG(draw_whole(rng, self.quality))] if rng.random() < self.probability else []


@dataclass(frozen=True)
class Stage:
    """One stage: blur, resize, colour, noise, JPEG, in this order; what is None does not happen."""

    blur: BlurDraw | None = None
    resize: ResizeDraw | None = None
    colour: ColourDraw | None = None
    noise: NoiseDraw | None = None
    jpeg: JPEGDraw | None = None


@dataclass(frozen=True)
class Staged:
    """Stages one after the other, the first on the original's size, the others on the LR size; then the LR size.

    Args:
        stages: the last is repeated where `with_stages` asks for more.
        modes: of the resize to the LR size.
        final_sinc: probability of a sinc filter after that resize.
        swap: probability that the last stage's JPEG comes before that resize (Real-ESRGAN's is 0.5).
    """

    stages: tuple[Stage, ...] = ()
    modes: tuple[str, ...] = MODES
    final_sinc: float = 0.0
    sinc_sizes: tuple[int, int] = (7, 21)
    swap: float = 1.0

    def with_stages(self, count: int) -> "Staged":
        """The first `count` stages; the last one repeated where there are fewer."""
        last = self.stages[-1:] * max(count - len(self.stages), 0)
        return Staged(self.stages[:count] + last, self.modes, self.final_sinc, self.sinc_sizes, self.swap)

    def draw(self, rng: np.random.Generator, scale: int) -> Chain:
        """A chain whose last image is `scale` times smaller than its first."""
        steps: list[Step] = []
        compression: list[Step] = []
        for index, stage in enumerate(self.stages):
            steps += compression
            steps += stage.blur.draw(rng) if stage.blur else []
            steps += stage.resize.draw(rng, 1 / scale if index else 1.0) if stage.resize else []
            steps += stage.colour.draw(rng) if stage.colour else []
            steps += stage.noise.draw(rng) if stage.noise else []
            compression = stage.jpeg.draw(rng) if stage.jpeg else []
        end: list[Step] = [Resize(1 / scale, str(rng.choice(self.modes)))]
        if rng.random() < self.final_sinc:
            end.append(Sinc(draw_odd(rng, self.sinc_sizes), float(rng.uniform(math.pi / 3, math.pi))))
        swapped = rng.random() < self.swap
        return Chain((*steps, *compression, *end) if swapped else (*steps, *end, *compression))


@dataclass(frozen=True)
class Shuffled:
    """BSRGAN: two blurs, two reductions, noise and JPEG in random order, and a JPEG at the end.

    Its camera pipeline (RAW and back), a quarter of its images, is left out.

    Args:
        half_first: probability, at x4, of a reduction to half before all else.
        blur_aniso: probability of an anisotropic Gaussian, whose variances go up to 4 + scale; an isotropic one's
            standard deviation goes up to 2 + scale / 5.
        sizes: smallest and largest odd side of a kernel.
        resize: probability that the first reduction is a resize, by up to twice the scale; else it decimates.
        noise, jpeg, final_jpeg: as in a `Stage`.
    """

    half_first: float = 0.25
    blur_aniso: float = 0.5
    sizes: tuple[int, int] = (7, 25)
    resize: float = 0.75
    modes: tuple[str, ...] = MODES
    noise: NoiseDraw = field(default_factory=NoiseDraw)
    jpeg: JPEGDraw = field(default_factory=JPEGDraw)
    final_jpeg: JPEGDraw = field(default_factory=JPEGDraw)

    def draw(self, rng: np.random.Generator, scale: int) -> Chain:
        """A chain whose last image is `scale` times smaller than its first."""
        steps: list[Step] = []
        left, share = scale, 1.0
        if scale == 4 and rng.random() < self.half_first:
            mode = ANTIALIASED if rng.random() < 0.5 else str(rng.choice(self.modes))
            left, share = 2, 0.5
            steps.append(Resize(share, mode))
        order = list(rng.permutation(["blur", "blur", "reduce", "end", "noise", "jpeg"]))
        first, second = sorted((order.index("reduce"), order.index("end")))
        order[first], order[second] = "reduce", "end"  # the exact size comes last of the two
        for name in order:
            steps += {
                "blur": lambda: [self._blur(rng, left)],
                "reduce": lambda: [self._reduce(rng, left, share)],
                "end": lambda: [Resize(1 / scale, str(rng.choice(self.modes)))],
                "noise": lambda: self.noise.draw(rng),
                "jpeg": lambda: self.jpeg.draw(rng),
            }[name]()
        return Chain((*steps, *self.final_jpeg.draw(rng)))

    def _blur(self, rng: np.random.Generator, scale: int) -> Step:
        size = draw_odd(rng, self.sizes)
        if rng.random() < self.blur_aniso:
            sigma_x, sigma_y = np.sqrt((4 + scale) * positive_uniform(rng, 2))
            return Blur("aniso", size, float(sigma_x), float(sigma_y), float(rng.uniform(0, math.pi)))
        sigma = (2 + 0.2 * scale) * float(positive_uniform(rng, 1)[0])
        return Blur("iso", size, sigma, sigma)

    def _reduce(self, rng: np.random.Generator, scale: int, share: float) -> Step:
        if rng.random() < self.resize:
            return Resize(share / float(rng.uniform(1, 2 * scale)), str(rng.choice(self.modes)))
        return Decimate(scale, float(rng.uniform(0.1, 0.6 * scale)))


Degradation = Staged | Shuffled


def positive_uniform(rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers from (0, 1]: a standard deviation of 0 is no kernel."""
    return 1 - rng.random(count)


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
