"""The Predictor: a model by name or file, applied to arrays, files and folders."""

import copy
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from keras_fsr import __version__, pretrained
from keras_fsr.errors import ImageError
from keras_fsr.files import real
from keras_fsr.inference import tiles
from keras_fsr.inference.engines import Engine, load_engine
from keras_fsr.inference.folder_runs import FolderReport, upscale_folder
from keras_fsr.inference.images import (
    MAX_PIXELS,
    Picture,
    check_output,
    read_image,
    upscale_picture,
    write_image,
)
from keras_fsr.inference.interpolation import load_interpolated
from keras_fsr.inference.parallel import Pool

Progress = Callable[[int, int], None]
TILES_AT_ONCE, FILES_AT_ONCE = 2, 4  # by copies of the network; those of large tiles take half a gigabyte each
LARGE = 1_000_000  # pixels; of larger images several threads enlarge one at a time
MIN_SIDE = 4  # pixels; less holds nothing that could be enlarged


class Predictor:
    """Enlarges images with a shipped model or a model file.

    Args:
        model: name of a shipped model, or path of a `.tflite` or `.keras` file.
        tile: side in pixels of the part that is enlarged at once, None for the whole image.
            A file made for one image size limits it.
        overlap: pixels that neighbouring tiles share. With a float model the tiled result equals the whole
            within 1/255. The shipped `.tflite` quantizes activations by the range of what it is given, so
            there tiles and whole differ by rounding noise (0.2 levels on average, 5 at most).
        ensemble: average the eight flips and turns of each tile: a little sharper, eight times slower.
        threads: CPU threads, all by default (LiteRT).
        max_pixels: larger inputs are refused before they are decoded.
        strength: from 0 to 1, draws a perceptual model towards the fidelity model that it was tuned from: 0 is the
            fidelity model, 1 the perceptual one. None takes the model as it is.
        fidelity: that fidelity model, by name or file; not needed with a shipped perceptual model.
        tag: write into files that they are AI-enhanced, and by which model (`write_image`).

    Raises:
        FSRError: a strength that is not from 0 to 1, or a fidelity model without one.
        ModelError: no such model, a file that is none, or a strength where no fidelity model of the same
            architecture is known.

    Example:
        Predictor("face_x4").predict("face.jpg", "face_x4.png")
    """

    def __init__(
        self,
        model: str | Path = "face_x4",
        tile: int | None = 256,
        overlap: int = 32,
        ensemble: bool = False,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
        strength: float | None = None,
        fidelity: str | Path | None = None,
        tag: bool = True,
    ):
        if strength is None and fidelity is None:
            self.engine = load_engine(pretrained.find(model), threads)
        else:
            self.engine = load_interpolated(model, strength, fidelity, threads)
        self.tile, self.overlap = tile, overlap
        if self.engine.size:
            self.tile, self.overlap = tiles.fitted(min(self.engine.size), tile, overlap)
        self.ensemble = ensemble
        self.network = SelfEnsemble(self.engine) if ensemble else self.engine
        self.max_pixels = max_pixels
        self.label = label_of(model, strength, fidelity, ensemble, pretrained.digest(pretrained.find(model)))
        self.tag = f"keras_fsr {__version__}: AI-enhanced, {self.scale} times, by {self.label}" if tag else ""
        self._one_large = nullcontext()

    @property
    def scale(self) -> int:
        """Enlargement of each side."""
        return self.engine.scale

    @property
    def workers(self) -> int:
        """How many threads keep a `shared` Predictor busy."""
        # With a single copy one of them still reads and writes while another waits for the network.
        return max(min(self.engine.threads, FILES_AT_ONCE), 2)

    def shared(self) -> "Predictor":
        """A Predictor that several threads may call; each call takes a copy of the network with fewer threads.

        Of images above a million pixels one is done at a time, for the sake of memory.
        """
        shared = copy.copy(self)
        shared.network = shared._copies = self._pooled(FILES_AT_ONCE)
        shared._one_large = threading.Lock()
        return shared

    def predict(
        self,
        image: np.ndarray | str | Path,
        out: str | Path | None = None,
        progress: Progress | None = None,
    ):
        """Enlarges an array, a file or a folder of files.

        Args:
            image: (H, W, 3) uint8 or uint16 RGB array; or a file; or a folder, with its subfolders.
            out: for a file, the file to write; for a folder, the folder to write files of the same names into.
            progress: called with (tiles done, tiles in all), or for a folder (files done, files in all).

        Returns:
            For an array, or a file without `out`: the (H * scale, W * scale, 3) array of the same dtype.
            For a file with `out`: its path. For a folder: a `FolderReport`.

        Raises:
            DataError: the folder holds no image and no video.
            ImageError: the file cannot be read, or the image in it is under 4 pixels a side.
            OutputError: the output cannot be written.
                In a folder run bad files are reported instead, and the others done.
        """
        if isinstance(image, np.ndarray):
            return self._enlarge(image, progress)
        path = Path(image)
        if path.is_dir():
            return self._predict_folder(path, out, progress)
        if out is None:
            return self._enlarge_picture(self._read(path), progress).pixels
        out = Path(out)
        if real(out) == real(path):
            raise ImageError(f"{out}: is the input itself; choose another output")
        picture = self._read(path)
        # Before the work, not after it.
        check_output(out, picture.width * self.scale, picture.height * self.scale, picture.transparent)
        with self._one_large if picture.height * picture.width > LARGE else nullcontext():
            write_image(out, self._enlarge_picture(picture, progress))
        return out

    def _read(self, path: Path) -> Picture:
        picture = read_image(path, max_pixels=self.max_pixels)
        if min(picture.height, picture.width) < MIN_SIDE:
            raise ImageError(
                f"{path}: is {picture.width}x{picture.height} pixels, too small to enlarge; "
                f"at least {MIN_SIDE} a side are needed"
            )
        return picture

    def _enlarge_picture(self, picture: Picture, progress: Progress | None) -> Picture:
        enlarged = upscale_picture(picture, lambda pixels: self._enlarge(pixels, progress), self.scale)
        return replace(enlarged, tag=self.tag)

    def _predict_folder(self, folder: Path, out: str | Path | None, progress: Progress | None) -> FolderReport:
        if out is None:
            raise ImageError(f"{folder}: is a folder; name the folder to write to")
        return upscale_folder(self, folder, out, progress)

    def _enlarge(self, pixels: np.ndarray, progress: Progress | None) -> np.ndarray:
        if tiles.count_tiles(*pixels.shape[:2], self.tile, self.overlap) == 1:
            return tiles.upscale(pixels, self.network, self.scale, self.tile, self.overlap, progress)
        return tiles.upscale(
            pixels, self._copies, self.scale, self.tile, self.overlap, progress, workers=TILES_AT_ONCE
        )

    @cached_property
    def _copies(self) -> "Pool | SelfEnsemble":
        """The network in two copies, which are faster together than one with all threads."""
        return self._pooled(TILES_AT_ONCE)

    def _pooled(self, most: int) -> "Pool | SelfEnsemble":
        pool = Pool(self.engine.copies(most))
        return SelfEnsemble(pool) if self.ensemble else pool


def label_of(
    model: str | Path, strength: float | None, fidelity: str | Path | None, ensemble: bool, sha256: str
) -> str:
    """What tells results of different pixels apart, e.g. "face_x4_gan@0.5:0123456789ab"; it is written into them."""
    mixed = "" if strength is None else f"@{strength:g}"
    other = "" if fidelity is None else f"+{Path(fidelity).name}"
    label = f"{Path(model).name}{mixed}{other}{'+ensemble' if ensemble else ''}:{sha256[:12]}"
    return label.encode(errors="replace").decode()  # names of files need not be text


class SelfEnsemble:
    """Mean of a network's answers to the eight flips and quarter turns of its input.

    Source: Timofte et al., "Seven ways to improve example-based single image super resolution" (2016).
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        self.scale = engine.scale

    def __call__(self, image: np.ndarray) -> np.ndarray:
        total = None
        for turns in (0, 2, 1, 3):  # equal shapes next to each other: an engine plans anew for each shape
            for flip in (False, True):
                turned = np.rot90(image[:, ::-1] if flip else image, turns)
                answer = np.rot90(self.engine(np.ascontiguousarray(turned)), -turns)
                answer = answer[:, ::-1] if flip else answer
                total = answer.copy() if total is None else total + answer
        return total / np.float32(8)
