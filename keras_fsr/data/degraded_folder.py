"""LR sets: a folder of images degraded into another, with a record of how from which each is made again."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from keras_fsr.data.folders import list_images
from keras_fsr.data.loading import cut_to_multiple, decode
from keras_fsr.degradations.classical import Chain
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DataError, OutputError
from keras_fsr.files import make_folder, read_text, real, whole_file

RECORDS = "degradations.jsonl"
LARGEST_RECORDS = 1_000_000_000  # bytes


@dataclass
class DegradedFolder:
    """What was written, what failed and why, and the file of records."""

    records: Path
    written: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)


def degrade_folder(
    folder: Path | str,
    out: Path | str,
    degrade: Degrader,
    model: str,
    progress: Callable[[int, int], None] | None = None,
) -> DegradedFolder:
    """Degrades every image of a folder; the tree is kept, results are PNG files.

    The chain of an image hangs on the seed and its name alone: images that are added or removed change no other.
    A file that cannot be read is told in the result; the others are still done.

    Args:
        folder: HR images; those whose sides are no multiples of the scale are cut.
        out: gets the LR images and RECORDS, one JSON line an image with every parameter.
        degrade: what draws the chains.
        model: name of the degradation, for the records.
        progress: called with (images done, images in all).

    Raises:
        DataError: no such folder, no images, or two whose results would have one name.
        OutputError: the output folder cannot be written, or is the input.
    """
    folder, out = Path(folder), Path(out)
    jobs = []
    for file in list_images(folder):
        name = file.relative_to(folder)
        chain = degrade.chain(number_of(name))
        record = {"file": name.as_posix(), "lr": name.with_suffix(".png").as_posix()}
        record |= {"model": model, "scale": degrade.scale, "seed": degrade.seed, "steps": chain.to_json()}
        jobs.append((record, chain))
    return run(folder, out, jobs, progress)


def replay_folder(
    folder: Path | str, out: Path | str, records: Path | str, progress: Callable[[int, int], None] | None = None
) -> DegradedFolder:
    """Makes the images of a file of records again, to the pixel, from the same HR images.

    Raises:
        DataError: the file is no such file; and what `degrade_folder` raises.
    """
    return run(Path(folder), Path(out), list(read_records(Path(records))), progress)


def read_records(path: Path) -> Iterator[tuple[dict, Chain]]:
    """The lines of a file of records, each with its chain."""
    try:
        lines = read_text(path, LARGEST_RECORDS).splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give the {RECORDS} of a degraded folder") from None
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            for key in ("file", "lr"):
                if Path(record[key]).is_absolute() or ".." in Path(record[key]).parts:
                    raise ValueError(f"{key} leads out of the folder")
            if type(record["scale"]) is not int or record["scale"] < 1:
                raise ValueError(f"scale {record['scale']!r} is no whole number of at least 1")
            if Path(record["lr"]).suffix != ".png":
                raise ValueError(f"{record['lr']!r} is no .png file")
            yield record, Chain.from_json(record["steps"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DataError) as error:
            raise DataError(f"{path}, line {number}: is no record of a degradation ({error}); remove it") from None


def run(
    folder: Path, out: Path, jobs: list[tuple[dict, Chain]], progress: Callable[[int, int], None] | None
) -> DegradedFolder:
    """Degrades files of a folder by a chain each, and writes what was done."""
    if real(out).is_relative_to(real(folder)):
        raise OutputError(f"{out}: is in the folder of the originals, whose images it would join; give another")
    targets = set()
    for record, _ in jobs:
        if record["lr"] in targets:
            raise DataError(f"{folder / record['file']}: another image would also become {record['lr']}; rename one")
        targets.add(record["lr"])
    make_folder(out)
    report = DegradedFolder(out / RECORDS)
    done = []
    for number, (record, chain) in enumerate(jobs, start=1):
        file, target = folder / record["file"], out / record["lr"]
        try:
            lr = chain(load_hr(file, record["scale"]))
        except DataError as error:
            report.failed.append((file, str(error)))
        else:
            make_folder(target.parent)
            with whole_file(target) as temporary:
                Image.fromarray(lr).save(temporary)
            report.written.append(target)
            done.append(record)
        if progress:
            progress(number, len(jobs))
    with whole_file(report.records) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in done), encoding="utf-8")
    return report


def load_hr(file: Path, scale: int) -> np.ndarray:
    """The pixels of a file, cut to a multiple of the scale."""
    hr = decode(file)
    if min(hr.shape[:2]) < scale:
        raise DataError(f"{file}: {hr.shape[1]}x{hr.shape[0]} is smaller than the scale {scale}; remove it")
    return cut_to_multiple(hr, scale)


def number_of(name: Path) -> int:
    """A number that stands for a file name, the same on every machine."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name.as_posix())).digest()[:7])
