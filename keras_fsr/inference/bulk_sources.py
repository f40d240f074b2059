"""What a bulk run reads: folders, image lists, Parquet files and WebDataset shards, as chunks of names."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from keras_fsr.data.folders import FORMATS, list_images
from keras_fsr.errors import DataError, first_line
from keras_fsr.files import real

FILES, SHARD, PARQUET = "files", "shard", "parquet"
MOST_ROWS = 1_000_000  # of a row group, which is a chunk; of images they would be many GB
COLUMNS = ("image", "path", "file")  # where a Parquet file has its images or their paths, unless one is named


@dataclass(frozen=True)
class Item:
    """An image: what it is called in the manifest, where its result goes below OUT, its row of a Parquet file."""

    name: str
    target: str
    row: int = 0


@dataclass(frozen=True)
class Chunk:
    """What a worker does at once: names only, so that thousands may wait in little memory.

    kind: FILES, SHARD or PARQUET. items: the images; none for a shard, whose reader finds them.
    container: the shard or Parquet file that they lie in. column: of the Parquet file. group: its row group.
    shard: the shard to write, below OUT; "" writes an image each.
    """

    kind: str
    items: tuple[Item, ...] = ()
    container: str = ""
    column: str = ""
    group: int = 0
    shard: str = ""


@dataclass(frozen=True)
class Source:
    """Chunks, made one by one each time they are asked for, and the number of images (of shards: of shards)."""

    chunks: Callable[[], Iterator[Chunk]]
    total: int


def find_source(
    source: Path | str, out: Path | str, size: int = 32, per_shard: int = 0, column: str | None = None
) -> Source:
    """What there is to do.

    Args:
        source: a folder of images or of `.tar` shards, a `.tar`, a `.parquet`, or a `.txt` with a path a line
            (relative ones to the list).
        out: is not taken for input where it lies inside the folder.
        size: images a chunk.
        per_shard: write shards of so many images instead of images; a shard becomes a shard in any case.
        column: of a Parquet file: paths, or encoded images. The first of `COLUMNS` that it has by default.

    Raises:
        DataError: nothing is there, or nothing that can be enlarged; or results would overwrite inputs or each other.
    """
    source, out = Path(os.path.abspath(source)), Path(os.path.abspath(out))
    suffix = source.suffix.lower()
    if not (source.is_dir() or source.is_file()):
        raise DataError(f"{source}: does not exist, or is no file; check the path")
    if real(source).is_relative_to(real(out)):  # results would take the places of inputs
        raise DataError(f"{source}: lies in the output {out}; choose another output")
    if source.is_dir():
        found = sorted(path for path in source.glob("*.tar") if not path.name.startswith("."))
        return _shards(found) if found else _folder(source, out, size, per_shard)
    if suffix == ".tar":
        return _shards([source])
    if suffix == ".parquet":
        return _parquet(source, size, per_shard, column)
    if suffix == ".txt":
        return _listed(partial(_lines, source), source, size, per_shard)
    raise DataError(f"{source}: is not a folder, .txt, .parquet or .tar; for one image use keras-fsr upscale")


def _shards(paths: list[Path]) -> Source:
    chunks = [Chunk(SHARD, container=str(path), shard=path.name) for path in paths]
    return Source(lambda: iter(chunks), len(chunks))


def _folder(folder: Path, out: Path, size: int, per_shard: int) -> Source:
    place, out = real(folder), real(out)
    paths = [path for path in list_images(folder) if not (place / path.relative_to(folder)).is_relative_to(out)]
    if not paths:
        raise DataError(f"{folder}: holds no image ({', '.join(FORMATS)})")

    def items() -> Iterator[Item]:
        return (Item(str(path), path.relative_to(folder).as_posix()) for path in paths)

    return Source(lambda: _chunks(items(), size, per_shard), len(paths))


def _listed(names: Callable[[], Iterable[str]], listing: Path, size: int, per_shard: int) -> Source:
    """Paths one by one; each once, however often it is listed."""

    def items() -> Iterator[Item]:
        taken = {}
        for name in names():
            path = os.path.abspath(listing.parent / name)
            target = _below(Path(path), listing.parent)
            if target not in taken:
                taken[target] = path
                yield Item(path, target)
            elif taken[target] != path:
                raise DataError(f"{path}: would overwrite OUT/{target}, the result of {taken[target]}; rename one")

    total = sum(1 for _ in items())
    if not total:
        raise DataError(f"{listing}: names no image; write a path a line")
    return Source(lambda: _chunks(items(), size, per_shard), total)


def _lines(listing: Path) -> Iterator[str]:
    try:
        with open(listing, encoding="utf-8-sig") as file:
            yield from (line.strip() for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: cannot be read as a list of images ({first_line(error)})") from error


def _below(path: Path, folder: Path) -> str:
    """Where the result of a listed image goes: as it lies to the list, or its whole path where it lies elsewhere."""
    inside = path.is_relative_to(folder)
    return path.relative_to(folder if inside else path.anchor).as_posix()


def _parquet(path: Path, size: int, per_shard: int, column: str | None) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: is not a Parquet file ({first_line(error)})") from error
    schema = file.schema_arrow
    column = column or next((name for name in COLUMNS if name in schema.names), None)
    if column not in schema.names:
        raise DataError(f"{path}: has no column {column or 'image or path'}, but {', '.join(schema.names)}; name one")
    if pa.types.is_string(schema.field(column).type) or pa.types.is_large_string(schema.field(column).type):
        return _listed(partial(_paths, path, column), path, size, per_shard)
    groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    if max(groups, default=0) > MOST_ROWS:
        raise DataError(f"{path}: has {max(groups)} rows in a group; write it with {MOST_ROWS} at most")

    def chunks() -> Iterator[Chunk]:
        start = 0
        for group, rows in enumerate(groups):
            # A group is read as a whole, so it is one chunk.
            items = tuple(
                Item(f"{path}/{start + row}", f"{path.stem}/{start + row:08d}.png", row) for row in range(rows)
            )
            shard = f"{path.stem}-{group:06d}.tar" if per_shard else ""
            yield Chunk(PARQUET, items, str(path), column, group, shard)
            start += rows

    return Source(chunks, sum(groups))


def _paths(path: Path, column: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(1024, columns=[column]):
            yield from (value for value in batch.column(0).to_pylist() if value)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: is damaged ({first_line(error)}); get a complete copy") from error


def _chunks(items: Iterator[Item], size: int, per_shard: int) -> Iterator[Chunk]:
    number = 0
    while part := tuple(islice(items, per_shard or size)):
        yield Chunk(FILES, part, shard=f"{number:06d}.tar" if per_shard else "")
        number += 1
