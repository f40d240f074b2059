"""LR sets of folders: names, records, replays to the byte, and records that nobody wrote honestly."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.data.degraded_folder import RECORDS, degrade_folder, number_of, read_records, replay_folder
from keras_fsr.degradations import presets
from keras_fsr.degradations.classical import Chain
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DataError, OutputError


@pytest.fixture
def pixels():
    """The same noise for the same name."""

    def make(name: str, height: int = 32, width: int = 24) -> np.ndarray:
        return np.random.default_rng(number_of(Path(name))).integers(0, 256, (height, width, 3), np.uint8)

    return make


@pytest.fixture
def originals(save_image, pixels, tmp_path):
    """A folder with a PNG, a BMP whose sides are no multiples of 4, and a JPEG in a subfolder."""
    save_image("hr/a.png", pixels("a.png"))
    save_image("hr/b.x.bmp", pixels("b.x.bmp", 35, 22))
    save_image("hr/sub/c.jpg", pixels("c.jpg", 40, 40))
    return tmp_path / "hr"


@pytest.fixture
def degrade():
    return Degrader(presets.load("real-esrgan"), 4, seed=5)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def records_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / RECORDS).read_text(encoding="utf-8").splitlines()]


def test_names_and_tree_are_kept_as_png_beside_the_records(originals, degrade, tmp_path):
    out = tmp_path / "deep" / "lr"
    report = degrade_folder(originals, out, degrade, "real-esrgan")
    assert list(files_of(out)) == ["a.png", "b.x.png", RECORDS, "sub/c.png"]
    assert report.records == out / RECORDS
    assert report.written == [out / "a.png", out / "b.x.png", out / "sub" / "c.png"]
    assert report.failed == []
    sizes = {}
    for path in report.written:
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("PNG", "RGB")
            sizes[path.name] = image.size
    assert sizes == {"a.png": (6, 8), "b.x.png": (5, 8), "c.png": (10, 10)}  # cut first


def test_each_image_has_a_line_with_all_that_made_it(originals, degrade, pixels, tmp_path):
    degrade_folder(originals, tmp_path / "lr", degrade, "real-esrgan")
    records = records_of(tmp_path / "lr")
    assert [(record["file"], record["lr"]) for record in records] == [
        ("a.png", "a.png"),
        ("b.x.bmp", "b.x.png"),
        ("sub/c.jpg", "sub/c.png"),
    ]
    for record in records:
        assert list(record) == ["file", "lr", "model", "scale", "seed", "steps"]
        assert (record["model"], record["scale"], record["seed"]) == ("real-esrgan", 4, 5)
    chain = Chain.from_json(records[1]["steps"])
    with Image.open(tmp_path / "lr" / "b.x.png") as image:
        np.testing.assert_array_equal(np.asarray(image), chain(pixels("b.x.bmp", 35, 22)[:32, :20]))
    assert len({json.dumps(record["steps"]) for record in records}) == 3


def test_progress_counts_the_files(originals, degrade, tmp_path):
    seen = []
    degrade_folder(originals, tmp_path / "lr", degrade, "m", lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_replay_makes_the_same_bytes(originals, degrade, tmp_path):
    degrade_folder(originals, tmp_path / "one", degrade, "real-esrgan")
    report = replay_folder(originals, tmp_path / "two", tmp_path / "one" / RECORDS)
    assert len(report.written) == 3
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_same_seed_makes_the_same_bytes_and_another_others(originals, degrade, tmp_path):
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        degrade_folder(originals, tmp_path / name, Degrader(degrade.degradation, 4, seed), "m")
    one, two, three = (files_of(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert all(one[name] != three[name] for name in one)


def test_file_that_is_added_or_removed_changes_no_other(originals, degrade, save_image, pixels, tmp_path):
    degrade_folder(originals, tmp_path / "before", degrade, "m")
    save_image("hr/0.png", pixels("0.png"))
    (originals / "b.x.bmp").unlink()
    degrade_folder(originals, tmp_path / "after", degrade, "m")
    before, after = files_of(tmp_path / "before"), files_of(tmp_path / "after")
    assert set(after) == {"0.png", "a.png", "sub/c.png", RECORDS}
    assert all(after[name] == before[name] for name in ("a.png", "sub/c.png"))
    lines = [set((tmp_path / name / RECORDS).read_text().splitlines()) for name in ("before", "after")]
    assert len(lines[0] & lines[1]) == 2


def test_name_stands_for_the_same_number_everywhere():
    # sha256 of the text, its first 7 bytes; by sha256sum.
    assert number_of(Path("a.png")) == 0x7F071235805FBF
    assert number_of(Path("sub/c.jpg")) != number_of(Path("c.jpg"))


def test_damaged_file_is_told_and_the_others_are_done(originals, degrade, save_image, pixels, tmp_path):
    whole = tmp_path / "whole"
    degrade_folder(originals, whole, degrade, "m")
    path = originals / "a0.png"
    path.write_bytes((originals / "a.png").read_bytes()[:-400])
    save_image("hr/tiny.png", pixels("tiny.png", 3, 30))
    out = tmp_path / "lr"
    report = degrade_folder(originals, out, degrade, "m")
    assert [file.name for file, _ in report.failed] == ["a0.png", "tiny.png"]
    assert "a0.png: is damaged" in report.failed[0][1]
    assert "tiny.png: 30x3 is smaller than the scale 4" in report.failed[1][1]
    assert files_of(out) == files_of(whole)  # nor has the damaged one a record


def test_original_that_is_gone_at_a_replay_is_told(originals, degrade, tmp_path):
    degrade_folder(originals, tmp_path / "one", degrade, "m")
    (originals / "a.png").unlink()
    report = replay_folder(originals, tmp_path / "two", tmp_path / "one" / RECORDS)
    assert [file.name for file, _ in report.failed] == ["a.png"]
    assert [path.name for path in report.written] == ["b.x.png", "c.png"]


STEP = {"step": "Resize", "share": 0.25, "mode": "area"}
GOOD = {"file": "a.png", "lr": "a.png", "model": "m", "scale": 4, "seed": 0, "steps": [STEP]}


def without(key: str) -> dict:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (GOOD | {"lr": "../a.png"}, "lr leads out of the folder"),
        (GOOD | {"lr": "sub/../../a.png"}, "lr leads out of the folder"),
        (GOOD | {"lr": "/tmp/a.png"}, "lr leads out of the folder"),
        (GOOD | {"file": "../secret.png"}, "file leads out of the folder"),
        (GOOD | {"file": "/etc/passwd"}, "file leads out of the folder"),
        (GOOD | {"file": ["a.png"]}, ""),
        (GOOD | {"lr": "a.txt"}, "'a.txt' is no .png file"),
        (GOOD | {"lr": ""}, "'' is no .png file"),
        (GOOD | {"lr": RECORDS}, "is no .png file"),
        (GOOD | {"scale": 0}, "scale 0 is no whole number of at least 1"),
        (GOOD | {"scale": -4}, "scale -4 is no"),
        (GOOD | {"scale": "4"}, "scale '4' is no"),
        (GOOD | {"scale": 2.5}, "scale 2.5 is no"),
        (GOOD | {"scale": None}, "scale None is no"),
        (without("file"), "'file'"),
        (without("lr"), "'lr'"),
        (without("scale"), "'scale'"),
        (without("steps"), "'steps'"),
        (GOOD | {"steps": [STEP, {"step": "Sharpen"}]}, "step 'Sharpen' .* is not possible"),
        (GOOD | {"steps": [STEP | {"command": "rm"}]}, "step 'Resize' .* is not possible"),
        (GOOD | {"steps": None}, ""),
        (GOOD | {"steps": [5]}, ""),
        ([GOOD], ""),
        (5, ""),
        (None, ""),
    ],
)
def test_hostile_record_is_refused_with_its_line_before_anything_is_written(record, reason, originals, tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n{json.dumps(record)}\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=rf"records\.jsonl, line 2: is no record of a degradation \(.*{reason}"
    ) as caught:
        replay_folder(originals, tmp_path / "lr", file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lr").exists()
    file.write_text(f"{json.dumps(GOOD)}\n", encoding="utf-8")
    assert len(replay_folder(originals, tmp_path / "lr", file).written) == 1


@pytest.mark.parametrize("line", ["", "{", "not JSON", "{'file': 'a.png'}"])
def test_line_that_is_no_json_is_refused_with_its_number(line, originals, tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3: is no record"):
        list(read_records(file))


def test_file_of_records_that_cannot_be_read_is_named(originals, tmp_path):
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("missing.jsonl", "binary.jsonl", "pipe.jsonl"):
        with pytest.raises(DataError, match=f"{name}: cannot be read .* give the {RECORDS} of a degraded folder"):
            replay_folder(originals, tmp_path / "lr", tmp_path / name)


def test_output_that_is_the_input_is_refused(originals, degrade, tmp_path):
    before = files_of(originals)
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps(GOOD) + "\n", encoding="utf-8")
    for out in (originals, originals / "sub" / ".."):
        with pytest.raises(OutputError, match="is in the folder of the originals"):
            degrade_folder(originals, out, degrade, "m")
        with pytest.raises(OutputError, match="is in the folder of the originals"):
            replay_folder(originals, out, records)
    assert files_of(originals) == before


def test_two_images_that_become_one_are_refused(originals, degrade, save_image, pixels, tmp_path):
    save_image("hr/a.bmp", pixels("a.bmp"))
    with pytest.raises(DataError, match=r"a\.png: another image would also become a\.png; rename one"):
        degrade_folder(originals, tmp_path / "lr", degrade, "m")
    assert not (tmp_path / "lr").exists()
    records = tmp_path / "records.jsonl"
    records.write_text(2 * (json.dumps(GOOD) + "\n"), encoding="utf-8")
    with pytest.raises(DataError, match="another image would also become"):
        replay_folder(originals, tmp_path / "lr", records)


def test_output_that_cannot_be_written_is_one_line(originals, degrade, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: cannot be made a folder") as caught:
        degrade_folder(originals, tmp_path / "file", degrade, "m")
    assert "\n" not in str(caught.value)


def test_folder_without_images_is_refused(tmp_path, degrade):
    with pytest.raises(DataError, match="no such folder"):
        degrade_folder(tmp_path / "none", tmp_path / "lr", degrade, "m")
