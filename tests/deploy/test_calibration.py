"""Images for an export: which, how many, what part of them."""

import numpy as np
import pytest

from keras_fsr.data.folders import Pair
from keras_fsr.deploy import calibration
from keras_fsr.deploy.calibration import calibration_patches, compared_pairs, grid, portrait_pairs, read_folder
from keras_fsr.errors import DataError


def names(pairs) -> list[str]:
    return [pair.hr.name for pair in pairs]


def test_plain_folder_calibrates_and_compares_on_all(faces):
    learned, compared = read_folder(faces, None, trained=False)
    assert names(learned) == names(compared) == [f"{i}.png" for i in range(9)]


def test_training_compares_on_other_images(faces):
    learned, compared = read_folder(faces, None, trained=True)
    assert (len(learned), len(compared)) == (8, 1)
    assert not set(names(learned)) & set(names(compared))


@pytest.mark.parametrize("trained", [False, True])
def test_folder_with_splits_keeps_them_apart(save_image, tmp_path, trained):
    for split in ("train", "val", "test"):
        save_image(f"{split}/{split}.png", np.zeros((64, 64, 3), np.uint8))
    learned, compared = read_folder(tmp_path, None, trained)
    assert (names(learned), names(compared)) == (["train.png"], ["val.png"])


def test_patches_lie_side_by_side_in_the_middle():
    # 100 pixels: 2 patches of 48, 4 left over, of which 2 before; 50: one patch, 2 left over, 1 before.
    rows, columns = np.mgrid[0:100, 0:50]
    patches = grid(np.stack([rows, columns, rows], axis=-1))
    assert [(p[0, 0, 0], p[0, 0, 1], p.shape) for p in patches] == [(2, 1, (48, 48, 3)), (50, 1, (48, 48, 3))]
    assert grid(np.zeros((47, 100, 3))) == []


def test_patches_are_those_of_the_reduced_images(many_faces):
    from PIL import Image

    patches = calibration_patches([Pair(path) for path in sorted(many_faces.iterdir())[:2]], 4)
    assert patches.shape == (32, 48, 48, 3)  # two images of 192x192
    first = Image.open(many_faces / "0.png").resize((192, 192), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(patches[1], np.asarray(first)[:48, 48:96])


def test_patches_come_from_all_images(many_faces, monkeypatch):
    monkeypatch.setattr(calibration, "MOST", 6)
    monkeypatch.setattr(calibration, "FEWEST", 6)
    pairs = [Pair(path) for path in sorted(many_faces.iterdir())[:2]]
    patches = calibration_patches(pairs, 4)
    assert len(patches) == 6
    np.testing.assert_array_equal(patches[3], calibration_patches(pairs[1:], 4)[0])


def test_too_few_patches_are_refused(many_faces, faces):
    one = Pair(many_faces / "0.png")
    with pytest.raises(DataError, match="many_faces.*: has 16 calibration patches of 48x48 LR pixels, 32 are needed"):
        calibration_patches([one], 4)
    with pytest.raises(DataError, match="has 0 calibration patches"):
        calibration_patches([Pair(faces / "0.png")], 8)  # LR images of 28x25


def test_given_lr_images_are_taken(save_image, tmp_path):
    save_image("hr/a.png", np.zeros((256, 256, 3), np.uint8))
    save_image("lr/a.png", np.full((64, 64, 3), 7, np.uint8))
    pairs, _ = read_folder(tmp_path / "hr", tmp_path / "lr", trained=False)
    ((lr, hr),) = compared_pairs(pairs, 4)
    assert (lr == 7).all()
    assert (hr == 0).all()


def test_compared_are_the_middles_of_both(save_image):
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (300, 400, 3), np.uint8)
    lr = rng.integers(0, 256, (75, 100, 3), np.uint8)
    pair = Pair(save_image("hr.png", hr), save_image("lr.png", lr))
    ((small, large),) = compared_pairs([pair], 4)
    np.testing.assert_array_equal(small, lr[5:69, 18:82])
    np.testing.assert_array_equal(large, hr[20:276, 72:328])


def test_compared_are_24_images_from_the_whole_folder(save_image):
    path = save_image("a.png", np.zeros((64, 64, 3), np.uint8))
    pairs = [Pair(path)] * 100
    assert len(compared_pairs(pairs, 4)) == 24
    assert calibration.spread(range(100), 4) == [0, 25, 50, 75]
    assert calibration.spread(range(3), 4) == [0, 1, 2]


def test_pair_of_another_scale_is_refused(save_image):
    pair = Pair(
        save_image("a.png", np.zeros((64, 64, 3), np.uint8)), save_image("b.png", np.zeros((32, 32, 3), np.uint8))
    )
    with pytest.raises(DataError, match=r"b.png: 32x32 times 4 is not 64x64 of .*a.png"):
        compared_pairs([pair], 4)


@pytest.mark.parametrize(("scale", "lr_side"), [(1, 64), (2, 64), (4, 64), (8, 64)])
def test_portrait_fits_every_scale(scale, lr_side):
    pytest.importorskip("skimage", reason="scikit-image brings the portrait")
    ((lr, hr),) = portrait_pairs(scale)
    assert lr.shape == (lr_side, lr_side, 3)
    assert hr.shape == (lr_side * scale, lr_side * scale, 3)
    assert hr.std() > 30
