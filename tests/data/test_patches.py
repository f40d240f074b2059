"""Patch sampling: aligned pairs, reproducible batches, the order of images, flatness, augmentation, degradation."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_fsr.data.folders import Pair
from keras_fsr.data.loading import decode, load_pair
from keras_fsr.data.patches import CONTEXT, Augmentation, Flatness, Patches
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DataError

NO_AUGMENTATION = Augmentation(flip=0.0, flip_vertical=0.0, rotate=0.0)
EVERY_AUGMENTATION = Augmentation(flip=0.5, flip_vertical=0.5, rotate=1.0)


@pytest.fixture
def noise_pairs(save_image):
    """Four pairs of unequal sizes; each HR pixel block repeats one LR pixel, at scale 2."""
    rng = np.random.default_rng(0)
    pairs = []
    for i, shape in enumerate([(9, 12), (12, 9), (16, 8), (8, 8)]):
        lr = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        hr = np.kron(lr, np.ones((2, 2, 1), np.uint8))
        pairs.append(Pair(save_image(f"hr/{i}.png", hr), save_image(f"lr/{i}.png", lr)))
    return pairs


@pytest.fixture
def plain_pairs(save_image):
    """Makes images of one colour each, 10 times the image's number."""

    def make(count: int):
        colours = [np.full((8, 8, 3), 10 * i, np.uint8) for i in range(count)]
        return [Pair(save_image(f"{i}.png", colour)) for i, colour in enumerate(colours)]

    return make


@pytest.fixture
def position_pair(save_image):
    """One pair at scale 2 whose LR pixels hold (row, column, 7); 6 rows and 9 columns."""
    rows, columns = np.mgrid[:6, :9].astype(np.uint8)
    lr = np.stack([rows, columns, np.full_like(rows, 7)], axis=-1)
    return [Pair(save_image("hr.png", np.kron(lr, np.ones((2, 2, 1), np.uint8))), save_image("lr.png", lr))]


def batches(patches: Patches, count: int, first_step: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(patches.dataset(first_step).take(count).as_numpy_iterator())


def levels(batch: np.ndarray) -> np.ndarray:
    """Pixels as integers 0..255."""
    return np.rint(batch * 255).astype(int)


def lr_patches(patches: Patches, count: int) -> np.ndarray:
    """LR patches of `count` steps, (count * batch, size, size, 3)."""
    return np.concatenate([lr for lr, _ in batches(patches, count)])


def test_batch_is_float_in_0_to_1_of_the_announced_shape(noise_pairs):
    patches = Patches(noise_pairs, scale=2, batch_size=3, patch_size=5)
    lr_spec, hr_spec = patches.dataset().element_spec
    assert (lr_spec.shape, hr_spec.shape) == ((3, 5, 5, 3), (3, 10, 10, 3))
    [(lr, hr)] = batches(patches, 1)
    assert (lr.shape, hr.shape) == ((3, 5, 5, 3), (3, 10, 10, 3))
    assert lr.dtype == hr.dtype == np.float32
    assert lr.min() >= 0
    assert lr.max() <= 1
    np.testing.assert_allclose(lr * 255, levels(lr), atol=1e-4)
    assert levels(lr).max() > 200


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, Augmentation(), EVERY_AUGMENTATION])
def test_hr_patch_shows_what_the_lr_patch_shows(augmentation, noise_pairs):
    patches = Patches(noise_pairs, scale=2, batch_size=4, patch_size=5, augmentation=augmentation)
    for lr, hr in batches(patches, 12):
        np.testing.assert_array_equal(hr, lr.repeat(2, axis=1).repeat(2, axis=2))


def test_every_corner_is_drawn(position_pair):
    patches = Patches(position_pair, 2, batch_size=4, patch_size=4, augmentation=NO_AUGMENTATION)
    drawn = levels(lr_patches(patches, 60))
    corners = drawn[:, 0, 0, :2]
    rows, columns = np.mgrid[:4, :4]
    np.testing.assert_array_equal(drawn[..., 0], corners[:, 0, None, None] + rows)
    np.testing.assert_array_equal(drawn[..., 1], corners[:, 1, None, None] + columns)
    assert (drawn[..., 2] == 7).all()
    # 6x9 pixels hold 3x6 corners of a 4x4 patch.
    assert {tuple(corner) for corner in corners.tolist()} == {(y, x) for y in range(3) for x in range(6)}


def test_seed_and_step_fix_the_batch(noise_pairs):
    make = {"scale": 2, "batch_size": 2, "patch_size": 4, "seed": 5, "flatness": Flatness(0.1, 0.1, 2, 0.3)}
    first, second = (batches(Patches(noise_pairs, **make), 5) for _ in range(2))
    later = batches(Patches(noise_pairs, **make), 2, first_step=3)
    for (lr, hr), (same_lr, same_hr) in zip(first + first[3:], second + later, strict=True):
        np.testing.assert_array_equal(lr, same_lr)
        np.testing.assert_array_equal(hr, same_hr)
    assert not np.array_equal(first[0][0], first[1][0])


def test_seeds_give_different_batches(noise_pairs):
    make = {"scale": 2, "batch_size": 4, "patch_size": 4}
    one, other = (batches(Patches(noise_pairs, seed=seed, **make), 1)[0][0] for seed in (1, 2))
    assert not np.array_equal(np.sort(one.ravel()), np.sort(other.ravel()))


def shown(patches: Patches, steps: int) -> list[list[int]]:
    """Numbers of the plain images in each batch."""
    return [(levels(hr)[:, 0, 0, 0] // 10).tolist() for _, hr in batches(patches, steps)]


@pytest.mark.parametrize(("count", "batch_size"), [(6, 3), (4, 4), (6, 1)])
def test_each_pass_shows_every_image_once(count, batch_size, plain_pairs):
    patches = Patches(plain_pairs(count), 2, batch_size, patch_size=4)
    steps = count // batch_size
    drawn = np.reshape(shown(patches, 5 * steps), (5, count))
    np.testing.assert_array_equal(np.sort(drawn), np.broadcast_to(np.arange(count), (5, count)))
    assert len({tuple(order) for order in drawn.tolist()}) > 1


def test_images_of_a_batch_all_differ_where_passes_do_not_divide(plain_pairs):
    drawn = shown(Patches(plain_pairs(7), 2, batch_size=3, patch_size=4), 20)
    assert all(len(set(batch)) == 3 for batch in drawn)
    # Two batches are a pass; the seventh image is another one each time.
    assert all(len({*one, *two}) == 6 for one, two in zip(drawn[::2], drawn[1::2], strict=True))
    assert {number for batch in drawn for number in batch} == set(range(7))


def test_batch_larger_than_the_data_repeats_evenly(plain_pairs):
    for batch in shown(Patches(plain_pairs(2), 2, batch_size=4, patch_size=4), 3):
        assert sorted(batch) == [0, 0, 1, 1]


def test_files_names_the_images_of_a_batch(plain_pairs):
    pairs = plain_pairs(7)
    patches = Patches(pairs, 2, batch_size=3, patch_size=4, seed=9)
    for step, batch in enumerate(shown(patches, 6)):
        assert patches.files(step) == [str(pairs[number].hr) for number in batch]


@pytest.mark.parametrize(("count", "crops", "batch_size", "steps"), [(7, 1, 3, 2), (7, 2, 3, 4), (2, 1, 16, 1)])
def test_epoch_draws_each_image_as_often_as_asked(count, crops, batch_size, steps, plain_pairs):
    patches = Patches(plain_pairs(count), 2, batch_size, patch_size=4, crops_per_image=crops)
    assert patches.steps_per_epoch == steps


@pytest.mark.parametrize(
    ("flatness", "step", "threshold"),
    [
        (Flatness(0.01, 0.02, 10, 0.06), 0, 0.01),
        (Flatness(0.01, 0.02, 10, 0.06), 9, 0.01),
        (Flatness(0.01, 0.02, 10, 0.06), 10, 0.03),
        (Flatness(0.01, 0.02, 10, 0.06), 29, 0.05),
        (Flatness(0.01, 0.02, 10, 0.06), 30, 0.06),
        (Flatness(0.01, 0.02, 10, 0.06), 10**9, 0.06),
        (Flatness(start=0.1), 5000, 0.1),
        (Flatness(), 5000, 0.0),
    ],
)
def test_flatness_threshold_grows_in_stairs_to_its_maximum(flatness, step, threshold):
    assert float(flatness.threshold(step)) == pytest.approx(threshold)


@pytest.fixture
def half_flat_pair(save_image):
    """One pair at scale 2, flat in its left half and noisy in the right."""
    lr = np.full((12, 32, 3), 128, np.uint8)
    lr[:, 16:] = np.random.default_rng(0).integers(0, 256, (12, 16, 3))
    return [Pair(save_image("hr.png", np.kron(lr, np.ones((2, 2, 1), np.uint8))), save_image("lr.png", lr))]


def deviations(pairs, flatness: Flatness, steps: int = 30) -> np.ndarray:
    patches = Patches(pairs, 2, batch_size=4, patch_size=4, flatness=flatness)
    return lr_patches(patches, steps).std(axis=(1, 2, 3))


def test_flat_patches_are_refused(half_flat_pair):
    assert deviations(half_flat_pair, Flatness()).min() == 0
    assert deviations(half_flat_pair, Flatness(start=0.2, candidates=24)).min() >= 0.2


def test_first_candidate_that_passes_is_taken_and_else_the_liveliest(half_flat_pair):
    passing = deviations(half_flat_pair, Flatness(start=0.2, candidates=24))
    liveliest = deviations(half_flat_pair, Flatness(start=9.0, candidates=24))
    assert liveliest.min() > 0.2
    assert (liveliest >= passing - 1e-6).all()
    assert liveliest.mean() > passing.mean() + 0.01


def test_flatness_follows_the_step(half_flat_pair):
    flatness = Flatness(increase=0.2, every=15, maximum=0.2, candidates=24)
    values = deviations(half_flat_pair, flatness, steps=30)
    assert values[: 15 * 4].min() == 0
    assert values[15 * 4 :].min() >= 0.2


def test_flat_image_still_gives_patches(plain_pairs):
    patches = Patches(plain_pairs(2), 2, batch_size=2, patch_size=4, flatness=Flatness(start=0.5))
    assert [sorted(batch) for batch in shown(patches, 3)] == [[0, 1]] * 3


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (Augmentation(1.0, 0.0, 0.0), lambda plain: plain[:, :, ::-1]),
        (Augmentation(0.0, 1.0, 0.0), lambda plain: plain[:, ::-1]),
        (Augmentation(1.0, 1.0, 0.0), lambda plain: plain[:, ::-1, ::-1]),
    ],
    ids=["flip", "flip vertical", "both"],
)
def test_certain_flip_flips_every_patch(augmentation, expected, noise_pairs):
    make = {"pairs": noise_pairs, "scale": 2, "batch_size": 4, "patch_size": 4}
    plain = lr_patches(Patches(augmentation=NO_AUGMENTATION, **make), 4)
    result = lr_patches(Patches(augmentation=augmentation, **make), 4)
    np.testing.assert_array_equal(result, expected(plain))


def test_flips_are_drawn_apart(noise_pairs):
    make = {"pairs": noise_pairs, "scale": 2, "batch_size": 4, "patch_size": 4}
    plain = lr_patches(Patches(augmentation=NO_AUGMENTATION, **make), 10)
    result = lr_patches(Patches(augmentation=Augmentation(0.5, 0.5, 0.0), **make), 10)
    forms = [plain, plain[:, :, ::-1], plain[:, ::-1], plain[:, ::-1, ::-1]]
    counts = [(result == form).all(axis=(1, 2, 3)).sum() for form in forms]
    assert sum(counts) == len(plain)
    assert min(counts) > 0


def turns(plain: np.ndarray, result: np.ndarray) -> list[int | None]:
    """Quarter turns from each patch to its augmented form; None where no turn makes it."""
    found = []
    for before, after in zip(plain, result, strict=True):
        same = [k for k in range(4) if np.array_equal(np.rot90(before, k), after)]
        found.append(same[0] if same else None)
    return found


def test_turning_draws_all_four_turns(noise_pairs):
    make = {"pairs": noise_pairs, "scale": 2, "batch_size": 4, "patch_size": 4}
    plain = lr_patches(Patches(augmentation=NO_AUGMENTATION, **make), 20)
    result = lr_patches(Patches(augmentation=Augmentation(0.0, 0.0, 1.0), **make), 20)
    assert set(turns(plain, result)) == {0, 1, 2, 3}


def test_flips_come_at_their_probability(noise_pairs):
    make = {"pairs": noise_pairs, "scale": 2, "batch_size": 4, "patch_size": 4}
    plain = lr_patches(Patches(augmentation=NO_AUGMENTATION, **make), 50)
    result = lr_patches(Patches(augmentation=Augmentation(0.25, 0.0, 0.0), **make), 50)
    kept = (result == plain).all(axis=(1, 2, 3))
    flipped = (result == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ flipped).all()
    # 200 draws: 50 expected, with a standard deviation of 6.
    assert 30 < flipped.sum() < 70


def test_patches_hold_the_lr_that_was_made(save_image):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    pairs = [Pair(save_image("a.png", pixels))]
    patches = Patches(pairs, scale=3, batch_size=1, patch_size=8, augmentation=NO_AUGMENTATION)
    [(lr, hr)] = batches(patches, 1)
    expected, _ = load_pair(pairs[0], 3)
    np.testing.assert_array_equal(levels(lr[0]), expected)
    np.testing.assert_array_equal(levels(hr[0]), pixels)


def test_truncated_image_is_named(noise_pairs):
    path = noise_pairs[1].hr
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: is damaged"):
        Patches(noise_pairs, scale=2, patch_size=4)


@pytest.mark.parametrize(
    ("options", "culprit"),
    [({"scale": 3, "patch_size": 2}, "lr/0.png"), ({"scale": 2, "patch_size": 9}, "hr/2.png")],
    ids=["wrong ratio", "too small"],
)
def test_pairs_are_checked(options, culprit, noise_pairs):
    with pytest.raises(DataError, match=culprit):
        Patches(noise_pairs, **options)


def test_settings_cannot_change_after_construction(noise_pairs):
    patches = Patches(noise_pairs, scale=2, patch_size=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        patches.patch_size = 8


def test_hr_images_also_enter_reduced(save_image):
    draw = np.random.default_rng(0)
    pairs = [Pair(save_image(f"{i}.png", draw.integers(0, 256, (32, 32, 3), np.uint8))) for i in range(2)]
    patches = Patches(pairs, 2, batch_size=4, patch_size=8, hr_scales=(0.5, 0.4), augmentation=Augmentation(0, 0, 0))
    # Half of 32 is one HR patch of 16; 0.4 of it is too small for one and left out.
    assert patches.steps_per_epoch == 1
    assert sorted(patches.files(0)) == sorted([str(pair.hr) for pair in pairs] * 2)
    _, hr = next(iter(patches.dataset()))
    reduced = Image.open(pairs[0].hr).resize((16, 16), Image.Resampling.LANCZOS)
    assert any(np.array_equal(np.rint(patch * 255), np.asarray(reduced)) for patch in hr.numpy())


@pytest.fixture
def hr_pairs(save_image):
    """Three HR images of noise without LR files, of unequal sizes that are multiples of 4."""
    draw = np.random.default_rng(0)
    shapes = [(96, 120), (128, 88), (92, 92)]
    return [Pair(save_image(f"{i}.png", draw.integers(0, 256, (*s, 3), np.uint8))) for i, s in enumerate(shapes)]


def degrader(name: str, scale: int, seed: int = 0) -> Degrader:
    return Degrader(presets.load(name), scale, seed)


class EveryNth:
    """In the place of a `Degrader`: takes every n-th pixel, so that LR tells exactly where it lies in HR."""

    def __init__(self, scale: int):
        self.scale, self.calls = scale, []

    def __call__(self, hr, *index):
        self.calls.append((hr.shape[:2], *map(int, index)))
        return hr[:: self.scale, :: self.scale]


def test_patches_are_of_degraded_images_at_each_size(save_image):
    hr = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    pairs, options = [Pair(save_image("hr.png", hr))], {"batch_size": 2, "patch_size": 8, "hr_scales": (0.5,)}
    sharp = Patches(pairs, 2, **options)
    for copies in (0, 1, 2):
        blurred = Patches(pairs, 2, degrade=degrader("jiang", 2), copies=copies, **options)
        for (sharp_lr, sharp_hr), (lr, hr_patch) in zip(batches(sharp, 3), batches(blurred, 3), strict=True):
            np.testing.assert_array_equal(sharp_hr, hr_patch)
            assert (lr.std(axis=(1, 2, 3)) < 0.7 * sharp_lr.std(axis=(1, 2, 3))).all()


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_lr_files_that_are_given_are_not_degraded(copies, noise_pairs, save_image):
    grey = Pair(save_image("grey.png", np.full((16, 16, 3), 128, np.uint8)))
    make = {"scale": 2, "batch_size": 5, "patch_size": 4}
    patches = Patches([*noise_pairs, grey], degrade=degrader("real-esrgan", 2), copies=copies, **make)
    changed = 0
    for step, (lr, hr) in enumerate(batches(patches, 6)):
        for name, low, high in zip(patches.files(step), lr, hr, strict=True):
            if name == str(grey.hr):
                changed += (levels(low) != 128).any()
            else:
                np.testing.assert_array_equal(high, low.repeat(2, axis=0).repeat(2, axis=1))
    assert changed == 6


def test_live_degradation_of_a_step_is_always_the_same(hr_pairs):
    make = {"scale": 4, "batch_size": 3, "patch_size": 10, "seed": 4, "copies": 0}
    first, second = (batches(Patches(hr_pairs, degrade=degrader("real-esrgan", 4), **make), 5) for _ in range(2))
    later = batches(Patches(hr_pairs, degrade=degrader("real-esrgan", 4), **make), 2, first_step=3)
    for (lr, hr), (same_lr, same_hr) in zip(first + first[3:], second + later, strict=True):
        np.testing.assert_array_equal(lr, same_lr)
        np.testing.assert_array_equal(hr, same_hr)


def test_live_degradation_makes_each_patch_anew(save_image):
    hr = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    pairs = [Pair(save_image("hr.png", hr))]  # one patch and no more
    make = {"scale": 4, "batch_size": 2, "patch_size": 8, "augmentation": NO_AUGMENTATION}
    drawn = lr_patches(Patches(pairs, degrade=degrader("real-esrgan", 4), copies=0, **make), 10)
    assert len({patch.tobytes() for patch in drawn}) == 20
    whole = lr_patches(Patches(pairs, degrade=degrader("real-esrgan", 4), copies=1, **make), 10)
    assert len({patch.tobytes() for patch in whole}) == 1


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, EVERY_AUGMENTATION])
@pytest.mark.parametrize("scale", [2, 4])
def test_live_patch_lies_where_its_hr_patch_lies(scale, augmentation, hr_pairs):
    plain = EveryNth(scale)
    make = {"batch_size": 3, "patch_size": 6, "hr_scales": (0.6,), "augmentation": NO_AUGMENTATION}
    patches = Patches(hr_pairs, scale, degrade=plain, copies=0, **make)
    for lr, hr in batches(patches, 20):
        np.testing.assert_array_equal(lr, hr[:, ::scale, ::scale])
    whole = Patches(hr_pairs, scale, **(make | {"augmentation": augmentation}))
    live = Patches(hr_pairs, scale, degrade=plain, copies=0, **(make | {"augmentation": augmentation}))
    for (_, one), (_, other) in zip(batches(whole, 5), batches(live, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_live_patch_is_degraded_with_its_surroundings_and_by_its_index(save_image):
    hr = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    plain = EveryNth(2)
    patches = Patches([Pair(save_image("hr.png", hr))], 2, batch_size=2, patch_size=6, degrade=plain, copies=0)
    batches(patches, 40)
    assert sorted(index for _, index in plain.calls)[:80] == list(range(80))
    sides = np.array([shape for shape, _ in plain.calls])
    assert (sides % 2 == 0).all()
    # A patch and what surrounds it; less where the image ends, but never less than the patch.
    assert sides.max() == 2 * (6 + 2 * CONTEXT)
    assert 2 * 6 <= sides.min() < sides.max()


# Pixels of the edge that know what is beyond it: Pillow's bicubic reaches 2 LR pixels, a 7x7 blur 3 HR pixels more.
@pytest.mark.parametrize(("name", "scale", "edge"), [("bicubic", 2, 2), ("bicubic", 4, 2), ("jiang", 2, 4)])
def test_live_and_whole_degradation_agree_inside_the_patch(name, scale, edge, hr_pairs):
    make = {"scale": scale, "batch_size": 3, "patch_size": 12, "degrade": degrader(name, scale)}
    live, whole = (batches(Patches(hr_pairs, copies=copies, **make), 10) for copies in (0, 1))
    for (lr, hr), (whole_lr, whole_hr) in zip(live, whole, strict=True):
        np.testing.assert_array_equal(hr, whole_hr)
        np.testing.assert_array_equal(lr[:, edge:-edge, edge:-edge], whole_lr[:, edge:-edge, edge:-edge])


@pytest.mark.parametrize("copies", [0, 2])
def test_number_of_threads_changes_no_batch(copies, hr_pairs):
    patches = Patches(hr_pairs, 4, 3, patch_size=10, degrade=degrader("real-esrgan", 4), copies=copies)
    runs = []
    for threads in (1, 4):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        runs.append(list(patches.dataset().with_options(options).take(8).as_numpy_iterator()))
    for (lr, hr), (same_lr, same_hr) in zip(*runs, strict=True):
        np.testing.assert_array_equal(lr, same_lr)
        np.testing.assert_array_equal(hr, same_hr)


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_copies_take_turns_by_pass_over_the_images(copies, plain_pairs):
    def degrade(hr, image, copy):
        assert (hr == 10 * image).all()
        return np.full((4, 4, 3), 10 * image + copy, np.uint8)

    patches = Patches(plain_pairs(4), 2, batch_size=2, patch_size=4, degrade=degrade, copies=copies)
    for step, (lr, hr) in enumerate(batches(patches, 16)):
        # Two steps are a pass.
        np.testing.assert_array_equal(levels(lr)[:, 0, 0, 0] - levels(hr)[:, 0, 0, 0], step // 2 % copies)


def test_copies_are_the_degrader_s_of_image_and_copy(hr_pairs):
    degrade = degrader("real-esrgan", 4, seed=2)
    make = {"batch_size": 1, "patch_size": 23, "augmentation": NO_AUGMENTATION}
    patches = Patches(hr_pairs[2:], 4, degrade=degrade, copies=2, **make)  # 92x92 is one patch
    whole = decode(hr_pairs[2].hr)
    drawn = levels(lr_patches(patches, 4))
    for step in range(4):
        np.testing.assert_array_equal(drawn[step], degrade(whole, 0, step % 2))
    np.testing.assert_array_equal(load_pair(hr_pairs[2], 4, degrade)[0], drawn[0])
