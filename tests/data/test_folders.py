"""Data folders: what is found, paired, refused by name, and split."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.data.folders import (
    Pair,
    check_pairs,
    find_split,
    image_size,
    list_images,
    pair_images,
    split_by_manifest,
    split_by_ratio,
    training_and_validation,
)
from keras_fsr.errors import DataError


@pytest.fixture
def make_images(save_image, tmp_path):
    """Black images of a size (width, height) at the given paths below tmp_path, which is returned."""

    def make(*names: str, size: tuple[int, int] = (8, 8)):
        for name in names:
            save_image(name, np.zeros((*size[::-1], 3), np.uint8))
        return tmp_path

    return make


def names_of(pairs) -> list[str]:
    return [pair.hr.name for pair in pairs]


def fake_pairs(count: int) -> list[Pair]:
    return [Pair(Path(f"{i:03}.png")) for i in range(count)]


def test_images_are_listed_below_the_folder_in_order(make_images):
    root = make_images("b.png", "sub/a.JPG", "c.webp", "a.tif")
    (root / "notes.txt").write_text("no image")
    (root / "folder.png").mkdir()
    assert list_images(root) == [root / name for name in ("a.tif", "b.png", "c.webp", "sub/a.JPG")]


def test_hidden_files_and_folders_are_left_out(make_images):
    root = make_images("seen.png", ".hidden.png", ".thumbnails/small.png", "sub/.cache/x.png")
    assert list_images(str(root)) == [root / "seen.png"]


def test_hidden_folder_above_the_data_does_not_matter(make_images):
    root = make_images(".cache/data/seen.png") / ".cache" / "data"
    assert list_images(root) == [root / "seen.png"]


@pytest.mark.parametrize(("folder", "message"), [("missing", "no such folder"), ("", "holds no image")])
def test_folder_without_images_is_refused(folder, message, tmp_path):
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / folder))}: {message}"):
        list_images(tmp_path / folder)


def test_hr_alone_has_no_lr(make_images):
    root = make_images("b.png", "a.png")
    assert pair_images(root) == [Pair(root / "a.png", None), Pair(root / "b.png", None)]


def test_pairs_share_their_relative_name_whatever_the_extension(make_images):
    root = make_images("hr/a.png", "hr/sub/a.png", "hr/v1.2.png", "lr/a.jpg", "lr/sub/a.png", "lr/v1.2.bmp")
    expected = [("a.png", "a.jpg"), ("sub/a.png", "sub/a.png"), ("v1.2.png", "v1.2.bmp")]
    assert pair_images(root / "hr", str(root / "lr")) == [
        Pair(root / "hr" / hr, root / "lr" / lr) for hr, lr in expected
    ]


@pytest.mark.parametrize(
    ("files", "culprit"),
    [
        (("hr/a.png", "hr/b.png", "lr/a.png"), "hr/b.png: has no partner named b"),
        (("hr/a.png", "lr/a.png", "lr/b.png"), "lr/b.png: has no HR partner"),
        (("hr/sub/a.png", "lr/a.png"), "hr/sub/a.png: has no partner named sub/a"),
    ],
)
def test_image_without_partner_is_named(files, culprit, make_images):
    root = make_images(*files)
    with pytest.raises(DataError, match=re.escape(str(root / culprit))):
        pair_images(root / "hr", root / "lr")


def test_size_is_width_then_height(make_images):
    root = make_images("wide.png", size=(9, 5))
    assert image_size(root / "wide.png") == (9, 5)


def test_good_pairs_pass(make_images):
    root = make_images("hr/a.png", size=(16, 24))
    make_images("lr/a.png", size=(4, 6))
    check_pairs(pair_images(root / "hr", root / "lr"), scale=4, patch_size=4)
    check_pairs(pair_images(root / "hr"), scale=4, patch_size=4)


def test_corrupt_image_is_named(make_images):
    root = make_images("a.png")
    (root / "b.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="b.png: is damaged or cannot be read as an image"):
        check_pairs(pair_images(root), scale=2, patch_size=4)


@pytest.mark.parametrize("size", [(15, 40), (40, 15)])
def test_image_smaller_than_a_patch_is_named(size, make_images):
    root = make_images("a.png", size=(16, 16))
    make_images("b.png", size=size)
    with pytest.raises(DataError, match=rf"b.png: {size[0]}x{size[1]} is smaller than one 16x16 patch"):
        check_pairs(pair_images(root), scale=4, patch_size=4)


@pytest.mark.parametrize("size", [(8, 9), (9, 8), (16, 16)])
def test_pair_of_another_ratio_is_named(size, make_images):
    root = make_images("hr/a.png", size=(16, 16))
    make_images("lr/a.png", size=size)
    with pytest.raises(DataError, match=rf"lr/a.png: {size[0]}x{size[1]} times 2 is not 16x16"):
        check_pairs(pair_images(root / "hr", root / "lr"), scale=2, patch_size=4)


@pytest.mark.parametrize(
    ("count", "share", "validation"),
    [(10, 0.2, 2), (10, 0.0, 1), (10, 1.0, 9), (2, 0.1, 1), (25, 0.1, 2)],
)
def test_ratio_splits_all_images_in_two(count, share, validation):
    pairs = fake_pairs(count)
    train, val = split_by_ratio(pairs, share)
    assert (len(train), len(val)) == (count - validation, validation)
    assert sorted(names_of(train + val)) == names_of(pairs)


def test_ratio_split_depends_on_the_seed_alone():
    pairs = fake_pairs(20)
    first = split_by_ratio(pairs, 0.3, seed=1)
    assert split_by_ratio(pairs[::-1], 0.3, seed=1) == first
    assert set(split_by_ratio(pairs, 0.3, seed=2)[1]) != set(first[1])
    assert set(first[1]) != set(pairs[:6])


@pytest.mark.parametrize(("count", "culprit"), [(1, "000.png"), (0, "data")])
def test_one_image_cannot_be_split(count, culprit):
    with pytest.raises(DataError, match=f"{culprit}: one image cannot be split"):
        split_by_ratio(fake_pairs(count), 0.5)


def write_manifest(root, rows: dict[str, str], header: str = "file,split"):
    text = "\n".join([header, *(f"{file},{split}" for file, split in rows.items())])
    (root / "manifest.csv").write_text(text + "\n")


def test_manifest_splits(make_images):
    root = make_images("a.png", "sub/b.png", "c.png", "d.png")
    write_manifest(root, {"a.png": "train", "sub/b.png": "val", "c.png": "train", "d.png": "test", "e.png": "val"})
    splits = split_by_manifest(pair_images(root), root / "manifest.csv")
    assert {split: names_of(pairs) for split, pairs in splits.items()} == {
        "train": ["a.png", "c.png"],
        "val": ["b.png"],
        "test": ["d.png"],
    }


def test_image_that_the_manifest_lacks_is_named(make_images):
    root = make_images("a.png", "b.png")
    write_manifest(root, {"a.png": "train"})
    with pytest.raises(DataError, match="b.png: is not listed in .*manifest.csv"):
        split_by_manifest(pair_images(root), root / "manifest.csv")


@pytest.mark.parametrize("header", ["file,part", "name,split", ""])
def test_manifest_without_its_columns_is_refused(header, make_images):
    root = make_images("a.png")
    write_manifest(root, {"a.png": "train"}, header)
    with pytest.raises(DataError, match="manifest.csv: needs the columns 'file' and 'split'"):
        split_by_manifest(pair_images(root), root / "manifest.csv")


@pytest.mark.parametrize("content", [b"\xff", b"a\0.png,train\n", b"x" * 200_000, b'"' + b"x" * 200_000])
def test_manifest_that_is_no_csv_is_refused(content, make_images):
    root = make_images("a.png")
    (root / "manifest.csv").write_bytes(b"file,split\n" + content)
    with pytest.raises(DataError, match=r"manifest.csv: cannot be read as a CSV \(.*\); repair or remove it"):
        split_by_manifest(pair_images(root), root / "manifest.csv")


def test_manifest_of_a_spreadsheet_may_have_a_mark_and_short_rows(make_images):
    root = make_images("a.png")
    (root / "manifest.csv").write_text("split,file\nval\ntrain,a.png\n", encoding="utf-8-sig")
    assert list(split_by_manifest(pair_images(root), root / "manifest.csv")) == ["train"]


@pytest.mark.parametrize("folder", ["val", "valid", "validation"])
def test_split_folder_goes_by_several_names(folder, tmp_path):
    assert find_split(tmp_path, "val") is None
    (tmp_path / folder).mkdir()
    assert find_split(str(tmp_path), "val") == tmp_path / folder


def test_first_rule_is_the_subfolders(make_images):
    root = make_images("train/a.png", "train/b.png", "valid/c.png", "d.png")
    write_manifest(root, {"train/a.png": "val", "train/b.png": "val", "valid/c.png": "train", "d.png": "train"})
    train, val = training_and_validation(root)
    assert (names_of(train), names_of(val)) == (["a.png", "b.png"], ["c.png"])


def test_first_rule_pairs_with_the_same_subfolders_of_lr(make_images):
    root = make_images("hr/train/a.png", "hr/valid/b.png", "lr/train/a.png", "lr/valid/b.png")
    assert training_and_validation(root / "hr", str(root / "lr")) == (
        [Pair(root / "hr/train/a.png", root / "lr/train/a.png")],
        [Pair(root / "hr/valid/b.png", root / "lr/valid/b.png")],
    )


def test_second_rule_is_the_manifest(make_images):
    root = make_images("train/a.png", "b.png", "c.png")
    write_manifest(root, {"train/a.png": "val", "b.png": "train", "c.png": "test"})
    train, val = training_and_validation(root, validation=0.9)
    assert (names_of(train), names_of(val)) == (["b.png"], ["a.png"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_manifest_without_one_side_is_refused(split, make_images):
    root = make_images("a.png")
    write_manifest(root, {"a.png": split})
    with pytest.raises(DataError, match="manifest.csv: has no 'train' or no 'val' image"):
        training_and_validation(root)


def test_third_rule_is_the_ratio(make_images):
    root = make_images(*(f"{i}.png" for i in range(8)))
    result = training_and_validation(root, validation=0.25, seed=3)
    assert result == split_by_ratio(pair_images(root), 0.25, seed=3)
    assert len(result[1]) == 2


def test_a_test_folder_is_never_trained_on(make_images):
    root = make_images(*(f"train/{i}.png" for i in range(8)), "test/secret.png")
    train, val = training_and_validation(root, validation=0.25)
    assert len(train) + len(val) == 8
    assert "secret.png" not in names_of(train + val)


def test_lr_names_may_end_in_the_scale_as_div2k_s_do(make_images):
    root = make_images("hr/0801.png", "hr/2x2.png", "lr/0801x4.png", "lr/2x2.png")
    pairs = pair_images(root / "hr", root / "lr")
    assert [(pair.hr.name, pair.lr.name) for pair in pairs] == [("0801.png", "0801x4.png"), ("2x2.png", "2x2.png")]
    root = make_images("hr/a.png", "lr/a.png", "lr/x4.png")  # which is no name with an ending
    with pytest.raises(DataError, match="x4.png: has no HR partner"):
        pair_images(root / "hr", root / "lr")


def test_size_and_pixels_agree_on_a_picture_that_lies_on_its_side(tmp_path):
    from PIL import Image

    from keras_fsr.data.loading import decode

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 8)).save(tmp_path / "side.jpg", exif=exif)
    assert image_size(tmp_path / "side.jpg") == (8, 12)
    assert decode(tmp_path / "side.jpg").shape == (12, 8, 3)


def test_lost_links_and_folders_that_cannot_be_listed_are_not_left_out(make_images, monkeypatch):
    folder = make_images("a.png", "sub/b.png")
    (folder / "lost.png").symlink_to(folder / "none.png")
    assert [path.name for path in list_images(folder)] == ["a.png", "lost.png", "b.png"]
    # Tests may run as root, whom permissions do not bind: the refusal of the operating system is played.
    listed = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"sub: cannot be listed \(Permission denied\); check its permissions"):
        list_images(folder)
