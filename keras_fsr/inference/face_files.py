"""What else is made of faces in a photo: their crops, a picture that shows what was found, a check of identity."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from keras_fsr.data.folders import list_images
from keras_fsr.errors import OutputError
from keras_fsr.files import make_folder
from keras_fsr.inference.detection import Face
from keras_fsr.inference.faces import FacePredictor, Sighting
from keras_fsr.inference.folder_runs import CONTINUABLE, FolderReport, describe
from keras_fsr.inference.images import Picture, read_image, write_image
from keras_fsr.inference.inputs import Bar
from keras_fsr.metrics.identity import Identity

COLOUR = (0, 255, 0)  # of boxes


def write_crops(
    predictor: FacePredictor, inputs: Sequence[Path], folder: Path, bar: Bar, tell: Callable[[Path], None]
) -> FolderReport:
    """Writes the faces in images and folders of them, enlarged, and nothing else of the pictures.

    The faces of PHOTO.jpg become PHOTO_face1.png, PHOTO_face2.png ... from left to right; those of images in a
    folder's subfolders go to subfolders of the same names.

    Args:
        predictor: what finds and enlarges.
        inputs: files and folders; a single file that cannot be done raises, of several the others are done.
        folder: where to; made where it is missing.
        bar: shows progress, in pictures.
        tell: is called with each file that was written.

    Returns:
        What was written and what failed; a note on every picture without a face.

    Raises:
        OutputError: the folder cannot be made.
        DataError: a folder among the inputs holds no image.
    """
    report, targets = FolderReport(), {}
    make_folder(folder)
    for given in inputs:
        paths = list_images(given) if given.is_dir() else [given]
        with bar(given.name) as progress:
            for done, path in enumerate(paths, start=1):
                place = folder / path.relative_to(given).parent if given.is_dir() else folder
                try:
                    crops = _crop(predictor, path, place / path.stem, targets)
                except CONTINUABLE as error:
                    if len(inputs) == 1 and not given.is_dir():
                        raise
                    report.failed.append((path, describe(path, error)))
                    continue
                finally:
                    if progress:
                        progress(done, len(paths))
                report.written += crops
                for crop in crops:
                    tell(crop)
                if not crops:
                    report.notes.append(f"{path}: no face found")
    return report


def _crop(predictor: FacePredictor, path: Path, stem: Path, targets: dict[Path, Path]) -> list[Path]:
    """Writes the faces of a picture. targets: stem -> the picture whose faces already have it."""
    picture = read_image(path, predictor.max_pixels)
    faces, written = predictor.find(picture.pixels), []
    if faces and targets.setdefault(stem, path) != path:
        raise OutputError(f"{path}: its faces would overwrite those of {targets[stem]}; rename one")
    for number, face in enumerate(faces, start=1):
        target = make_folder(stem.parent) / f"{stem.name}_face{number}.png"
        write_image(target, predictor.cut_out(picture, face))
        written.append(target)
    return written


def write_annotated(sighting: Sighting, scale: int) -> Path:
    """Writes the result once more, with a numbered box around every face: OUT_faces.png beside OUT.png.

    Raises:
        OutputError: it cannot be written.
    """
    target = sighting.target.with_name(f"{sighting.target.stem}_faces{sighting.target.suffix}")
    write_image(target, annotated(sighting.after, [face.placed(scale) for face in sighting.faces]))
    return target


def annotated(picture: Picture, faces: Sequence[Face]) -> Picture:
    """A picture of 8 bits, opaque and in colour, with a box and a number for each of the faces in it."""
    pixels = picture.to_8bit().pixels.copy()
    unit = max(pixels.shape) / 1000  # seen on a screen as a whole, lines stay visible
    thickness = max(2, round(unit))
    letters = max(0.6, unit)  # OpenCV's are about 22 pixels high at 1
    for number, face in enumerate(faces, start=1):
        left, top, right, bottom = map(round, (face.left, face.top, face.left + face.width, face.top + face.height))
        cv2.rectangle(pixels, (left, top), (right, bottom), COLOUR, thickness)
        above, below = top - 2 * thickness, bottom + 2 * thickness + round(22 * letters)
        place = (left, above if above > 22 * letters else below)
        cv2.putText(pixels, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, letters, COLOUR, thickness, cv2.LINE_AA)
    return replace(picture, pixels=pixels, alpha=None, gray=False)


class IdentityCheck:
    """How far each face's descriptor has moved from that of the same face enlarged by interpolation.

    Args:
        predictor: what enlarged.
        identity: of `keras_fsr.metrics.identity`; by default dlib's descriptor.

    Raises:
        ModuleNotFoundError: the extra `identity` is not installed.
    """

    def __init__(self, predictor: FacePredictor, identity: Identity | None = None):
        self.predictor = predictor
        self.identity = identity or Identity()

    @property
    def threshold(self) -> float:
        """Distance from which on two faces are declared to be of different people."""
        return self.identity.threshold

    def __call__(self, sighting: Sighting) -> list[float]:
        """The distance of every face; NaN where the interpolated face is not recognised as one."""
        before, after = sighting.before.to_8bit().pixels, sighting.after.to_8bit().pixels
        return [self._distance(before, after, face) for face in sighting.faces]

    def _distance(self, before: np.ndarray, after: np.ndarray, face: Face) -> float:
        region = self.predictor.region(face, before.shape)
        made = after[region.scaled(self.predictor.scale).slices]
        plain = cv2.resize(before[region.slices], made.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        return self.identity(plain, np.ascontiguousarray(made))
