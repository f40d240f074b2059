"""Super-resolution of images of any size in bounded memory, tile by tile.

The tiled result equals that of one call on the whole image within one level of 255, as long as the network's
answer at a pixel depends (noticeably) only on the `overlap // 4` pixels around it. A tile of one colour stays one
without the network. Memory is the output and the
few arrays of the tiles in work.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from keras_fsr.errors import FSRError
from keras_fsr.inference.parallel import ahead

Upscale = Callable[[np.ndarray], np.ndarray]
"""(h, w, 3) float32 in [0, 1] -> (h * scale, w * scale, 3) float32, nominally in [0, 1], which may be overwritten.

Where it has a true attribute `takes_bytes`, images of uint8 are given as they are, and come back as uint8.
"""

Progress = Callable[[int, int], None]
"""Called as progress(done, total) after every tile."""


MULTIPLE = 4
"""Sides of a call are multiples of this: RRDB unshuffles its input by 4 at x1 and by 2 at x2."""


class _Span(NamedTuple):
    """One tile along one axis: the call covers [start, start + size), of which [begin, end) is its own.

    Its first `fade` pixels are mixed with the previous tile, which therefore hands over `tail` more pixels
    than it owns: fade of a tile == tail of the one before it.
    """

    start: int
    size: int
    begin: int
    end: int
    fade: int
    tail: int


def upscale(
    pixels: np.ndarray,
    network: Upscale,
    scale: int,
    tile: int | None = 256,
    overlap: int = 32,
    progress: Progress | None = None,
    workers: int = 1,
) -> np.ndarray:
    """Enlarge an image `scale` times with `network`, in tiles that blend into each other.

    pixels: (H, W, 3) uint8 or uint16. Returns (H * scale, W * scale, 3) of the same dtype, rounded, clipped.
    tile: the largest part of the image, in input pixels a side, that a call to the network is for; None for the
        whole image. With what it shares with its neighbours a call has at most tile + overlap pixels a side. All
        calls have one shape, multiples of 4: an image that is none is continued at its right and bottom by
        mirroring.
    overlap: how many input pixels neighbouring calls share at least. The outer quarter on each side of it is
        thrown away, for the network's zero padding has touched it; across the middle half the tiles fade.
    workers: how many tiles at a time; the network is then called by several threads.

    Raises FSRError for arguments that do not fit together or a network of another scale.
    """
    _check_arguments(pixels, scale, tile, overlap)
    height, width = pixels.shape[:2]
    rows, columns = _spans(height, tile, overlap), _spans(width, tile, overlap)
    below, right = _rounded_up(height) - height, _rounded_up(width) - width
    if below or right:
        pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")
    output = np.empty((height * scale, width * scale, 3), pixels.dtype)
    places = [(row, column) for row in rows for column in columns]
    results = ahead(lambda place: _call(network, pixels, *place, scale), places, workers)
    held = None
    for done, (row, column) in enumerate(places, start=1):
        result = next(results)
        piece, held = _join_left(result, held if column is not columns[0] else None, row, column, scale)
        _write(output, piece, row, column, scale)
        del result, piece  # or they would lie beside the next tile while the network works on it
        if progress is not None:
            progress(done, len(places))
    return output


def count_tiles(height: int, width: int, tile: int | None = 256, overlap: int = 32) -> int:
    """How many network calls `upscale` makes for a (height, width) image."""
    return len(_spans(height, tile, overlap)) * len(_spans(width, tile, overlap))


def fitted(side: int, tile: int | None, overlap: int) -> tuple[int, int]:
    """Tile and overlap of `upscale`, reduced so far that no call is larger than a side, in input pixels."""
    side = side // MULTIPLE * MULTIPLE
    tile = min(tile or side, side - min(overlap, (side - 1) // 3))
    return tile, min(overlap, side - tile, (tile - 1) // 2)


def _check_arguments(pixels: np.ndarray, scale: int, tile: int | None, overlap: int) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise FSRError(f"pixels have the shape {pixels.shape}; give an (H, W, 3) RGB image")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FSRError(f"pixels are {pixels.dtype}; give uint8 or uint16")
    if scale < 1:
        raise FSRError(f"scale is {scale}; give a whole number of at least 1")
    if overlap < 0:
        raise FSRError(f"overlap is {overlap}; it may not be negative")
    if tile is not None and tile <= max(2 * overlap, 0):
        raise FSRError(f"tile is {tile}, which is not above twice the overlap of {overlap}; give a larger tile")


def _spans(side: int, tile: int | None, overlap: int) -> list[_Span]:
    """The tiles along an axis of so many pixels: as few as the tile allows, and no larger than they then must be."""
    side_called = _rounded_up(side)
    size, count = side_called, 1
    if tile is not None and side_called > tile + overlap:
        most = (tile + overlap) // MULTIPLE * MULTIPLE
        count = -(-(side_called - overlap) // (most - overlap))
        size = _rounded_up(-(-(side_called + (count - 1) * overlap) // count))
    starts = [k * (side_called - size) // max(count - 1, 1) for k in range(count)]
    fade = overlap // 2
    # The fade is centred on the middle of what two neighbouring calls share.
    seams = [(a + size + b - fade) // 2 for a, b in pairwise(starts)]
    begins, ends = [0, *seams], [*seams, side]
    last = count - 1
    return [
        _Span(start, size, begin, end, fade if k else 0, fade if k < last else 0)
        for k, (start, begin, end) in enumerate(zip(starts, begins, ends, strict=True))
    ]


def _rounded_up(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE


def _call(network: Upscale, pixels: np.ndarray, row: _Span, column: _Span, scale: int) -> np.ndarray:
    """The network's answer for one tile, (rows * scale, columns * scale, 3), in levels: float32 or uint8."""
    part = pixels[row.start : row.start + row.size, column.start : column.start + column.size]
    whole = part.dtype == np.uint8 and getattr(network, "takes_bytes", False)
    expected = (row.size * scale, column.size * scale, 3)
    if _is_flat(part):
        return np.full(expected, part[0, 0], np.uint8 if whole else np.float32)
    levels = np.float32(np.iinfo(part.dtype).max)
    result = network(np.ascontiguousarray(part) if whole else part.astype(np.float32) / levels)
    if result.shape != expected:
        raise FSRError(
            f"the network turned {part.shape} into {result.shape} instead of {expected}; "
            f"use a network of scale {scale}"
        )
    return result if whole else np.multiply(result, levels, out=result if result.flags.writeable else None)


def _is_flat(part: np.ndarray) -> bool:
    """Whether a part has one colour, which needs no network and is no network's to change."""
    return bool((part[0] == part[0, 0]).all() and (part == part[0, 0]).all())


def _join_left(
    result: np.ndarray, held: np.ndarray | None, row: _Span, column: _Span, scale: int
) -> tuple[np.ndarray, np.ndarray]:
    """The tile's own columns, faded into what its left neighbour held back, and what it holds back itself.

    A tile leaves the columns it shares with the next one to that one, so that every row of tiles is finished
    when it meets the row above; fading both ways at once would leave a step in the corners.
    """
    top, bottom = ((y - row.start) * scale for y in (row.begin, row.end + row.tail))
    left, right, hold = ((x - column.start) * scale for x in (column.begin, column.end, column.end + column.tail))
    piece = result[top:bottom, left:right]
    if held is not None:
        fade = column.fade * scale
        piece[:, :fade] = _mix(held, piece[:, :fade], _ramp(fade)[:, None])
    return piece, result[top:bottom, right:hold].copy()


def _write(output: np.ndarray, piece: np.ndarray, row: _Span, column: _Span, scale: int) -> None:
    """Round a piece into its place in the output, its top faded into the row of tiles already there."""
    top, left = row.begin * scale, column.begin * scale
    place = output[top : top + piece.shape[0], left : left + piece.shape[1]]
    fade = row.fade * scale
    piece[:fade] = _mix(place[:fade], piece[:fade], _ramp(fade)[:, None, None])
    if piece.dtype == output.dtype:
        place[...] = piece
        return
    np.rint(piece, out=piece)
    np.clip(piece, 0, np.iinfo(output.dtype).max, out=place, casting="unsafe")


def _ramp(length: int) -> np.ndarray:
    """(length,) float32 weights that rise evenly and never reach 0 or 1."""
    return (np.arange(length, dtype=np.float32) + np.float32(0.5)) / np.float32(max(length, 1))


def _mix(old: np.ndarray, new: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """old towards new by weight, whole levels where new has them; equal values come out unchanged to the last bit."""
    mixed = old + weight * (new.astype(np.float32, copy=False) - old)
    return np.rint(mixed) if new.dtype == np.uint8 else mixed
