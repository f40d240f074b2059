"""Identity: how much of who it is survives super-resolution, as the distance between descriptors of a face.

A descriptor is a network that maps images of one person near each other and those of different people apart. Here it
is dlib's (King 2017, `dlib_face_recognition_resnet_model_v1`: 128 numbers; two images nearer than 0.6 are declared to
show one person, which is right for 99.13 % of the pairs of LFW, and for 99.38 % averaged over 100 jittered copies,
which is not done here), or any other that is called with an image.

On 73 faces of 256 pixels JPEG of quality 90 is at 0.03 from its original, bicubic x4 at 0.26, another person at 0.85
in the mean. That descriptor tells some people apart less well than others: 1.6 % of the pairs of different people are
nearer than 0.6 (1.3 % of those of real, 6.9 % of those of generated people), the six nearest all of dark-skinned men.
So `tar_at_far` takes its threshold from the set itself; compare figures of the same images only.

NumPy only until a `DlibDescriptor` is made; that needs dlib and face_recognition_models.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_fsr.errors import DataError, ModelError, first_line

THRESHOLD = 0.6  # King 2017
FAR = 1e-2

Descriptor = Callable[..., Sequence[float] | np.ndarray | None]
"""Image ``(H, W, 3)`` uint8 RGB -> its vector ``(K,)``, or None where it shows no face.

One with a method ``find(original)`` finds the face apart, None where there is none; what was found is then handed to
the call as ``face``, for the original and for whatever was made of it.
"""


class DlibDescriptor:
    """128 numbers for the largest face of an image.

    The face and its five landmarks, by which it is turned upright and cut out, are found in the original and serve
    for all that was made of it. So every method is measured on the same pixels, and none depends on the detector's
    luck or has what it distorts straightened. Landmarks predicted in each image anew, within the same rectangle, add
    their own jitter: JPEG of quality 90 is then at 0.06 instead of 0.03, bicubic x4 at 0.261 instead of 0.260. In
    return they forgive a shift: one pixel down and to the right of 256 is at 0.05 with them and at 0.10 here.

    Five landmarks, not 68, as in dlib's example: the model of the 68 must not be used commercially, and changes the
    mean distance of no method by more than 0.003.

    Raises:
        ModuleNotFoundError: dlib or face_recognition_models is missing.
        ModelError: the latter is damaged.
        DataError: an image is not ``(H, W, 3)`` uint8.
    """

    def __init__(self):
        import dlib

        folder = _models_folder("face_recognition_models")
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = _load(dlib.shape_predictor, folder / "shape_predictor_5_face_landmarks.dat")
        self._network = _load(dlib.face_recognition_model_v1, folder / "dlib_face_recognition_resnet_model_v1.dat")

    def find(self, image: np.ndarray) -> Any:
        """The largest frontal face with its landmarks, for `__call__`; None if there is none.

        Looks in the image as it is (for faces from 80 pixels), and only if there is none in one twice as large.
        """
        image = _checked(image)
        faces = self._detect(image, 0) or self._detect(image, 1)
        return self._landmarks(image, max(faces, key=lambda face: face.area())) if faces else None

    def __call__(self, image: np.ndarray, face: Any = None) -> np.ndarray | None:
        """Describes a face.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            face: of `find`, in an image of the same size; by default the one that is found in this image.

        Returns:
            (128,) float64, or None if no face was found.
        """
        image = _checked(image)
        face = self.find(image) if face is None else face
        return None if face is None else np.array(self._network.compute_face_descriptor(image, face))


class Identity:
    """Distance between the descriptors of an original and of an enlarged image.

    Keeps the last original's face and descriptor, since several models are measured on one original in sequence.

    Args:
        descriptor: by default a `DlibDescriptor`, whose errors are raised. Make a network of cosine embeddings give
            vectors of length 1: a cosine c is then the distance sqrt(2 - 2 c).
        threshold: of this descriptor, the distance below which a pair is declared one person; `summarize` takes it.
    """

    def __init__(self, descriptor: Descriptor | None = None, threshold: float = THRESHOLD):
        self.threshold = threshold
        self._descriptor = DlibDescriptor() if descriptor is None else descriptor
        self._hr = self._describe = self._original = None

    def __call__(self, hr: np.ndarray, sr: np.ndarray) -> float:
        """The distance; NaN where the original shows no face. Arguments and errors as of `describe`."""
        pair = self.describe(hr, sr)
        return math.nan if pair is None else distance(*pair)

    def describe(self, hr: np.ndarray, sr: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The descriptors of both, for `summarize`; None where the original shows no face.

        Args:
            hr, sr: the original and the enlarged image, both ``(H, W, 3)`` uint8 RGB.

        Raises:
            DataError: other images, a descriptor that gives no finite vector, or one that finds a face in the
                original and none in the enlarged image.
        """
        hr, sr = _checked(hr), _checked(sr)
        if hr.shape != sr.shape:
            raise DataError(f"cannot compare faces of shapes {hr.shape} and {sr.shape}; bring them to one size")
        if not np.array_equal(hr, self._hr):
            self._describe, self._original = self._look_at(hr)
            self._hr = hr.copy()
        if self._original is None:
            return None
        enlarged = _vector(self._describe(sr))
        if enlarged is None:
            raise DataError(
                "the descriptor finds no face in the enlarged image; give it a method find, so that it looks where "
                "the original's is"
            )
        return self._original, enlarged

    def _look_at(self, hr: np.ndarray) -> tuple[Descriptor, np.ndarray | None]:
        """What describes this face, and its own description."""
        if not hasattr(self._descriptor, "find"):
            return self._descriptor, _vector(self._descriptor(hr))
        face = self._descriptor.find(hr)
        describe = partial(self._descriptor, face=face)
        return describe, None if face is None else _vector(describe(hr))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Euclidean distance of two descriptors (K,).

    Raises:
        DataError: they differ in length.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise DataError(f"cannot compare descriptors of shapes {a.shape} and {b.shape}; take both by one network")
    return float(np.linalg.norm(a - b))


def worst_mean(distances: Sequence[float]) -> float:
    """Mean of the largest 5 % of the distances, one at least; NaN do not count, NaN without others."""
    known = np.sort(_known(distances))
    return float(known[-max(1, known.size // 20) :].mean()) if known.size else math.nan


def verification_accuracy(distances: Sequence[float], threshold: float = THRESHOLD) -> float:
    """Share of pairs that are declared one person, being below the threshold; NaN as in `worst_mean`."""
    known = _known(distances)
    return float(np.mean(known < threshold)) if known.size else math.nan


def impostor_distances(originals: np.ndarray, enlarged: np.ndarray, identities: Sequence[str | float]) -> np.ndarray:
    """Distances of each enlarged image to the originals of all other people.

    Args:
        originals, enlarged: (N, K) descriptors, those of one image in the same row of both.
        identities: N names of who it is.

    Returns:
        (M,), enlarged image by enlarged image; N (N - 1) where all are different people.

    Raises:
        DataError: the shapes do not fit.
    """
    originals, enlarged = np.asarray(originals, np.float64), np.asarray(enlarged, np.float64)
    if originals.ndim != 2 or originals.shape != enlarged.shape or len(originals) != len(identities):
        raise DataError(
            f"descriptors of shapes {originals.shape} and {enlarged.shape} for {len(identities)} identities; "
            "give a row of each for every image"
        )
    names = np.array(list(identities))
    products = np.einsum("ik,jk->ij", enlarged, originals)  # BLAS' threads cost more than they save in a bootstrap
    squares = np.sum(enlarged**2, axis=1)[:, None] + np.sum(originals**2, axis=1) - 2 * products
    return np.sqrt(np.maximum(squares, 0))[names[:, None] != names]


def tar_at_far(genuine: Sequence[float], impostor: Sequence[float], far: float = FAR) -> float:
    """True accept rate: share of genuine pairs below the largest threshold that so few impostor pairs pass.

    Of M impostor pairs the nearest floor(far M) may pass; the threshold is the next distance. Those equal to it, be
    they of impostor or genuine pairs, do not pass.

    Args:
        genuine: distances of the pairs of original and enlarged image.
        impostor: of `impostor_distances`. NaN in either were not measured and do not count.
        far: false accept rate, between 0 and 1.

    Returns:
        0 to 1; NaN without genuine pairs.

    Raises:
        DataError: another rate, or fewer impostor pairs than 1 / far.
    """
    nearest = np.sort(_known(impostor))
    passing = _passing(nearest.size, far)
    if not passing:
        raise DataError(
            f"{nearest.size} impostor pairs cannot show a false accept rate of {far:g}; "
            f"give at least {math.ceil(1 / far - 1e-9)}, or a higher rate"
        )
    return verification_accuracy(genuine, nearest[passing])


def summarize(
    pairs: Sequence[tuple[np.ndarray, np.ndarray] | None],
    identities: Sequence[str | float] | None = None,
    threshold: float = THRESHOLD,
    far: float = FAR,
) -> dict[str, float]:
    """The figures of a set of images, NaN where there is nothing to take them of.

    Args:
        pairs: of `Identity.describe`, one for each image; None does not count.
        identities: who it is on each; by default all are different people.
        threshold: the descriptor's.
        far: false accept rate.

    Returns:
        ``identity``, the mean distance; ``identity_worst`` of `worst_mean`; ``verified`` of `verification_accuracy`;
        ``tar`` of `tar_at_far`, NaN where there are fewer impostor pairs than 1 / far.

    Raises:
        DataError: numbers of pairs and identities differ, or the rate is impossible.
    """
    identities = range(len(pairs)) if identities is None else identities
    if len(identities) != len(pairs):
        raise DataError(f"{len(pairs)} images and {len(identities)} identities; give one for each image")
    known = [(*pair, name) for pair, name in zip(pairs, identities, strict=True) if pair is not None]
    if not known:
        return dict.fromkeys(("identity", "identity_worst", "verified", "tar"), math.nan)
    originals, enlarged, names = zip(*known, strict=True)
    genuine = [distance(a, b) for a, b in zip(originals, enlarged, strict=True)]
    impostor = impostor_distances(originals, enlarged, names)
    return {
        "identity": float(np.mean(genuine)),
        "identity_worst": worst_mean(genuine),
        "verified": verification_accuracy(genuine, threshold),
        "tar": tar_at_far(genuine, impostor, far) if _passing(len(impostor), far) else math.nan,
    }


def _models_folder(package: str) -> Path:
    """Looked up without importing the package: that needs pkg_resources, which setuptools 81 dropped."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    return Path(spec.submodule_search_locations[0]) / "models"


def _load(make: Callable[[str], Any], path: Path) -> Any:
    """A model of dlib's, which says what is wrong with its file in several lines."""
    try:
        return make(str(path))
    except RuntimeError as error:
        raise ModelError(f"{path}: dlib cannot read it ({first_line(error)}); reinstall its package") from error


def _checked(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"cannot look for a face in {image.dtype} of shape {image.shape}; give (H, W, 3) uint8 RGB")
    return np.ascontiguousarray(image)  # in any other dlib finds nothing


def _vector(values: Sequence[float] | np.ndarray | None) -> np.ndarray | None:
    """What a descriptor gave, in float64."""
    if values is None:
        return None
    vector = np.asarray(values, np.float64)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise DataError(f"a descriptor gave {vector.shape} numbers, not all finite or no vector; it must give (K,)")
    return vector


def _passing(count: int, far: float) -> int:
    """How many of so many impostor pairs may pass."""
    if not 0 < far < 1:
        raise DataError(f"a false accept rate of {far:g} is not possible; give one between 0 and 1")
    return math.floor(far * count + 1e-9)  # 0.29 * 100 is 28.999...


def _known(distances: Sequence[float]) -> np.ndarray:
    distances = np.asarray(distances, np.float64)
    return distances[~np.isnan(distances)]
