"""Patch sampling with tf.data: image pairs in memory -> an endless stream of (LR, HR) batches.

Every random choice is drawn statelessly from (seed, index of the patch), so that (seed, step) fixes a batch:
a training can stop after any step and go on as if it had not.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from keras_fsr.data.folders import Pair, check_pairs
from keras_fsr.data.loading import cut_to_multiple, load_pairs, reduce, shrink
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DataError

CONTEXT = 8  # LR pixels


@dataclass(frozen=True)
class Flatness:
    """Refusal of flat patches: the threshold of the standard deviation and how it grows.

    A patch counts if the standard deviation of its LR intensities (0..1) passes the threshold; of `candidates`
    corners the first that does is taken, or the liveliest if none does. The threshold is `start` plus
    `increase` for every `every` steps, at most `maximum`. (ISR's curriculum; Al'naeimee and Lakizadeh's rule.)
    """

    start: float = 0.0
    increase: float = 0.0
    every: int = 1000
    maximum: float = 0.0
    candidates: int = 8

    def threshold(self, step):
        """Threshold at a step (an int or an integer tensor)."""
        steps = tf.cast(tf.cast(step, tf.int64) // self.every, tf.float32)
        return tf.minimum(self.start + self.increase * steps, max(self.maximum, self.start))


@dataclass(frozen=True)
class Augmentation:
    """Random flips and quarter turns, each on with its probability."""

    flip: float = 0.5
    flip_vertical: float = 0.0
    rotate: float = 0.5


@dataclass(frozen=True)
class Patches:
    """Batches of random patches from image pairs held in memory.

    Args:
        pairs: what `folders` found.
        scale: HR side / LR side.
        batch_size: patches a step, each from another image (as far as there are that many; reduced ones count).
        patch_size: side of an LR patch in pixels; the HR patch is `scale` times as large.
        crops_per_image: patches an epoch draws from each image.
        hr_scales: each HR image without an LR file also enters reduced by these factors (below 1), so that faces
            are seen at more sizes; sizes too small for a patch are left out.
        degrade: makes the LR of HR images without an LR file; by default they are reduced by Pillow's bicubic.
        copies: of each image that are degraded whole, at the start; they take turns. 0 degrades each patch anew,
            with its surroundings: no two are alike, but it costs time in every step.
        flatness: refusal of flat patches.
        augmentation: flips and turns.
        seed: fixes all batches.

    Raises:
        DataError: an image is corrupt, too small, unpaired or of the wrong ratio, or all do not fit in memory.
    """

    pairs: Sequence[Pair]
    scale: int
    batch_size: int = 16
    patch_size: int = 32
    crops_per_image: int = 1
    hr_scales: tuple[float, ...] = ()
    degrade: Degrader | None = None
    copies: int = 1
    flatness: Flatness = field(default_factory=Flatness)
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self):
        check_pairs(self.pairs, self.scale, self.patch_size)
        whole = self.degrade if self.copies else None
        images = load_pairs(self.pairs, self.scale, whole)
        names = [str(pair.hr) for pair in self.pairs]
        given = [pair.lr is not None for pair in self.pairs]
        for factor in self.hr_scales:
            for pair, (_, hr) in zip(self.pairs, images[: len(self.pairs)], strict=True):
                if pair.lr is None and min(hr.shape[:2]) * factor >= self.patch_size * self.scale:
                    smaller = cut_to_multiple(shrink(hr, factor), self.scale)
                    images.append((reduce(smaller, self.scale, whole, len(images)), smaller))
                    names.append(str(pair.hr))
                    given.append(False)
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_given", given)
        object.__setattr__(self, "_hr", PixelStore([hr for _, hr in images]))
        object.__setattr__(self, "_lr", [PixelStore([lr for lr, _ in images])])
        for copy in range(1, self.copies if self.degrade else 1):
            self._lr.append(PixelStore(self._copy(copy, images)))

    def _copy(self, copy: int, images) -> list[np.ndarray]:
        """Another degraded LR image of each image, or the file that was given."""
        with ThreadPoolExecutor() as pool:
            return list(
                pool.map(
                    lambda i: images[i][0] if self._given[i] else self.degrade(images[i][1], i, copy),
                    range(len(images)),
                )
            )

    @property
    def steps_per_epoch(self) -> int:
        return max(len(self._names) * self.crops_per_image // self.batch_size, 1)

    def dataset(self, first_step: int = 0, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
        """Endless batches (LR, HR), float32 in [0, 1], from a step on.

        Shapes: (batch, patch, patch, 3) and (batch, patch * scale, patch * scale, 3).

        Args:
            worker, workers: which of so many equal parts of each batch; together they are the batch, in its order.

        Raises:
            DataError: the batch has no equal parts.
        """
        if self.batch_size % workers:
            raise DataError(
                f"batch_size {self.batch_size} cannot be shared by {workers} workers; make it a multiple of {workers}"
            )
        share = self.batch_size // workers

        def sample(count):
            return self._sample(count // share * self.batch_size + worker * share + count % share)

        return (
            tf.data.Dataset.counter(first_step * share)
            .map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(share, drop_remainder=True)
            .prefetch(4)
        )

    def files(self, step: int) -> list[str]:
        """Names of the HR images behind the batch of a step, in the batch's order."""
        first = step * self.batch_size
        indices = [int(self._image_of(tf.constant(first + k, tf.int64))) for k in range(self.batch_size)]
        return [self._names[index] for index in indices]

    def _image_of(self, index):
        """Image of the index-th patch: each pass over the images is a fresh permutation."""
        count, usable = len(self._names), self._images_a_pass()
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([tf.constant(self.seed, tf.int64), index // usable])
        )
        return order[index % usable]

    def _images_a_pass(self) -> int:
        """A pass is cut to whole batches, so that no batch meets an image in two passes."""
        count = len(self._names)
        return max(count // self.batch_size * self.batch_size, min(count, self.batch_size))

    def _sample(self, index):
        """One augmented patch pair; `index` counts patches from the start of the training."""
        image = self._image_of(index)
        threshold = self.flatness.threshold(index // self.batch_size)
        y, x = self._corner(image, index, threshold)
        size = self.patch_size
        if self.degrade and not self.copies:
            lr = tf.numpy_function(self._degrade_patch, [index, image, y, x], tf.uint8, stateful=False)
            lr = tf.ensure_shape(lr, (size, size, 3))
        else:
            lr = self._lr_patch(index, image, y, x)
        hr = self._hr.crop(image, y * self.scale, x * self.scale, size * self.scale)
        lr, hr = augment(lr, hr, self.augmentation, self._seed(index, 1))
        return to_float(lr, size), to_float(hr, size * self.scale)

    def _lr_patch(self, index, image, y, x):
        """From the copy whose turn it is in this pass over the images."""
        if len(self._lr) == 1:
            return self._lr[0].crop(image, y, x, self.patch_size)
        turn = tf.cast(index // self._images_a_pass() % len(self._lr), tf.int32)
        crops = [lambda store=store: store.crop(image, y, x, self.patch_size) for store in self._lr]
        return tf.switch_case(turn, crops)

    def _degrade_patch(self, index, image, y, x) -> np.ndarray:
        """An LR patch made of HR pixels and up to CONTEXT LR pixels around them, which filters and JPEG see, too.

        The surroundings are larger on one side than on the other, so that the blocks of JPEG lie anywhere.
        """
        if self._given[image]:
            return self._lr[0].view(image)[y : y + self.patch_size, x : x + self.patch_size]
        hr = self._hr.view(image)
        shift = np.random.default_rng([self.seed, 2, index]).integers(2 * CONTEXT + 1, size=2)
        window, inside = [], []
        for corner, before, side in zip((y, x), shift, hr.shape[:2], strict=True):
            first = max(corner - before, 0)
            last = min(corner - before + self.patch_size + 2 * CONTEXT, side // self.scale)
            window.append(slice(first * self.scale, last * self.scale))
            inside.append(slice(corner - first, corner - first + self.patch_size))
        return self.degrade(hr[tuple(window)], index)[tuple(inside)]

    def _corner(self, image, index, threshold):
        """LR corner (y, x): the first candidate that passes the flatness threshold, else the liveliest."""
        count = self.flatness.candidates if max(self.flatness.maximum, self.flatness.start) > 0 else 1
        lr = self._lr[0]
        limits = lr.sizes(image) - self.patch_size + 1
        draws = tf.random.stateless_uniform((count, 2), self._seed(index, 0))
        corners = tf.cast(draws * tf.cast(limits, tf.float32), tf.int32)
        corners = tf.minimum(corners, limits - 1)
        if count == 1:
            return corners[0, 0], corners[0, 1]
        deviations = tf.map_fn(
            lambda corner: tf.math.reduce_std(
                tf.cast(lr.crop(image, corner[0], corner[1], self.patch_size), tf.float32) / 255.0
            ),
            corners,
            fn_output_signature=tf.float32,
        )
        passed = deviations >= threshold
        chosen = tf.where(
            tf.reduce_any(passed),
            tf.argmax(tf.cast(passed, tf.int32), output_type=tf.int32),
            tf.argmax(deviations, output_type=tf.int32),
        )
        return corners[chosen, 0], corners[chosen, 1]

    def _seed(self, index, purpose: int):
        """Two integers for a stateless draw; purposes of one patch never share a seed."""
        return tf.stack([tf.constant(self.seed, tf.int64), tf.cast(index, tf.int64) * 2 + purpose])


class PixelStore:
    """Images of different sizes as one flat uint8 tensor, cropped by gathering just the patch's pixels."""

    def __init__(self, images: Sequence[np.ndarray]):
        areas = [image.shape[0] * image.shape[1] for image in images]
        flat = np.concatenate([image.reshape(-1, 3) for image in images])
        self._offsets = tf.constant(np.cumsum([0, *areas[:-1]]), tf.int64)
        self._sizes = tf.constant([image.shape[:2] for image in images], tf.int32)
        self._flat = tf.constant(flat)
        self._views = np.split(self._flat.numpy(), np.cumsum(areas[:-1]))
        self._views = [view.reshape(image.shape) for view, image in zip(self._views, images, strict=True)]

    def view(self, image: int) -> np.ndarray:
        """The (H, W, 3) uint8 pixels of an image, in NumPy; read alone."""
        return self._views[image]

    def sizes(self, image):
        """(height, width) of an image, int32."""
        return self._sizes[image]

    def crop(self, image, y, x, size: int):
        """(size, size, 3) uint8 patch with its upper left corner at (y, x)."""
        width = tf.cast(self._sizes[image, 1], tf.int64)
        rows = (tf.cast(y, tf.int64) + tf.range(size, dtype=tf.int64)) * width
        columns = tf.cast(x, tf.int64) + tf.range(size, dtype=tf.int64)
        patch = tf.gather(self._flat, self._offsets[image] + rows[:, None] + columns[None, :])
        return tf.ensure_shape(patch, (size, size, 3))


def augment(lr, hr, augmentation: Augmentation, seed):
    """The same random flips and quarter turns on both patches of a pair."""
    draws = tf.random.stateless_uniform((3,), seed)
    turns = tf.random.stateless_uniform((), seed + 1, 0, 4, tf.int32)

    def apply(patch):
        patch = tf.cond(draws[0] < augmentation.flip, lambda: patch[:, ::-1], lambda: patch)
        patch = tf.cond(draws[1] < augmentation.flip_vertical, lambda: patch[::-1], lambda: patch)
        return tf.cond(draws[2] < augmentation.rotate, lambda: tf.image.rot90(patch, turns), lambda: patch)

    return apply(lr), apply(hr)


def to_float(patch, size: int):
    """uint8 0..255 -> float32 0..1, with the static shape that turning by a random angle loses."""
    return tf.ensure_shape(tf.cast(patch, tf.float32) / 255.0, (size, size, 3))
