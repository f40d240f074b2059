"""Whole images for validation, as a tf.data stream of one pair at a time."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_fsr.data.folders import Pair, image_size
from keras_fsr.data.loading import load_pairs
from keras_fsr.degradations.second_order import Degrader


def smallest_pairs(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """The `count` pairs of least area, in their own order; all of them where count is 0."""
    if not count or count >= len(pairs):
        return list(pairs)
    areas = [np.prod(image_size(pair.hr)) for pair in pairs]
    chosen = np.sort(np.argsort(areas, kind="stable")[:count])
    return [pairs[i] for i in chosen]


def whole_images(pairs: Sequence[Pair], scale: int, degrade: Degrader | None = None) -> tf.data.Dataset:
    """Batches of one image: LR (1, H, W, 3) and HR (1, H * scale, W * scale, 3), float32 in [0, 1].

    Images are cut to sides that every generator takes: RRDB unshuffles by 4 at x1 and by 2 at x2.
    """
    images = [cut(lr, hr, scale) for lr, hr in load_pairs(pairs, scale, degrade)]

    def generate():
        for lr, hr in images:
            yield lr[None], hr[None]

    spec = tf.TensorSpec((1, None, None, 3), tf.uint8)
    stream = tf.data.Dataset.from_generator(generate, output_signature=(spec, spec))
    stream = stream.apply(tf.data.experimental.assert_cardinality(len(images)))
    return stream.map(lambda lr, hr: (tf.cast(lr, tf.float32) / 255.0, tf.cast(hr, tf.float32) / 255.0))


def cut(lr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """A pair without the last rows and columns that exceed a multiple of 4 / scale LR pixels."""
    multiple = max(4 // scale, 1)
    height, width = (side // multiple * multiple for side in lr.shape[:2])
    return lr[:height, :width], hr[: height * scale, : width * scale]
