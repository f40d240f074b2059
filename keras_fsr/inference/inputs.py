"""Several files and folders in one run, each to its own place: what `keras-fsr upscale` does."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from keras_fsr.errors import OutputError
from keras_fsr.files import make_folder, real
from keras_fsr.inference.folder_runs import (
    CONTINUABLE,
    Enlarger,
    FolderReport,
    describe,
    is_done,
    upscale_file,
    upscale_folder,
)
from keras_fsr.inference.video import Progress

Bar = Callable[[str], AbstractContextManager[Progress | None]]
"""Name of a file or folder -> what shows the progress on it."""


def upscale_inputs(
    predictor: Enlarger,
    inputs: Sequence[Path],
    out: Path | None,
    bar: Bar,
    tell: Callable[[Path], None],
    resume: bool = False,
) -> FolderReport:
    """Enlarges image and video files and folders of them.

    Args:
        predictor: what enlarges.
        inputs: files and folders; a single one that cannot be done raises, of several the others are done.
        out: where to, by the rules of `output_for`.
        bar: shows progress.
        tell: is called with each file that was written for a file.
        resume: leave out what has a result that is not older than its input.

    Returns:
        What was written or left out, and what failed and why.
    """
    single = len(inputs) == 1
    report = FolderReport()
    targets, sources = set(), {real(path) for path in inputs}
    for path in inputs:
        try:
            target = output_for(path, out, predictor.scale, single)
            if real(target) in targets:
                raise OutputError(f"{path}: would overwrite {target}, the result of another input; rename one")
            if real(target) in sources - {real(path)}:
                raise OutputError(f"{path}: would overwrite {target}, another input; write to a folder with -o")
            targets.add(real(target))
            if path.is_dir():
                with bar(path.name) as progress:
                    report.add(upscale_folder(predictor, path, target, progress, resume))
            elif resume and real(target) != real(path) and is_done(path, target):
                report.skipped.append(path)
            else:
                with bar(path.name) as progress:
                    done = upscale_file(predictor, path, target, progress)
                report.add(done)
                tell(target)
        except CONTINUABLE as error:
            if single:
                raise
            report.failed.append((path, describe(path, error)))
    return report


def output_for(path: Path, out: Path | None, scale: int, single: bool) -> Path:
    """Where the result of an input goes: beside it, to the named file, or into the named folder."""
    if path.name in ("", ".."):  # the current folder or the one above: find out what they are called
        path = real(path)
    name = f"{path.name}_x{scale}" if path.is_dir() else f"{path.stem}_x{scale}{path.suffix.lower()}"
    if out is None:
        return path.parent / name
    if path.is_dir():
        return out if single else out / path.name
    if out.is_dir() or not single:
        if not single:
            make_folder(out)
        return out / name
    return out
