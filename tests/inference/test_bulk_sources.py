"""What bulk runs find: chunks of names from folders, lists, Parquet files and shards."""

import pytest

from keras_fsr.errors import DataError
from keras_fsr.inference.bulk_sources import FILES, PARQUET, SHARD, find_source


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.jpg", "sub/c.png", ".hidden.png", "out/d.png", "notes.md"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def names(source):
    return [[item.name for item in chunk.items] for chunk in source.chunks()]


def targets(source):
    return [[item.target for item in chunk.items] for chunk in source.chunks()]


def test_a_folder_becomes_chunks_without_its_results(folder):
    source = find_source(folder, folder / "out", size=2)
    assert targets(source) == [["a.jpg", "b.png"], ["sub/c.png"]]
    assert names(source)[1] == [str(folder / "sub" / "c.png")]
    assert source.total == 3
    assert {(chunk.kind, chunk.shard) for chunk in source.chunks()} == {(FILES, "")}
    assert targets(source) == targets(source)  # a source can be read again


def test_results_are_no_inputs_by_whatever_way_the_folder_is_named(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    for source, out in ((tmp_path / "link", folder / "out"), (folder, tmp_path / "link" / "out")):
        assert find_source(source, out).total == 3


def test_shards_to_write_are_numbered(folder):
    chunks = list(find_source(folder, folder / "out", size=1, per_shard=2).chunks())
    assert [(chunk.shard, len(chunk.items)) for chunk in chunks] == [("000000.tar", 2), ("000001.tar", 1)]


def test_a_folder_with_nothing_but_results_holds_no_image(folder):
    for name in ("b.png", "a.jpg", "sub/c.png"):
        (folder / name).unlink()
    with pytest.raises(DataError, match="holds no image"):
        find_source(folder, folder / "out")


def test_a_list_names_each_image_once_and_keeps_places_apart(folder, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text(f"in/b.png\n\n{folder}/a.jpg\nin/sub/../b.png\n/elsewhere/a.jpg\n", encoding="utf-8-sig")
    source = find_source(listing, tmp_path / "out")
    assert names(source) == [[str(folder / "b.png"), str(folder / "a.jpg"), "/elsewhere/a.jpg"]]
    assert targets(source) == [["in/b.png", "in/a.jpg", "elsewhere/a.jpg"]]
    assert source.total == 3


def test_results_that_would_overwrite_are_refused(folder, tmp_path):
    for out in (folder, tmp_path):
        with pytest.raises(DataError, match="lies in the output"):
            find_source(folder, out)
    listing = tmp_path / "list.txt"
    listing.write_text("data/a.png\n/data/a.png\n")
    with pytest.raises(DataError, match=r"/data/a\.png: would overwrite OUT/data/a\.png"):
        find_source(listing, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("no.txt", None, "does not exist"),
        ("a.zip", b"", "is not a folder, .txt, .parquet or .tar"),
        ("a.txt", b"\n", "names no image"),
        ("a.txt", b"\xff\xfe", "cannot be read as a list"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=error):
        find_source(tmp_path / name, tmp_path / "out")


def test_shards_are_a_chunk_each(tmp_path):
    for name in ("b.tar", "a.tar", ".c.tar"):
        (tmp_path / name).touch()
    source = find_source(tmp_path, tmp_path / "out")
    assert [(c.kind, c.container, c.shard) for c in source.chunks()] == [
        (SHARD, str(tmp_path / name), name) for name in ("a.tar", "b.tar")
    ]
    assert source.total == 2
    assert find_source(tmp_path / "b.tar", tmp_path / "out").total == 1


def test_parquet_with_images_is_a_chunk_a_row_group(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "image": [b"a", b"b", b"c"]}), path, row_group_size=2)
    source = find_source(path, tmp_path / "out")
    chunks = list(source.chunks())
    assert [(c.kind, c.container, c.column, c.group) for c in chunks] == [
        (PARQUET, str(path), "image", group) for group in (0, 1)
    ]
    assert targets(source) == [["faces/00000000.png", "faces/00000001.png"], ["faces/00000002.png"]]
    assert names(source)[1] == [f"{path}/2"]
    assert [item.row for chunk in chunks for item in chunk.items] == [0, 1, 0]
    assert [c.shard for c in find_source(path, tmp_path / "out", per_shard=9).chunks()] == [
        "faces-000000.tar",
        "faces-000001.tar",
    ]


def test_parquet_with_paths_is_a_list(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table({"where": ["a.png", None, "b.png"]}), path)
    assert targets(find_source(path, tmp_path / "out", column="where")) == [["a.png", "b.png"]]
    with pytest.raises(DataError, match="has no column image or path, but where"):
        find_source(path, tmp_path / "out")
    with pytest.raises(DataError, match="has no column what"):
        find_source(path, tmp_path / "out", column="what")
    path.write_bytes(b"what")
    with pytest.raises(DataError, match="is not a Parquet file"):
        find_source(path, tmp_path / "out")
