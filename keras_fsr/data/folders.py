"""Finding, pairing, splitting and checking the images of a training set.

A data set is a folder of high-resolution images, or one of high- and one of low-resolution images with equal
names, up to the `x4` with which DIV2K ends its LR names. Only headers are read here; `patches` decodes.
"""

import os
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from keras_fsr.errors import DataError, first_line
from keras_fsr.files import read_csv, real

FORMATS = {  # Pillow's names by extension
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Pair:
    """One training image: the HR file and its LR file, or None where LR is made from HR."""

    hr: Path
    lr: Path | None = None


def list_images(folder: Path | str) -> list[Path]:
    """All images below a folder, sorted by path; hidden files and folders are left out.

    Raises:
        DataError: the folder, or one in it, does not exist or cannot be listed; or there is no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = []
    for parent, folders, names in os.walk(folder, onerror=_not_listed):
        folders[:] = [name for name in folders if name[0] != "."]
        paths = [Path(parent, name) for name in names if name[0] != "." and Path(name).suffix.lower() in FORMATS]
        # A link that leads nowhere is somebody's lost image; a pipe is none.
        found += [path for path in paths if path.is_file() or path.is_symlink()]
    if not found:
        raise DataError(f"{folder}: holds no image ({', '.join(FORMATS)})")
    return sorted(found)


def _not_listed(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")


def pair_images(hr: Path | str, lr: Path | str | None = None) -> list[Pair]:
    """Pairs HR files with the LR files of the same relative name; extensions may differ, LR may end in `x4`.

    Raises:
        DataError: an HR image has no LR partner, or the other way round; the file is named.
    """
    hr_files = list_images(hr)
    if lr is None:
        return [Pair(path) for path in hr_files]
    by_name = {path.relative_to(lr).with_suffix(""): path for path in list_images(lr)}
    plain = {name.with_name(re.sub(r"(?<=.)x\d$", "", name.name)): name for name in by_name}
    pairs = []
    for path in hr_files:
        name = path.relative_to(hr).with_suffix("")
        name = name if name in by_name else plain.get(name, name)
        if name not in by_name:
            raise DataError(f"{path}: has no partner named {name} in {lr}; add it or remove the HR image")
        pairs.append(Pair(path, by_name.pop(name)))
    if by_name:
        raise DataError(f"{next(iter(by_name.values()))}: has no HR partner in {hr}; add it or remove it")
    return pairs


def check_pairs(pairs: Sequence[Pair], scale: int, patch_size: int) -> None:
    """Reads every header and refuses the first image that cannot be trained on.

    Args:
        scale: HR side / LR side.
        patch_size: side of an LR patch in pixels; each LR image holds at least one.

    Raises:
        DataError: names the file that is corrupt, too small or of the wrong ratio.
    """
    for pair in pairs:
        width, height = image_size(pair.hr)
        smallest = patch_size * scale
        if min(width, height) < smallest:
            raise DataError(
                f"{pair.hr}: {width}x{height} is smaller than one {smallest}x{smallest} patch "
                f"(patch {patch_size} x scale {scale}); use a smaller patch or remove it"
            )
        if pair.lr is not None:
            size = image_size(pair.lr)
            if (size[0] * scale, size[1] * scale) != (width, height):
                raise DataError(
                    f"{pair.lr}: {size[0]}x{size[1]} times {scale} is not {width}x{height} of {pair.hr}; "
                    f"pairs differ by exactly the scale"
                )


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the header of an image file, turned upright as its EXIF data says.

    Raises:
        DataError: the file cannot be read as an image.
    """
    with opened(path) as image:
        # Pillow's size of a TIFF is that of the upright image; in search of EXIF data it decodes a whole PNG.
        known = image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info)
        exif = {} if known else image.getexif()
        return image.size[::-1] if exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8) else image.size


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image file of one of `FORMATS`, by its content; for some of Pillow's others it starts programs.

    Raises:
        DataError: the file cannot be opened, or whatever comes of the image where it is damaged.
    """
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as image:
            yield image
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged files
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(
            f"{path}: is damaged or cannot be read as an image ({reason}); replace or remove it"
        ) from error


def split_by_ratio(pairs: Sequence[Pair], validation: float, seed: int = 0) -> tuple[list[Pair], list[Pair]]:
    """(training, validation) pairs, shuffled by the seed; at least one image on either side.

    Raises:
        DataError: there are fewer than two images.
    """
    if len(pairs) < 2:
        raise DataError(f"{pairs[0].hr if pairs else 'data'}: one image cannot be split; add images")
    shuffled = sorted(pairs, key=lambda pair: str(pair.hr))
    random.Random(seed).shuffle(shuffled)
    count = min(max(round(len(shuffled) * validation), 1), len(shuffled) - 1)
    return shuffled[count:], shuffled[:count]


def split_by_manifest(pairs: Sequence[Pair], manifest: Path | str) -> dict[str, list[Pair]]:
    """Pairs by the `split` column of a CSV whose `file` column holds paths relative to the CSV.

    Raises:
        DataError: it is no CSV, lacks a column, or names no split for an image.
    """
    manifest = Path(manifest)
    try:
        rows, known = read_csv(manifest)
    except (OSError, ValueError) as error:
        raise DataError(f"{manifest}: cannot be read as a CSV ({error}); repair or remove it") from error
    if not {"file", "split"} <= set(known):
        raise DataError(f"{manifest}: needs the columns 'file' and 'split'")
    split_of = {real(manifest.parent / (row["file"] or "")): row["split"] for row in rows}
    splits: dict[str, list[Pair]] = {}
    for pair in pairs:
        split = split_of.get(real(pair.hr))
        if split is None:
            raise DataError(f"{pair.hr}: is not listed in {manifest}; add a row or remove the image")
        splits.setdefault(split, []).append(pair)
    return splits


def find_split(root: Path | str, split: str) -> Path | None:
    """The folder of a split ("train", "val" or "test") below a data folder, or None."""
    for name in SPLITS[split]:
        folder = Path(root) / name
        if folder.is_dir():
            return folder
    return None


def training_and_validation(
    root: Path | str, lr: Path | str | None = None, validation: float = 0.1, seed: int = 0
) -> tuple[list[Pair], list[Pair]]:
    """The training and validation pairs of a data folder, by the first rule that fits.

    1. `train` and `val` subfolders (with the same subfolders below `lr`, where LR images are given);
    2. a `manifest.csv` with the columns `file` and `split`;
    3. a random share of `validation` of all images (of `train` alone where it exists), fixed by the seed.

    Raises:
        DataError: as the functions above.
    """
    root = Path(root)
    train, val = find_split(root, "train"), find_split(root, "val")
    if train and val:
        lr_sides = [Path(lr) / side.name if lr else None for side in (train, val)]
        return pair_images(train, lr_sides[0]), pair_images(val, lr_sides[1])
    if (root / "manifest.csv").is_file():
        splits = split_by_manifest(pair_images(root, lr), root / "manifest.csv")
        if not (splits.get("train") and splits.get("val")):
            raise DataError(f"{root / 'manifest.csv'}: has no 'train' or no 'val' image that exists")
        return splits["train"], splits["val"]
    if train:  # beside it there may be a test folder, which is nobody's training data
        root, lr = train, Path(lr) / train.name if lr else None
    return split_by_ratio(pair_images(root, lr), validation, seed)
