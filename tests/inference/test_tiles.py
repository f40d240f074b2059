"""Tiled super-resolution against one call on the whole image, with networks of a known reach."""

import threading
import time
import tracemalloc

import cv2
import numpy as np
import pytest

from keras_fsr.errors import FSRError
from keras_fsr.inference.tiles import _spans, count_tiles, fitted, upscale

SCALE = 4
SIZES = [(1, 1), (3, 7), (65, 131), (257, 190), (300, 301)]


def blurring_network(part: np.ndarray) -> np.ndarray:
    """x4 with zero-padded convolutions before and after, as a real network has: reach 5 input pixels."""
    zero = {"borderType": cv2.BORDER_CONSTANT}
    out = cv2.blur(part, (5, 5), **zero)
    out = cv2.GaussianBlur(out, (3, 3), 0, **zero)
    out = cv2.resize(out, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)
    return cv2.blur(out, (5, 5), **zero)


def constant_network(value: float):
    return lambda part: np.full((part.shape[0] * SCALE, part.shape[1] * SCALE, 3), value, np.float32)


def noise(height: int, width: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(
        0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True
    )


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(np.int32) - b).max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "allowed"), [(np.uint8, 1), (np.uint16, 257)])
def test_tiled_equals_whole(size, dtype, allowed):
    pixels = noise(*size, dtype)
    whole = upscale(pixels, blurring_network, SCALE, tile=None)
    assert whole.dtype == dtype
    assert whole.shape == (size[0] * SCALE, size[1] * SCALE, 3)
    for tile, overlap in [(65, 32), (96, 32), (128, 24), (200, 40)]:
        tiled = upscale(pixels, blurring_network, SCALE, tile, overlap)
        assert tiled.dtype == dtype
        assert difference(tiled, whole) <= allowed, (tile, overlap)


@pytest.mark.parametrize("tile", [41, 64, 77])
def test_every_small_difference_in_size_tiles_without_a_gap(tile):
    for width in range(1, 300, 7):
        pixels = noise(5, width)
        whole = upscale(pixels, blurring_network, SCALE, tile=None)
        assert difference(upscale(pixels, blurring_network, SCALE, tile, overlap=20), whole) <= 1, width


@pytest.mark.parametrize("seed", range(60))
def test_tiled_equals_whole_of_any_size_tile_and_overlap(seed):
    draw = np.random.default_rng(seed)
    height, width = draw.integers(1, 260, 2)
    overlap = int(draw.integers(12, 40))  # twice the network's reach, and a little for the fade
    tile = int(draw.integers(2 * overlap + 1, 160))
    dtype = (np.uint8, np.uint16)[seed % 2]
    pixels = noise(height, width, dtype)
    whole = upscale(pixels, blurring_network, SCALE, tile=None)
    tiled = upscale(pixels, blurring_network, SCALE, tile, overlap)
    assert difference(tiled, whole) <= np.iinfo(dtype).max // 255, (height, width, tile, overlap)


def test_whole_is_the_network_on_the_image():
    pixels = noise(40, 48)
    expected = np.rint(blurring_network(pixels.astype(np.float32) / np.float32(255)) * np.float32(255))
    assert np.array_equal(upscale(pixels, blurring_network, SCALE), expected)


def test_sides_that_are_no_multiples_of_four_are_mirrored_on():
    pixels = noise(41, 50)
    mirrored = np.pad(pixels, ((0, 3), (0, 2), (0, 0)), mode="symmetric")
    expected = upscale(mirrored, blurring_network, SCALE)[: 41 * SCALE, : 50 * SCALE]
    assert np.array_equal(upscale(pixels, blurring_network, SCALE), expected)


@pytest.mark.parametrize("value", [0.0, 0.25, 0.5, 126.5 / 255, 0.999, 1.0, -0.5, 1.7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_constant_network_gives_a_constant(value, dtype):
    levels = np.iinfo(dtype).max
    expected = np.rint(np.clip(np.float32(value) * np.float32(levels), 0, levels))
    tiled = upscale(noise(150, 170, dtype), constant_network(value), SCALE, tile=70, overlap=31)
    assert (tiled == expected).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (5, 200), (150, 170)])
def test_one_colour_stays_it_without_the_network(size, dtype):
    pixels = np.full((*size, 3), (0, 7, np.iinfo(dtype).max), dtype)
    fail = lambda part: pytest.fail("called")  # noqa: E731
    assert np.array_equal(upscale(pixels, fail, SCALE, tile=80), pixels.repeat(SCALE, 0).repeat(SCALE, 1))


def test_a_pixel_that_differs_is_for_the_network():
    for y, x in [(0, 0), (0, 9), (9, 0), (9, 9)]:
        pixels = np.full((12, 12, 3), 7, np.uint8)
        pixels[y, x, 1] = 8
        assert (upscale(pixels, constant_network(1.0), SCALE) == 255).all()


class Bytes:
    """x4 by repeating pixels, in uint8 from end to end; counts its calls and the threads they come from."""

    takes_bytes = True

    def __init__(self, add=0):
        self.add, self.threads, self.types = add, set(), set()

    def __call__(self, part):
        self.threads.add(threading.get_ident())
        self.types.add(part.dtype.type)
        assert part.flags.c_contiguous
        time.sleep(0.002)  # lets the other threads come
        return part.repeat(SCALE, 0).repeat(SCALE, 1) + part.dtype.type(self.add)


def test_network_of_bytes_gets_and_gives_them():
    pixels, network = noise(150, 170), Bytes()
    assert np.array_equal(upscale(pixels, network, SCALE, tile=80), pixels.repeat(SCALE, 0).repeat(SCALE, 1))
    assert network.types == {np.uint8}
    upscale(noise(10, 10, np.uint16), network, SCALE)
    assert network.types == {np.uint8, np.float32}


def test_tiles_of_bytes_fade_in_whole_levels():
    """Tiles of 10 and of 20 that take turns meet in ramps; a sum of bytes would have run over at 255."""
    values = iter(range(100))

    class Turns(Bytes):
        def __call__(self, part):
            return np.full((part.shape[0] * SCALE, part.shape[1] * SCALE, 3), 10 + 240 * (next(values) % 2), np.uint8)

    tiled = upscale(noise(200, 200), Turns(), SCALE, tile=96, overlap=32).astype(np.int32)
    assert (tiled.min(), tiled.max()) == (10, 250)
    for axis in (0, 1):
        assert np.abs(np.diff(tiled, axis=axis)).max() <= 240 / (16 * SCALE) + 1.5


@pytest.mark.parametrize("network", [blurring_network, Bytes()])
def test_several_workers_make_the_same(network):
    pixels = noise(300, 301)
    reports = []
    together = upscale(pixels, network, SCALE, 80, progress=lambda *done: reports.append(done), workers=3)
    assert np.array_equal(together, upscale(pixels, network, SCALE, 80))
    total = count_tiles(300, 301, 80)
    assert reports == [(k + 1, total) for k in range(total)]
    if isinstance(network, Bytes):
        assert len(network.threads) == 1 + 3  # this one's, of the second run


def test_disagreeing_tiles_fade_without_a_step():
    """Tiles that differ by 120 levels meet in ramps: no two neighbouring pixels differ by much."""
    calls = iter(range(100))
    network = lambda part: constant_network(0.2 + 0.47 * (next(calls) % 2))(part)  # noqa: E731
    tiled = upscale(noise(200, 200), network, SCALE, tile=96, overlap=32).astype(np.int32)
    step = 120 / (16 * SCALE)
    for axis in (0, 1):
        assert np.abs(np.diff(tiled, axis=axis)).max() <= step + 1.5


@pytest.mark.parametrize("size", [(257, 190), (20, 300), (300, 301)])
def test_all_calls_have_one_shape_and_are_counted(size):
    shapes, reports = [], []

    def network(part):
        assert part.dtype == np.float32
        assert part.flags.c_contiguous
        assert part.min() >= 0
        assert part.max() <= 1
        shapes.append(part.shape)
        return np.repeat(np.repeat(part, 2, 0), 2, 1)

    upscale(noise(*size), network, 2, tile=96, progress=lambda done, total: reports.append((done, total)))
    total = count_tiles(*size, tile=96)
    assert len(set(shapes)) == 1
    assert max(shapes[0][:2]) <= 96 + 32
    assert reports == [(k + 1, total) for k in range(total)]
    assert total > 1


@pytest.mark.parametrize(
    ("side", "calls"),
    [
        (288, [(0, 288)]),
        (300, [(0, 168), (132, 168)]),  # 300 + 32 shared by two, in multiples of 4
        (301, [(0, 168), (136, 168)]),  # of 304
        (1000, [(0, 276), (241, 276), (482, 276), (724, 276)]),  # (1000 + 3 * 32) / 4 = 274
    ],
)
def test_calls_are_as_few_and_as_small_as_can_be(side, calls):
    assert [(span.start, span.size) for span in _spans(side, 256, 32)] == calls


@pytest.mark.parametrize(
    ("size", "count"), [((256, 256), 1), ((10, 256), 1), ((512, 512), 4), ((288, 288), 1), ((289, 256), 2)]
)
def test_images_up_to_the_tile_take_one_call(size, count):
    assert count_tiles(*size) == count
    assert count_tiles(*size, tile=None) == 1


def test_memory_is_the_output_and_one_tile():
    pixels = noise(900, 900)
    one_tile = ((96 + 32) * SCALE) ** 2 * 3 * 4
    network = lambda part: part.repeat(SCALE, 0).repeat(SCALE, 1)  # noqa: E731
    tracemalloc.start()
    try:
        output = upscale(pixels, network, SCALE, tile=96)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - output.nbytes < 3 * one_tile


def test_network_result_may_be_read_only():
    def network(part):
        result = part.repeat(2, 0).repeat(2, 1)
        result.flags.writeable = False
        return result

    pixels = noise(100, 100)
    assert np.array_equal(upscale(pixels, network, 2, tile=70), pixels.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile": 64}, "larger tile"),
        ({"tile": 0, "overlap": 0}, "larger tile"),
        ({"overlap": -1}, "negative"),
        ({"scale": 0}, "scale is 0"),
        ({"scale": 3}, "network of scale 3"),
        ({"pixels": np.zeros((4, 4), np.uint8)}, r"\(H, W, 3\)"),
        ({"pixels": np.zeros((0, 4, 3), np.uint8)}, r"\(H, W, 3\)"),
        ({"pixels": np.zeros((4, 4, 3), np.float32)}, "uint8 or uint16"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"pixels": noise(8, 8), "network": blurring_network, "scale": SCALE} | change
    with pytest.raises(FSRError, match=message):
        upscale(**arguments)


@pytest.mark.parametrize(
    ("side", "tile", "expected"),
    [
        # tile and overlap by hand: a third of 63 can be shared.
        (64, 256, (43, 21)),
        (64, None, (43, 21)),
        (67, 256, (43, 21)),  # calls are multiples of 4
        (64, 20, (20, 9)),
        (16, 256, (11, 5)),
        (400, 256, (256, 32)),  # nothing to reduce
        (400, None, (368, 32)),
    ],
)
def test_fitted_sizes(side, tile, expected):
    assert fitted(side, tile, overlap=32) == expected


@pytest.mark.parametrize("side", [16, 30, 64, 200])
@pytest.mark.parametrize("size", [(1, 5), (64, 64), (100, 33)])
def test_fitted_calls_are_never_larger_than_the_side(side, size):
    calls = []

    def network(part):
        calls.append(part.shape)
        return part.repeat(SCALE, 0).repeat(SCALE, 1)

    tile, overlap = fitted(side, None, 32)
    pixels = noise(*size)
    result = upscale(pixels, network, SCALE, tile, overlap)
    assert max(max(shape[:2]) for shape in calls) <= side
    np.testing.assert_array_equal(result, pixels.repeat(SCALE, 0).repeat(SCALE, 1))
