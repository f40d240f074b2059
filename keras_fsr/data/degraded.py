"""Pictures of hidden cameras: several HQ images with one unknown degradation each group, for DegNet and SynNet.

As in `patches`, (seed, step) fixes a batch, so that a training can stop after any step and go on.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_fsr.data.loading import decode
from keras_fsr.degradations.classical import Chain
from keras_fsr.degradations.second_order import Degradation
from keras_fsr.errors import DataError

GRID = 8  # LR pixels: JPEG's blocks, and what the networks' halvings divide


@dataclass(frozen=True)
class Camera:
    """One hidden degradation and some pictures that it took.

    Attributes:
        chain: how; nothing that learns may look at it.
        hq, lq: (n, size * scale, size * scale, 3) and (n, size, size, 3) uint8.
        files: the image behind each picture.
    """

    chain: Chain
    hq: np.ndarray
    lq: np.ndarray
    files: tuple[Path, ...]


def take_pictures(
    degradation: Degradation,
    files: Sequence[Path],
    index: int,
    scale: int,
    size: int = 64,
    count: int = 2,
    seed: int = 0,
) -> Camera:
    """The `index`-th hidden camera of a seed, and its pictures of `count` different images.

    Args:
        files: HQ images, as large as `size * scale` at least; a window of that size is taken anywhere in each.

    Raises:
        DataError: there are fewer images than pictures, or one is too small or damaged.
    """
    if len(files) < count:
        raise DataError(f"{count} pictures a camera need as many images, there are {len(files)}; add images")
    rng = np.random.default_rng([seed, index])
    chain = degradation.draw(rng, scale)
    chosen = [files[i] for i in rng.choice(len(files), count, replace=False)]
    hq = np.stack([window(decode(file), size * scale, rng, file) for file in chosen])
    lq = np.stack([chain.reseeded(int(rng.integers(2**53)))(image) for image in hq])
    return Camera(chain, hq, lq, tuple(chosen))


def window(image: np.ndarray, side: int, rng: np.random.Generator, name) -> np.ndarray:
    """A square of an image, anywhere in it."""
    room = np.array(image.shape[:2]) - side
    if room.min() < 0:
        raise DataError(f"{name}: {image.shape[1]}x{image.shape[0]} is smaller than {side}x{side}; remove it")
    y, x = rng.integers(room + 1)
    return image[y : y + side, x : x + side]


class SameDegradation:
    """Batches of two pictures each of as many hidden cameras, which are made once and held in memory.

    Args:
        degradation: draws the hidden cameras.
        files: HQ images.
        cameras, pictures: how many, and pictures of each (12 KB each at size 64, HQ 16 times that).
        patch_size: side of an LR patch, a multiple of 8; its corner lies on a multiple of 8 in its picture, which
            keeps the blocks of JPEG where they are.
    """

    def __init__(
        self,
        degradation: Degradation,
        files: Sequence[Path],
        scale: int = 4,
        cameras: int = 4000,
        pictures: int = 3,
        size: int = 64,
        patch_size: int = 48,
        batch_size: int = 16,
        seed: int = 0,
    ):
        for name, side in (("size", size), ("patch_size", patch_size)):
            if side % GRID or side < GRID:
                raise DataError(f"{name} {side} is not a multiple of {GRID}")
        if patch_size > size or pictures < 2 or cameras < batch_size:
            raise DataError(
                f"patches of {patch_size} in pictures of {size}, {pictures} pictures a camera, {cameras} cameras for "
                f"batches of {batch_size}: patches fit into pictures, two or more a camera, a camera for each patch"
            )
        with ThreadPoolExecutor() as pool:
            self.cameras = list(
                pool.map(
                    lambda index: take_pictures(degradation, files, index, scale, size, pictures, seed),
                    range(cameras),
                )
            )
        self.scale, self.size, self.patch_size, self.batch_size, self.seed = scale, size, patch_size, batch_size, seed

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """HQ and LQ of one picture, HQ and LQ of another of the same camera, each (batch, ...) uint8."""
        rng = np.random.default_rng([self.seed, 1, step])
        rows = [self._patches(self.cameras[c], rng) for c in rng.choice(len(self.cameras), self.batch_size, False)]
        return tuple(np.stack(column) for column in zip(*rows, strict=True))

    def _patches(self, camera: Camera, rng: np.random.Generator) -> list[np.ndarray]:
        patches = []
        for picture in rng.choice(len(camera.lq), 2, replace=False):
            y, x = rng.integers((self.size - self.patch_size) // GRID + 1, size=2) * GRID
            high = (
                slice(y * self.scale, (y + self.patch_size) * self.scale),
                slice(x * self.scale, (x + self.patch_size) * self.scale),
            )
            patches += [
                camera.hq[picture][high],
                camera.lq[picture][y : y + self.patch_size, x : x + self.patch_size],
            ]
        return patches

    def dataset(self, first_step: int = 0) -> tf.data.Dataset:
        """Endless batches as of `batch`, float32 in [0, 1], from a step on."""
        small = (self.batch_size, self.patch_size, self.patch_size, 3)
        large = (self.batch_size, self.patch_size * self.scale, self.patch_size * self.scale, 3)

        def make(step):
            images = tf.numpy_function(lambda step: self.batch(int(step)), [step], [tf.uint8] * 4)
            return tuple(
                tf.cast(tf.ensure_shape(image, shape), tf.float32) / 255
                for image, shape in zip(images, (large, small) * 2, strict=True)
            )

        return tf.data.Dataset.counter(first_step).map(make, num_parallel_calls=2, deterministic=True).prefetch(2)
