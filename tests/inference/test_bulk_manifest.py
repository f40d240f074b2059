"""The manifest of bulk runs: both forms, lines cut off, the last line that counts."""

import pytest

from keras_fsr.errors import DataError, OutputError
from keras_fsr.inference import bulk_manifest
from keras_fsr.inference.bulk_worker import Row

GOOD = Row("/in/a, b.png", "a, b.png", "face_x4:00", "ab" * 32, 12.5, "")
BAD = Row("/in/ä.png", "", "face_x4:00", "", 0.0, '/in/ä.png: is "bad"\nindeed')


@pytest.fixture(params=["csv", "jsonl"])
def path(request, tmp_path):
    return tmp_path / f"manifest.{request.param}"


def test_what_is_added_is_read(path):
    assert list(bulk_manifest.read(path)) == []
    bulk_manifest.add(path, [GOOD])
    bulk_manifest.add(path, [BAD])
    assert list(bulk_manifest.read(path)) == [GOOD, BAD]


@pytest.mark.parametrize("cut", [1, 3, 30, 80, 85, 95])
def test_a_line_that_is_cut_off_is_dropped_and_the_next_is_whole(path, cut):
    bulk_manifest.add(path, [BAD, GOOD])
    path.write_bytes(path.read_bytes()[:-cut])
    assert bulk_manifest.settle(path) in ((1, 2) if cut == 1 else (1,))
    after = Row("/in/c.png", "c.png", "m", "0", 1.0, "")
    bulk_manifest.add(path, [after])
    rows = list(bulk_manifest.read(path))
    assert rows[0] == BAD
    assert rows[-1] == after


def test_the_last_line_counts_and_stale_ones_go(path):
    rows = [Row(name, f"{number}.png", "m", "0", 1.0, "") for number, name in enumerate("abab")]
    bulk_manifest.add(path, rows)
    assert bulk_manifest.settle(path) == 2
    assert list(bulk_manifest.read(path)) == rows[2:]
    assert bulk_manifest.settle(path, lambda number, row: number < 1 and row.input in "ab") == 1
    assert list(bulk_manifest.read(path)) == rows[3:]


def test_another_file_is_not_a_manifest(path):
    path.write_text("a,b\n1,2\n" if path.suffix == ".csv" else '{"a": 1}\n')
    with pytest.raises(DataError, match="is not a manifest"):
        list(bulk_manifest.read(path))


def test_a_manifest_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(OutputError, match=r"no/manifest\.csv: cannot be written"):
        bulk_manifest.add(tmp_path / "no" / "manifest.csv", [GOOD])
