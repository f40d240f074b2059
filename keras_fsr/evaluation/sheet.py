"""Before/after pictures: rows of images side by side, with titles and captions. Pillow only."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_fsr.errors import DataError
from keras_fsr.evaluation.measures import BASIC
from keras_fsr.evaluation.protocol import MakeLR, Row, Upscaler, baselines, load_pair, upscale_checked
from keras_fsr.files import whole_file

SheetRow = tuple[str | Sequence[str], Sequence[np.ndarray]]
"""A caption for the whole row, or one for each image; and the images, ``(H, W, 3)`` uint8."""

BACKGROUND = (246, 246, 244)
TITLE_INK = (24, 24, 24)
CAPTION_INK = (84, 84, 84)
_BASELINE = "bicubic"
_PSNR, _SSIM = BASIC[:2]  # on luma
_SMALLEST_CELL, _LARGEST_CELL = 256, 512  # of evaluation_sheet: room for a caption; six rows still fit a page


def contact_sheet(
    rows: Sequence[SheetRow], titles: Sequence[str], path: Path | None = None, cell: int = 256
) -> Image.Image:
    """Draw images in a grid: column titles above, captions below each row.

    The images of a row are shown at one size, that of its largest: reduced by Lanczos where it exceeds the
    cell, enlarged by a whole factor where that fits, else as it is, in the middle of the cell. Smaller
    images of the row are enlarged by nearest neighbour, so that the pixels of an LR show.
    Text wider than its place is shortened; Pillow's own font draws ASCII, other letters show as boxes.

    Args:
        rows: caption(s) and images of each row, an image for each title.
        titles: of the columns.
        path: where to save the sheet as PNG, if anywhere.
        cell: the side of a cell in pixels.

    Returns:
        The sheet, an RGB image.

    Raises:
        DataError: no rows or columns, or a row with more or fewer images or captions than titles.
        OutputError: the file cannot be written.
    """
    _check(rows, titles)
    layout = _Layout(cell, columns=len(titles), rows=len(rows))
    sheet = Image.new("RGB", layout.size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        x, _ = layout.corner(0, column)
        centred(draw, title, x + cell // 2, layout.gap, cell, layout.title_font, TITLE_INK)
    for index, (caption, images) in enumerate(rows):
        side = _shown_side(images, cell)
        for column, image in enumerate(images):
            _paste(sheet, image, side, layout.corner(index, column), cell)
        _write_captions(draw, caption, index, layout)
    if path is not None:
        with whole_file(path) as temporary:
            sheet.save(temporary, format="PNG")
    return sheet


def pick_files(rows: Sequence[Row], model: str, baseline: str = _BASELINE) -> list[tuple[str, Path]]:
    """Choose the files that tell most about a model: at most two each of largest, median, smallest gain.

    Showing the worst beside the best keeps a sheet honest. Few files give fewer picks, none twice.

    Args:
        rows: of `evaluate`, holding both the model and the baseline for every file.
        model: whose gain in PSNR-Y over the baseline orders the files.
        baseline: what it is compared with.

    Returns:
        (label, file) pairs from the largest gain to the smallest.

    Raises:
        DataError: the rows lack the model or the baseline.
    """
    psnr = {name: {r.file: r.figure(_PSNR) for r in rows if r.model == name} for name in (model, baseline)}
    for name in (model, baseline):
        if not psnr[name] or psnr[name].keys() != psnr[model].keys():
            raise DataError(f"the rows lack {name} for some files; evaluate {model} and {baseline} together")
    order = sorted(psnr[model], key=lambda file: (-_gain(psnr[model][file], psnr[baseline][file]), file))
    count = min(2, max(1, len(order) // 3))
    middle = (len(order) - count) // 2
    groups = {
        "largest gain": order[:count],
        "smallest gain": order[-count:],
        "median gain": order[middle : middle + count],
    }
    labels: dict[Path, str] = {}
    for label, files in groups.items():
        for file in files:
            labels.setdefault(file, label)
    return [(labels[file], file) for file in order if file in labels]


def evaluation_sheet(
    rows: Sequence[Row],
    models: Mapping[str, Upscaler],
    scale: int,
    path: Path | None = None,
    make_lr: MakeLR | None = None,
) -> Image.Image:
    """Draw input, bicubic, model and original of the files chosen by `pick_files`, with PSNR-Y and SSIM-Y.

    Args:
        rows: of ``evaluate({**baselines(scale), **models}, files, scale)``.
        models: name -> upscaler; the first that is no interpolation of the protocol is drawn.
        scale: the super-resolution factor.
        path: where to save the sheet as PNG, if anywhere.
        make_lr: as of `evaluate`.

    Raises:
        DataError: there is no such model, rows are missing, or a file cannot be read any more.
        ModelError: the model's output is not uint8 of the right size.
        OutputError: the sheet cannot be written.
    """
    interpolations = baselines(scale)
    name = next((name for name in models if name not in interpolations), None)
    if name is None:
        raise DataError(f"models {list(models)} are all interpolations; give the model to draw")
    measured = {(row.file, row.model): row for row in rows}
    drawn: list[SheetRow] = []
    for label, file in pick_files(rows, name):
        hr, lr = load_pair(file, scale, make_lr)
        before, after = measured[file, _BASELINE], measured[file, name]
        captions = [
            f"{label}: {_gain(after.figure(_PSNR), before.figure(_PSNR)):+.2f} dB",
            _figures(before),
            _figures(after),
            file.stem,
        ]
        drawn.append(
            (
                captions,
                [lr, interpolations[_BASELINE](lr), upscale_checked(name, models[name], lr, scale), hr],
            )
        )
    largest = max(max(images[-1].shape[:2]) for _, images in drawn)
    cell = min(max(largest, _SMALLEST_CELL), _LARGEST_CELL)
    return contact_sheet(drawn, [f"input (1/{scale})", _BASELINE, name, "original"], path, cell)


class _Layout:
    """Where things are on a sheet, in pixels."""

    def __init__(self, cell: int, columns: int, rows: int):
        text = min(max(cell // 16, 12), 24)
        self.cell = cell
        self.gap = max(cell // 24, 6)
        self.title_font = ImageFont.load_default(size=text * 1.2)
        self.caption_font = ImageFont.load_default(size=text)
        self._top = _line_height(self.title_font) + 2 * self.gap
        # Captions stand close under their image and far above the next one, or they would seem its title.
        self.caption_offset = cell + self.gap // 2
        self._row_height = self.caption_offset + _line_height(self.caption_font) + 2 * self.gap
        self.inner_width = columns * cell + (columns - 1) * self.gap
        self.size = (self.inner_width + 2 * self.gap, self._top + rows * self._row_height)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of a cell."""
        return self.gap + column * (self.cell + self.gap), self._top + row * self._row_height


def _check(rows: Sequence[SheetRow], titles: Sequence[str]) -> None:
    if not rows or not titles:
        raise DataError(f"a sheet of {len(rows)} rows and {len(titles)} columns is empty; give at least one each")
    for index, (caption, images) in enumerate(rows):
        captions = len(titles) if isinstance(caption, str) else len(caption)
        if len(images) != len(titles) or captions != len(titles):
            raise DataError(
                f"sheet row {index} has {len(images)} images and {captions} captions "
                f"for {len(titles)} columns; give one of each a column"
            )


def _shown_side(images: Sequence[np.ndarray], cell: int) -> int:
    """The longer side at which every image of a row is shown."""
    largest = max(max(image.shape[:2]) for image in images)
    return cell if largest > cell else largest * (cell // largest)


def _paste(sheet: Image.Image, image: np.ndarray, side: int, corner: tuple[int, int], cell: int) -> None:
    height, width = image.shape[:2]
    ratio = side / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    resampling = Image.Resampling.NEAREST if ratio > 1 else Image.Resampling.LANCZOS
    shown = Image.fromarray(image).resize(size, resampling)  # Pillow copies, unchanged, where the size is equal
    sheet.paste(shown, (corner[0] + (cell - size[0]) // 2, corner[1] + (cell - size[1]) // 2))


def _write_captions(draw: ImageDraw.ImageDraw, caption: str | Sequence[str], row: int, layout: _Layout) -> None:
    """One caption centred under the row, or each centred under its image."""
    left, top = layout.corner(row, 0)
    top += layout.caption_offset
    font = layout.caption_font
    if isinstance(caption, str):
        width = layout.inner_width
        centred(draw, caption, left + width // 2, top, width, font, CAPTION_INK)
        return
    for column, text in enumerate(caption):
        middle = layout.corner(row, column)[0] + layout.cell // 2
        centred(draw, text, middle, top, layout.cell, font, CAPTION_INK)


def centred(
    draw: ImageDraw.ImageDraw,
    text: str,
    x: int,
    y: int,
    width: int,
    font: ImageFont.FreeTypeFont,
    ink: tuple[int, int, int],
) -> None:
    """Write one line centred on ``x`` below ``y``, shortened where it is wider than ``width``."""
    draw.text((x, y), _shortened(text, width, font), fill=ink, font=font, anchor="ma")


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    ascent, descent = font.getmetrics()
    return ascent + descent


def _gain(after: float, before: float) -> float:
    """Difference in dB; of two perfect images (infinite PSNR) it is none, not NaN, which would not sort."""
    return 0.0 if after == before else after - before


def _figures(row: Row) -> str:
    return f"{row.figure(_PSNR):.2f} dB, SSIM {row.figure(_SSIM):.3f}"
