"""Strips: what every method made of one face, whole and, enlarged, its eyes and its mouth."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_fsr.evaluation.measures import Measure
from keras_fsr.evaluation.protocol import MakeLR, Row, Upscaler, load_pair, load_result, upscale_checked
from keras_fsr.evaluation.sheet import BACKGROUND, CAPTION_INK, TITLE_INK, centred

CELL, GAP = 256, 8  # pixels: width of an image on a strip, and between two
COUNT = 5  # worst and best
# Centre (down, across), height and width within the box of OpenCV's frontal face detector.
EYES = (0.39, 0.5, 0.36, 0.86)
MOUTH = (0.79, 0.5, 0.34, 0.60)


def worst_and_best(rows: Sequence[Row], model: str, measure: Measure) -> tuple[list[Path], list[Path]]:
    """The files on which a model does worst and best: `COUNT` each, none in both."""
    figures = {row.file: row.figure(measure) for row in rows if row.model == model}
    order = sorted((file for file in figures if not math.isnan(figures[file])), key=lambda f: (figures[f], str(f)))
    if measure.higher_is_better:
        order.reverse()
    count = min(COUNT, max(1, len(order) // 2))
    best = order[:count]
    return [file for file in reversed(order[-count:]) if file not in best], best


def draw_strip(
    file: Path,
    models: Mapping[str, Upscaler],
    results: Mapping[str, Mapping[Path, Path]],
    scale: int,
    make_lr: MakeLR | None = None,
    captions: Mapping[str, str] | None = None,
) -> Image.Image:
    """Input, every method and original side by side, above their eyes and mouths.

    Args:
        file: the HR image.
        models, results, scale, make_lr: as of `protocol.evaluate`.
        captions: name -> what stands under its image.

    Raises:
        DataError, ModelError: as of `protocol.evaluate`.
    """
    hr, lr = load_pair(file, scale, make_lr)
    images = {f"input (1/{scale})": np.kron(lr, np.ones((scale, scale, 1), np.uint8))}
    images |= {name: upscale_checked(name, model, lr, scale) for name, model in models.items()}
    images |= {name: load_result(name, paths, file, hr) for name, paths in results.items()}
    images["original"] = hr
    parts = face_parts(hr)
    columns = [[shown(image), *(shown(image[part]) for part in parts)] for image in images.values()]
    return compose(columns, list(images), [(captions or {}).get(name, "") for name in images])


def shown(image: np.ndarray) -> Image.Image:
    """An image `CELL` pixels wide: enlarged by a whole factor, so that its pixels show, or reduced by Lanczos."""
    height, width = image.shape[:2]
    resampling = Image.Resampling.LANCZOS if width > CELL else Image.Resampling.NEAREST
    return Image.fromarray(image).resize((CELL, max(1, round(height * CELL / width))), resampling)


def compose(columns: Sequence[Sequence[Image.Image]], titles: Sequence[str], captions: Sequence[str]) -> Image.Image:
    """Columns of images under their titles; the captions stand below the first row."""
    font = ImageFont.load_default(size=15)
    line = 15 + 2 * GAP
    tops = [line]
    for image in columns[0]:
        tops.append(tops[-1] + image.height + (GAP if len(tops) > 1 or not any(captions) else line))
    sheet = Image.new("RGB", (GAP + len(columns) * (CELL + GAP), tops[-1]), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, (images, title, caption) in enumerate(zip(columns, titles, captions, strict=True)):
        left = GAP + index * (CELL + GAP)
        for image, top in zip(images, tops, strict=False):
            sheet.paste(image, (left, top))
        centred(draw, title, left + CELL // 2, GAP, CELL, font, TITLE_INK)
        centred(draw, caption, left + CELL // 2, line + images[0].height + GAP, CELL, font, CAPTION_INK)
    return sheet


def face_parts(image: np.ndarray) -> list[tuple[slice, slice]]:
    """Where the eyes and the mouth are, by the usual proportions of the largest face found.

    The detector is OpenCV's Haar cascade (Viola and Jones, 2001). Where it finds no face, the middle of the image
    is taken for one. Parts narrower than `CELL` are cut so that a whole factor fills it.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    boxes = [tuple(map(int, box)) for box in detector().detectMultiScale(gray, 1.1, 5, minSize=(side // 8,) * 2)]
    middle = ((width - side) // 2 + side // 8, (height - side) // 2 + side // 8, side * 3 // 4, side * 3 // 4)
    left, top, box_width, box_height = max(boxes, key=lambda box: box[2] * box[3], default=middle)
    parts = []
    for down, across, part_height, part_width in (EYES, MOUTH):
        wide = max(1.0, part_width * box_width)
        wide = CELL / round(CELL / wide) if wide < CELL else wide
        high = part_height / part_width * wide
        rows = span(top + down * box_height, high, height)
        parts.append((rows, span(left + across * box_width, wide, width)))
    return parts


def span(centre: float, length: float, limit: int) -> slice:
    """Pixels around a centre, within 0 and a limit."""
    length = min(max(1, round(length)), limit)
    start = min(max(round(centre - length / 2), 0), limit - length)
    return slice(start, start + length)


@cache
def detector() -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
