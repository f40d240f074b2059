"""Photos with faces in them: the faces by a model for faces, the rest by another one or by interpolation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from keras_fsr.errors import FSRError, ModelError
from keras_fsr.inference.detection import Detector, Face, find_detector
from keras_fsr.inference.images import Picture, upscale_picture
from keras_fsr.inference.pasting import COLOUR, Region, mask_of, paste, region_of
from keras_fsr.inference.predictor import Predictor, Progress

BICUBIC = "bicubic"
CONTEXT = 16  # pixels around a face's region that the network sees as well


@dataclass(frozen=True, eq=False)
class Sighting:
    """A picture file that was done: the files, the picture before and after, and the faces in it (before)."""

    source: Path
    target: Path
    before: Picture
    after: Picture
    faces: list[Face]


class FacePredictor(Predictor):
    """Enlarges pictures whose faces it finds, each by the model and pasted into the background without a seam.

    Takes and gives what `Predictor` does. Where no face is found, the whole picture is enlarged by the background's
    model, or by the face model where there is none: interpolation is not what one asks a model for.

    Args:
        model: for the faces, as of `Predictor`.
        background: for the rest: "bicubic", or a model of the same scale by name or file.
        detector: "haar", "yunet", YuNet's file, or any `Detector`.
        margin: how far around a face's box nothing but the model's pixels are shown, in sizes of the face.
        feather: across how much more they fade into the background.
        watch: is called with every picture file that was found to be fit and has been written.
        **options: of `Predictor`. `strength` and `fidelity` are the face model's alone, the others of both.

    Raises:
        FSRError: an unknown detector, a margin below 0, or a feather that is not above 0.
        ModelError: as of `Predictor` and the detectors, or a background of another scale.

    Example:
        FacePredictor("face_x4_real", detector="haar").predict("photo.jpg", "photo_x4.jpg")
    """

    workers = 1  # what it has seen of a picture is told before the next

    def __init__(
        self,
        model: str | Path = "face_x4",
        background: str | Path = BICUBIC,
        detector: str | Path | Detector = "haar",
        margin: float = 0.25,
        feather: float = 0.35,
        watch: Callable[[Sighting], None] | None = None,
        **options,
    ):
        if not (margin >= 0 and feather > 0):
            raise FSRError(f"margin is {margin} and feather {feather}; give at least 0 and more than 0")
        super().__init__(model, **options)
        self.detector = detector if callable(detector) else find_detector(detector)
        self.background = None
        if background != BICUBIC:
            self.background = Predictor(background, **options | {"strength": None, "fidelity": None})
            if self.background.scale != self.scale:
                raise ModelError(
                    f"{background}: enlarges {self.background.scale} times, the model for faces {self.scale} times; "
                    "give models of one scale"
                )
        if self.tag:
            self.tag += f" for faces, {self.background.label if self.background else background} for the rest"
        self.margin, self.feather, self.watch = margin, feather, watch

    def find(self, pixels: np.ndarray) -> list[Face]:
        """The faces in (H, W, 3) uint8 or uint16 RGB, left to right; of each at least a part is in the picture."""
        faces = self.detector(Picture(pixels).to_8bit().pixels)
        faces = [face for face in faces if face.side > 0 and not region_of(face, 0, pixels.shape).empty]
        return sorted(faces, key=lambda face: (face.left, face.top))

    def enlarge(self, pixels: np.ndarray, faces: Sequence[Face], progress: Progress | None = None) -> np.ndarray:
        """Enlarges a picture with the faces that are known to be in it; with none, all of it is background.

        Args:
            pixels: (H, W, 3) uint8 or uint16 RGB.
            faces: of `find`, or moved a little; where two overlap, the later lies above.
            progress: called with (parts done, parts in all): tiles of the background, and faces.

        Returns:
            (H * scale, W * scale, 3) of the same dtype. Outside the faces' masks it is the background's, bit by bit.
        """
        parts = 0  # of the background

        def show(done: int, total: int) -> None:
            nonlocal parts
            parts = total
            if progress:
                progress(done, total + len(faces))

        if self.background is None:
            enlarged = self._bicubic(pixels)
            show(1, 1)
        else:
            enlarged = self.background._enlarge(pixels, show)
        for done, face in enumerate(faces, start=1):
            self._paste(enlarged, pixels, face)
            if progress:
                progress(parts + done, parts + len(faces))
        return enlarged

    def region(self, face: Face, shape: tuple[int, ...]) -> Region:
        """The part of a picture (H, W, ...) in which a face's mask is not 0."""
        return region_of(face, self.margin + self.feather, shape)

    def mask(self, face: Face, shape: tuple[int, ...]) -> np.ndarray:
        """(h * scale, w * scale) float32 weights, 0 to 1, of a face's enlarged region."""
        return mask_of(face, self.region(face, shape), self.scale, self.margin, self.feather)

    def cut_out(self, picture: Picture, face: Face) -> Picture:
        """A face's region of a picture, enlarged by the face model; without EXIF, which is the whole picture's."""
        region = self.region(face, picture.pixels.shape)
        wide = region.grown(CONTEXT, picture.pixels.shape)
        part = _cropped(replace(picture, exif=None), wide)
        enlarged = upscale_picture(part, lambda pixels: super(FacePredictor, self)._enlarge(pixels, None), self.scale)
        return _cropped(replace(enlarged, tag=self.tag), region.within(wide).scaled(self.scale))

    def predict(
        self,
        image: np.ndarray | str | Path,
        out: str | Path | None = None,
        progress: Progress | None = None,
    ):
        """As `Predictor.predict`; then tells `watch` of a file that was written."""
        self._seen = None
        answer = super().predict(image, out, progress)
        seen, self._seen = self._seen, None  # large
        if self.watch and seen and isinstance(answer, Path):
            self.watch(Sighting(Path(image), answer, *seen))
        return answer

    def _enlarge_picture(self, picture: Picture, progress: Progress | None) -> Picture:
        faces = []

        def enlarge(pixels: np.ndarray) -> np.ndarray:
            faces.extend(self.find(pixels))
            return self._enlarge_with(pixels, faces, progress)

        result = replace(upscale_picture(picture, enlarge, self.scale), tag=self.tag)
        if self.watch:
            self._seen = picture, result, faces
        return result

    def _enlarge(self, pixels: np.ndarray, progress: Progress | None) -> np.ndarray:
        return self._enlarge_with(pixels, self.find(pixels), progress)

    def _enlarge_with(self, pixels: np.ndarray, faces: list[Face], progress: Progress | None) -> np.ndarray:
        if faces or self.background:
            return self.enlarge(pixels, faces, progress)
        return super()._enlarge(pixels, progress)

    def _bicubic(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        size = (width * self.scale, height * self.scale)
        return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)

    def _paste(self, enlarged: np.ndarray, pixels: np.ndarray, face: Face) -> None:
        region = self.region(face, pixels.shape)
        if region.empty:
            return
        wide = region.grown(CONTEXT, pixels.shape)
        part = super()._enlarge(pixels[wide.slices], None)
        part = part[region.within(wide).scaled(self.scale).slices]
        sigma = COLOUR * face.side * self.scale
        paste(enlarged, part, region.scaled(self.scale), self.mask(face, pixels.shape), sigma)


def _cropped(picture: Picture, region: Region) -> Picture:
    alpha = None if picture.alpha is None else picture.alpha[region.slices]
    return replace(picture, pixels=picture.pixels[region.slices], alpha=alpha)
