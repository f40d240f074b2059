"""Images for an export: patches to measure ranges on, pairs to compare with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_fsr.data.folders import Pair, check_pairs, find_split, pair_images, training_and_validation
from keras_fsr.data.loading import cut_to_multiple, load_pair, reduce
from keras_fsr.errors import DataError

SIDE = 48  # LR pixels of a calibration patch
FEWEST, MOST = 32, 256  # calibration patches
COMPARED = 64  # LR pixels of an image that is compared with; smaller ones are taken whole
IMAGES = 24  # that are compared


def read_folder(folder: Path | str, lr: Path | str | None, trained: bool) -> tuple[list[Pair], list[Pair]]:
    """The pairs to learn from, and those to compare with, which are others if the folder knows any.

    Args:
        folder: HR images, or a folder with the subfolders `train` and `val`; `test` is never touched.
        lr: folder of the LR images of the same names; else HR is reduced as in training.
        trained: the first are trained on, so that the others must differ.

    Raises:
        DataError: a folder without images, with unpaired ones, or with too few of them.
    """
    if trained or (find_split(folder, "train") and find_split(folder, "val")):
        return training_and_validation(folder, lr)
    pairs = pair_images(folder, lr)
    return pairs, pairs


def calibration_patches(pairs: Sequence[Pair], scale: int) -> np.ndarray:
    """(N, 48, 48, 3) uint8 patches of LR images, 32 to 256 of them, from as many images as possible.

    Raises:
        DataError: an image is damaged, or there are fewer than 32 patches.
    """
    each = -(-MOST // len(pairs))
    patches = []
    for pair in spread(pairs, MOST):
        patches += grid(load_pair(pair, scale)[0])[:each]
    if len(patches) < FEWEST:
        raise DataError(
            f"{pairs[0].hr.parent}: has {len(patches)} calibration patches of {SIDE}x{SIDE} LR pixels, {FEWEST} are "
            f"needed; add images or larger ones"
        )
    return np.stack(patches[:MOST])


def grid(lr: np.ndarray) -> list[np.ndarray]:
    """The whole patches of an image that lie side by side in its middle."""
    rows, columns = (range(side % SIDE // 2, side - SIDE + 1, SIDE) for side in lr.shape[:2])
    return [lr[y : y + SIDE, x : x + SIDE] for y in rows for x in columns]


def compared_pairs(pairs: Sequence[Pair], scale: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(LR, HR) uint8 of the middles of up to 24 images.

    Raises:
        DataError: an image is damaged, too small or of the wrong ratio.
    """
    chosen = spread(pairs, IMAGES)
    check_pairs(chosen, scale, patch_size=16)
    return [middle(*load_pair(pair, scale), scale) for pair in chosen]


def portrait_pairs(scale: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(LR, HR) uint8 of the 64x64 LR pixels around the head of scikit-image's astronaut (NASA, public domain)."""
    from skimage.data import astronaut  # comes with the extra `demo`

    hr = cut_to_multiple(astronaut(), scale)
    side = min(COMPARED * scale, hr.shape[0])
    hr = np.ascontiguousarray(hr[:side, (512 - side) // 2 // scale * scale :][:, :side])
    return [(reduce(hr, scale), hr)]


def middle(lr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """The same middle of both, COMPARED LR pixels a side at most."""
    top, left = (max(0, side - COMPARED) // 2 for side in lr.shape[:2])
    lr = lr[top : top + COMPARED, left : left + COMPARED]
    height, width = (side * scale for side in lr.shape[:2])
    return lr, hr[top * scale :, left * scale :][:height, :width]


def spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Up to `count` pairs, evenly from the whole sequence."""
    return [pairs[i * len(pairs) // min(count, len(pairs))] for i in range(min(count, len(pairs)))]
