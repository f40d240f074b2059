"""Pictures enlarged: gray, transparency and rounding."""

import cv2
import numpy as np
import pytest

from keras_fsr.inference.picture import Picture, upscale_picture


def noise(*shape: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def bicubic(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)


def nearest(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(4, axis=0).repeat(4, axis=1)


def disc(inside, outside, dtype=np.uint8) -> Picture:
    """A disc with a soft edge; its transparent surroundings hold another colour."""
    y, x = np.mgrid[:40, :40]
    cover = np.clip(13 - np.hypot(x - 19.5, y - 19.5), 0, 1)
    levels = np.iinfo(dtype).max
    pixels = np.where(cover[..., None] > 0, np.array(inside) * (levels // 255), np.array(outside) * (levels // 255))
    return Picture(pixels.astype(dtype), np.rint(cover * levels).astype(dtype))


@pytest.mark.parametrize("upscale", [bicubic, nearest])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_hidden_colours_never_show(upscale, dtype):
    result = upscale_picture(disc((220, 10, 20), (0, 255, 0), dtype), upscale, 4)
    visible = result.alpha > 0
    assert result.pixels.shape == (160, 160, 3)
    assert visible.any()
    assert not visible.all()
    level = result.max_value // 255
    assert np.abs(result.pixels[visible] / level - (220, 10, 20)).max() <= 1
    # Over any backdrop the picture lies between its colour and the backdrop: no dark rim, no green one.
    share = result.alpha[..., None] / result.max_value
    over_white = result.pixels / level * share + 255 * (1 - share)
    assert over_white[..., 1].min() >= 9
    assert over_white[..., 0].min() >= 219


def test_gray_with_alpha_stays_gray():
    picture = disc((128, 128, 128), (0, 0, 0))
    result = upscale_picture(Picture(picture.pixels, picture.alpha, gray=True), bicubic, 4)
    assert (result.pixels[result.alpha > 0] == 128).all()
    assert (result.pixels[..., 0] == result.pixels[..., 2]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_opaque_alpha_changes_no_colour(dtype):
    pixels = noise(9, 12, 3, dtype=dtype)
    full = np.full((9, 12), np.iinfo(dtype).max, dtype)
    plain, opaque = (upscale_picture(Picture(pixels, alpha), bicubic, 4) for alpha in (None, full))
    assert plain.alpha is None
    assert np.array_equal(plain.pixels, opaque.pixels)
    assert (opaque.alpha == np.iinfo(dtype).max).all()
    assert opaque.alpha.shape == (36, 48)


def test_visible_colours_reach_the_network_unchanged():
    seen = []
    picture = Picture(noise(13, 18, 3), noise(13, 18))
    picture.alpha[3:9, 2:8] = 0
    upscale_picture(picture, lambda pixels: seen.append(pixels) or nearest(pixels), 4)
    assert seen[0].dtype == np.uint8
    visible = picture.alpha > 0
    assert np.array_equal(seen[0][visible], picture.pixels[visible])
    assert not np.array_equal(seen[0], picture.pixels)


def test_wholly_hidden_picture():
    picture = Picture(noise(5, 1, 3), np.zeros((5, 1), np.uint8))
    result = upscale_picture(picture, nearest, 4)
    assert not result.alpha.any()
    assert not result.pixels.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_is_the_rounded_mean(dtype):
    levels = np.iinfo(dtype).max
    tinted = np.array([[[0, 0, 1], [0, 1, 1], [levels, levels, levels], [10, 20, 30]]], dtype)
    result = upscale_picture(Picture(np.zeros((1, 1, 3), dtype), gray=True, exif=b"e", icc=b"i"), lambda _: tinted, 4)
    assert result.pixels.dtype == dtype
    assert result.pixels.tolist() == [[[0] * 3, [1] * 3, [levels] * 3, [20] * 3]]
    assert (result.gray, result.exif, result.icc) == (True, b"e", b"i")


def test_16_bits_become_8_rounded_not_cut():
    levels = np.array([0, 128, 129, 257 * 9 - 129, 257 * 9 - 128, 65535 - 129, 65535], np.uint16)
    picture = Picture(levels.reshape(1, -1, 1).repeat(3, axis=2), levels.reshape(1, -1)).to_8bit()
    assert picture.pixels.dtype == picture.alpha.dtype == np.uint8
    assert picture.pixels[0, :, 2].tolist() == picture.alpha[0].tolist() == [0, 0, 1, 8, 9, 254, 255]
    assert picture.to_8bit() is picture
