"""The learned degradation in use: what some pairs of pictures show is done to other pictures."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_fsr import pretrained
from keras_fsr.archives import load_keras, load_npz
from keras_fsr.degradations.classical import Chain, draw_seed
from keras_fsr.degradations.learned.engine import NOISE_CHANNELS, SynNetEngine, convert
from keras_fsr.degradations.limits import MAX_SIDE, require, require_between, require_whole
from keras_fsr.errors import DataError, ModelError, first_line
from keras_fsr.files import whole_file

NETWORK = "degradation_x4"  # the shipped one
MULTIPLE = 8  # of LR pixels, that SynNet's halvings divide


@dataclass(frozen=True)
class Learned:
    """A step of a chain that a trained SynNet takes: one degradation, with one draw of its noise.

    Args:
        network: shipped degradation model, or the path of a `.keras` file.
        scale: HQ side / LQ side.
        omega: the degradation.
        seed: of the noise; None leaves the noise out.
    """

    network: str
    scale: int
    omega: tuple[float, ...]
    seed: int | None

    def __post_init__(self):
        require(isinstance(self.network, str), f"network {self.network!r} is no name")
        require_whole("scale", self.scale, 1, MAX_SIDE)
        require(len(self.omega) > 0, "omega is empty")
        for value in self.omega:
            require_between("omega", value, -1e6, 1e6)
        if self.seed is not None:
            require_whole("seed", self.seed, 0, math.inf)

    def __call__(self, image: np.ndarray, original: tuple[int, int]) -> np.ndarray:
        height, width = (side // self.scale for side in image.shape[:2])
        if min(height, width) < 1:
            raise DataError(f"an image of {image.shape[1]}x{image.shape[0]} is smaller than {self.scale} pixels")
        padded = mirrored(image[: height * self.scale, : width * self.scale], MULTIPLE * self.scale)
        noise = np.zeros((padded.shape[0] // self.scale, padded.shape[1] // self.scale, NOISE_CHANNELS), np.float32)
        if self.seed is not None:
            noise = np.random.default_rng(self.seed).standard_normal(noise.shape, np.float32)
        lq = load_engine(self.network)(padded, np.array(self.omega, np.float32), noise)
        return np.clip(lq[:height, :width], 0, 1)


class LearnedDegradation:
    """A camera: the Omegas of its pictures, and the network that they belong to.

    Args:
        omegas: (n, size) or (size,).
        network: shipped degradation model, or the path of a `.keras` file.
        scale: the network's.

    Raises:
        DataError: the Omegas are not finite vectors, or the scale is below 1.

    Example:
        camera = fit_degradation([(hq, lq), ...])  # (H, W, 3) and (H / 4, W / 4, 3) uint8
        lr = camera.apply(other_hq, seed=1)
        camera.save("phone.npz")
    """

    def __init__(self, omegas: np.ndarray | Sequence[float], network: str | Path = NETWORK, scale: int = 4):
        self.omegas = np.atleast_2d(np.asarray(omegas, np.float32))
        self.network = str(network)
        self.scale = int(scale)
        if self.omegas.ndim != 2 or not self.omegas.size or not np.isfinite(self.omegas).all():
            raise DataError(f"Omegas of shape {self.omegas.shape}: give finite vectors, (n, size)")
        if self.scale < 1:
            raise DataError(f"scale {scale} of a learned degradation is not at least 1")

    def chain(self, index: int | None = None, seed: int | None = 0) -> Chain:
        """The chain of one Omega, or of their mean."""
        omega = self.omegas.mean(axis=0) if index is None else self.omegas[index]
        return Chain((Learned(self.network, self.scale, tuple(map(float, omega)), seed),))

    def apply(self, hq: np.ndarray, seed: int | None = 0) -> np.ndarray:
        """The camera's mean degradation: (H, W, 3) uint8 -> (H / scale, W / scale, 3) uint8.

        Args:
            seed: of the noise, another for each picture; None gives the expected image, without noise.
        """
        return self.chain(seed=seed)(hq)

    def draw(self, rng: np.random.Generator, scale: int) -> Chain:
        """The chain of one of the Omegas with fresh noise, as every `Degradation` draws.

        Raises:
            DataError: the network has another scale.
        """
        if self.scale != scale:
            raise DataError(f"{self.network}: degrades by {self.scale}, not by {scale}; train one for that scale")
        return self.chain(int(rng.integers(len(self.omegas))), draw_seed(rng))

    def save(self, path: Path | str) -> None:
        """Writes the Omegas and the name of the network as a small `.npz`."""
        # Open: of a path without .npz NumPy would write another.
        with whole_file(Path(path)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, omegas=self.omegas, network=self.network, scale=self.scale)

    @classmethod
    def load(cls, path: Path | str) -> "LearnedDegradation":
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is missing or something else, or the network that it names is missing.
        """
        try:
            with load_npz(path) as file:
                camera = cls(file["omegas"], _text(file["network"]), int(file["scale"]))
            for index in range(len(camera.omegas)):
                camera.chain(index)
            if not pretrained.find(camera.network, ".keras").is_file():
                raise ModelError(f"{camera.network}: no such model file")
            if not pretrained.is_file(camera.network) and pretrained.card(camera.network).scale != camera.scale:
                raise ModelError(f"{camera.network}: degrades by another scale than {camera.scale}")
            return camera
        except Exception as error:  # NumPy raises whatever its zip reader and Python's own parser raise
            reason = f"{first_line(error)}); give one that fit-degradation wrote"
            raise ModelError(f"{path}: is no file of a learned degradation ({reason}") from None


def _text(array: np.ndarray) -> str:
    """The text in an array. ValueError for letters that there are not, on which Python breaks down later."""
    return array.astype("<U").tobytes().decode("utf-32-le").rstrip("\0")


def fit_degradation(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], network: str | Path = NETWORK
) -> LearnedDegradation:
    """The degradation that pairs of one camera have in common; one pair is enough, more are steadier.

    Args:
        pairs: HQ (H, W, 3) and LQ (H / scale, W / scale, 3), uint8, which show the same; LQ sides of 8 at least.
        network: shipped degradation model, or the path of a `.keras` file.

    Returns:
        The camera, with an Omega of each pair.

    Raises:
        DataError: no pairs, or sizes that do not fit.
    """
    if not pairs:
        raise DataError("no pairs to learn a degradation from; give at least one")
    degnet = load_network(str(network)).degnet
    scale = degnet.config["scale"]
    omegas = []
    for number, (hq, lq) in enumerate(pairs, start=1):
        if hq.shape[:2] != (lq.shape[0] * scale, lq.shape[1] * scale) or min(lq.shape[:2]) < MULTIPLE:
            raise DataError(
                f"pair {number}: {hq.shape[1]}x{hq.shape[0]} and {lq.shape[1]}x{lq.shape[0]} do not fit; HQ is "
                f"{scale} times as large as LQ, whose sides have {MULTIPLE} pixels at least"
            )
        height, width = (side // MULTIPLE * MULTIPLE for side in lq.shape[:2])
        images = hq[: height * scale, : width * scale], lq[:height, :width]
        omegas.append(np.asarray(degnet([image[None].astype(np.float32) / 255 for image in images]))[0])
    return LearnedDegradation(np.stack(omegas), network, scale)


@functools.lru_cache(maxsize=4)
def load_network(name: str) -> Any:
    """The `DegradationTransfer` of a shipped name or a `.keras` file; imports Keras.

    Raises:
        ModelError: there is none, or it is another network.
    """
    from keras_fsr.degradations.learned.network import DegradationTransfer

    path = pretrained.find(name, ".keras")
    network = load_keras(path)
    if not isinstance(network, DegradationTransfer):
        raise ModelError(f"{path}: holds no DegNet and SynNet; give a trained degradation")
    return network


@functools.lru_cache(maxsize=4)
def load_engine(name: str) -> SynNetEngine:
    """What runs the SynNet of a shipped name, without TensorFlow, or of a `.keras` file, which it converts first."""
    if pretrained.is_file(name):
        return SynNetEngine(convert(load_network(name).synnet), name)
    return SynNetEngine(pretrained.weights(name).read_bytes(), name)


def mirrored(image: np.ndarray, multiple: int) -> np.ndarray:
    """An image continued to the right and below until its sides are multiples."""
    room = [(0, -side % multiple) for side in image.shape[:2]]
    return np.pad(image, (*room, (0, 0)), mode="symmetric") if any(after for _, after in room) else image
