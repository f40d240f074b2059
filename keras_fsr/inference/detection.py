"""Faces in photos: where they are, by OpenCV's cascade, by YuNet, or by any function of yours.

A detector is any callable: (H, W, 3) uint8 RGB -> sequence of `Face`. Both detectors here search an enlarged picture,
since what is worth enlarging are small faces; `docs/faces.md` says how many of them they find.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from keras_fsr.errors import FSRError, ModelError, first_line
from keras_fsr.inference.yunet_weights import find_yunet

ENLARGED = 3.0  # times that a picture is enlarged for the search
MAX_SEARCHED = 20_000_000  # pixels beyond which it is enlarged less, or not at all
SAME = 0.6  # share of the smaller of two boxes within the larger from which on they are one face


@dataclass(frozen=True)
class Face:
    """A face by its upright box, in pixels from the picture's upper left corner.

    left, top, width, height: of the box, which may reach out of the picture.
    score: how sure the detector is, on its own scale; larger is surer.
    landmarks: five points (x, y): the person's right eye and left eye, the tip of the nose, the right and left corner
        of the mouth; None where the detector gives none.
    """

    left: float
    top: float
    width: float
    height: float
    score: float = 1.0
    landmarks: tuple[tuple[float, float], ...] | None = None

    @property
    def side(self) -> float:
        """The face's size in pixels: the geometric mean of width and height."""
        return math.sqrt(self.width * self.height)

    def placed(self, scale: float, left: float = 0.0, top: float = 0.0) -> "Face":
        """The same face in a picture `scale` times as large, at whose (left, top) this one then lies."""
        box = (self.left * scale + left, self.top * scale + top, self.width * scale, self.height * scale)
        marks = self.landmarks and tuple((x * scale + left, y * scale + top) for x, y in self.landmarks)
        return Face(*box, self.score, marks)


Detector = Callable[[np.ndarray], Sequence[Face]]
"""(H, W, 3) uint8 RGB -> its faces."""


class HaarDetector:
    """Frontal faces by the cascade `haarcascade_frontalface_alt`, which comes with OpenCV 4. Its boxes are square.

    Source: Viola and Jones, "Rapid object detection using a boosted cascade of simple features" (2001). Of OpenCV's
    frontal cascades it is the one with the fewest false alarms at equal recall; they and the number of neighbours
    were chosen on faces for validation.

    Args:
        neighbours: how many overlapping hits make a face, which is its score; fewer find more, not all of it faces.
        enlarged: times that the picture is enlarged, at most: faces are found from 20 pixels in what is searched.
            The time grows with its square.

    Raises:
        ModelError: this OpenCV has no cascades.
    """

    STEP = 1.1  # from one size of faces to the next

    def __init__(self, neighbours: int = 10, enlarged: float = ENLARGED):
        if not hasattr(cv2, "CascadeClassifier"):
            raise ModelError(
                f"OpenCV {cv2.__version__} has no Haar cascades; install opencv-python-headless below 5, "
                "or find faces with yunet (--detector yunet)"
            )
        path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise ModelError(f"{path}: cannot be read; install opencv-python-headless again")
        self.neighbours, self.enlarged = neighbours, enlarged

    def __call__(self, pixels: np.ndarray) -> list[Face]:
        """(H, W, 3) uint8 RGB -> faces, the surest first."""
        gray = cv2.cvtColor(_checked(pixels), cv2.COLOR_RGB2GRAY)
        factor = enlargement(gray.shape, self.enlarged)
        boxes, counts = self._cascade.detectMultiScale2(_resized(gray, factor), self.STEP, self.neighbours)
        faces = [Face(*map(float, box), float(n)) for box, n in zip(boxes, counts, strict=True)]
        return merged(face.placed(1 / factor) for face in faces)


class YuNetDetector:
    """Faces with five landmarks by YuNet, a network. Its boxes reach from the forehead to the chin.

    Source: Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector" (2023).

    Args:
        path: its `.onnx` file; by default that of `keras_fsr.inference.yunet_weights.find_yunet`.
        threshold: score from which on it is a face, 0 to 1.
        enlarged: as of `HaarDetector`; faces are found from 10 pixels in what is searched.

    Raises:
        ModelError: no such file, or one that OpenCV does not take for YuNet.
    """

    TILE, SHARED = 2048, 384  # pixels a side that are searched at once, and that neighbours share: a face at least
    REDUCED = 4.0  # from one size of the picture to the next: faces of 10 to 400 pixels are found in each
    LEAST = 64  # pixels a side to which narrow pictures are continued: at 32 OpenCV 4.14 gives random faces
    LAST = 640  # pixels of the longer side at which all of a picture can be one face
    NEIGHBOURING, MOST = 0.3, 5000  # overlap from which on hits are one face, and how many hits are looked at

    def __init__(self, path: Path | str | None = None, threshold: float = 0.8, enlarged: float = ENLARGED):
        self.path = Path(path or find_yunet())
        if not self.path.is_file():
            raise ModelError(f"{self.path}: does not exist; give YuNet's .onnx file, haar or yunet")
        self._content = np.frombuffer(self.path.read_bytes(), np.uint8)  # OpenCV crashes on names that are no text
        self.threshold, self.enlarged = threshold, enlarged
        self._search(np.zeros((self.LEAST, self.LEAST, 3), np.uint8))

    def __call__(self, pixels: np.ndarray) -> list[Face]:
        """(H, W, 3) uint8 RGB -> faces, the surest first."""
        bgr = cv2.cvtColor(_checked(pixels), cv2.COLOR_RGB2BGR)
        factor, faces = enlargement(bgr.shape, self.enlarged), []
        while True:
            sized = _resized(bgr, factor)
            faces += [face.placed(1 / factor) for face in self._search_tiles(sized)]
            if max(sized.shape) <= self.LAST:
                return merged(faces)
            factor /= self.REDUCED

    def _search_tiles(self, bgr: np.ndarray) -> Iterator[Face]:
        rows, columns = (_starts(side, self.TILE, self.SHARED) for side in bgr.shape[:2])
        for top in rows:
            for left in columns:
                part = bgr[top : top + self.TILE, left : left + self.TILE]
                for face in self._search(part):
                    yield face.placed(1, left, top)

    def _search(self, bgr: np.ndarray) -> list[Face]:
        below, right = (max(0, self.LEAST - side) for side in bgr.shape[:2])
        bgr = cv2.copyMakeBorder(bgr, 0, below, 0, right, cv2.BORDER_REPLICATE)
        size = bgr.shape[1::-1]
        try:
            network = cv2.FaceDetectorYN.create(
                "onnx", self._content, np.empty(0, np.uint8), size, self.threshold, self.NEIGHBOURING, self.MOST
            )
            rows = network.detect(bgr)[1]
        except cv2.error as error:
            raise ModelError(f"{self.path}: is no face detector YuNet ({first_line(error)})") from None
        if rows is None:
            return []
        # A network of other weights may say anything.
        return [_face_of(row) for row in rows.tolist() if np.isfinite(row).all() and min(row[2:4]) > 0]


def find_detector(detector: str | Path) -> Detector:
    """A detector that is named: "haar", "yunet", or YuNet's `.onnx` file.

    Raises:
        FSRError: another name.
        ModelError: as of `HaarDetector` and `YuNetDetector`.
    """
    if detector == "haar":
        return HaarDetector()
    if detector == "yunet":
        return YuNetDetector()
    if Path(detector).suffix.lower() != ".onnx":
        raise FSRError(f"{detector}: no such face detector; give haar, yunet or YuNet's .onnx file")
    return YuNetDetector(detector)


def enlargement(shape: Sequence[int], most: float = ENLARGED) -> float:
    """How many times a picture (H, W, ...) is enlarged for the search: `most`, or down to 1 where it is large."""
    return max(1.0, min(most, math.sqrt(MAX_SEARCHED / (shape[0] * shape[1]))))


def merged(faces: Iterator[Face] | Sequence[Face]) -> list[Face]:
    """The faces, the surest first, without those that mostly lie in one that is surer or hold it."""
    kept = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_shared(face, other) < SAME for other in kept):
            kept.append(face)
    return kept


def _shared(a: Face, b: Face) -> float:
    """Share of the smaller box that lies in the larger."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    return max(width, 0.0) * max(height, 0.0) / min(a.width * a.height, b.width * b.height)


def _checked(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise FSRError(f"cannot look for faces in {pixels.dtype} of shape {pixels.shape}; give (H, W, 3) uint8 RGB")
    return pixels


def _resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    if factor == 1:
        return pixels
    size = [max(1, round(side * factor)) for side in pixels.shape[1::-1]]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)


def _starts(side: int, tile: int, shared: int) -> list[int]:
    """Where tiles along a side begin, spread evenly."""
    count = 1 + max(0, -(-(side - tile) // (tile - shared)))
    return [k * (side - tile) // (count - 1) for k in range(count)] if count > 1 else [0]


def _face_of(row: Sequence[float]) -> Face:
    """Of YuNet's 15 numbers: box, landmarks, score."""
    return Face(*row[:4], row[14], tuple(zip(row[4:14:2], row[5:14:2], strict=True)))
