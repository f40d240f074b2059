"""Random chains of degradations: n stages in order, or BSRGAN's shuffled steps; presets of both as YAML.

Sources: Wang et al., "Real-ESRGAN" (2021), section 3 and the authors' training options; Zhang et al., "Designing a
Practical Degradation Model" (BSRGAN, 2021), section 3; Wang et al., "GFPGAN" (2021), section 4.1.

A preset draws `Chain`s. All that is random comes from the generator that it is given, so a seed fixes a chain, and a
chain fixes the pixels.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from keras_fsr.degradations.classical import ANTIALIASED, Blur, Chain, Decimate, Resize, Sinc, Step
from keras_fsr.degradations.draws import (
    MODES,
    BlurDraw,
    ColourDraw,
    JPEGDraw,
    NoiseDraw,
    ResizeDraw,
    draw_odd,
    require_modes,
)
from keras_fsr.degradations.limits import MIN_SIGMA

MAX_STAGES = 4


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

    def __post_init__(self):
        require_modes(self.modes)

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

    def __post_init__(self):
        require_modes(self.modes)

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
            sigma_x, sigma_y = np.sqrt((4 + scale) * above_zero(rng, 2))
            return Blur("aniso", size, float(sigma_x), float(sigma_y), float(rng.uniform(0, math.pi)))
        sigma = (2 + 0.2 * scale) * float(above_zero(rng, 1)[0])
        return Blur("iso", size, sigma, sigma)

    def _reduce(self, rng: np.random.Generator, scale: int, share: float) -> Step:
        if rng.random() < self.resize:
            return Resize(share / float(rng.uniform(1, 2 * scale)), str(rng.choice(self.modes)))
        return Decimate(scale, float(rng.uniform(0.1, 0.6 * scale)))


class Degradation(Protocol):
    """What draws chains."""

    def draw(self, rng: np.random.Generator, scale: int) -> Chain: ...


@dataclass(frozen=True)
class Mixture:
    """Several degradations, each with its share of the draws."""

    parts: tuple[tuple[float, Degradation], ...]

    def draw(self, rng: np.random.Generator, scale: int) -> Chain:
        """A chain of one of them."""
        shares = np.array([share for share, _ in self.parts])
        return self.parts[rng.choice(len(shares), p=shares / shares.sum())][1].draw(rng, scale)


@dataclass(frozen=True)
class Degrader:
    """Makes the LR image of an index: always the same one for the same index.

    Args:
        degradation: where the chains come from.
        scale: HR side / LR side.
        seed: of all chains.
    """

    degradation: Degradation
    scale: int
    seed: int = 0

    def chain(self, *index: int) -> Chain:
        """The chain of an index, which is one number or several, none below 0."""
        # The count keeps (1,) and (1, 0) apart: NumPy continues short seeds with zeros.
        return self.degradation.draw(np.random.default_rng([self.seed, len(index), *index]), self.scale)

    def __call__(self, hr: np.ndarray, *index: int) -> np.ndarray:
        """(H, W, 3) uint8, sides that are multiples of the scale -> (H / scale, W / scale, 3) uint8."""
        return self.chain(*index)(hr)


def above_zero(rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers from 0 to 1, but not quite 0: a standard deviation of 0 is no kernel."""
    return np.maximum(rng.random(count), MIN_SIGMA)
