"""What a worker of a bulk run does with a chunk of images; all that it needs comes with the chunk.

Results take their places whole (`files.whole_file`) and depend on nothing but their input, so a chunk that is done
again after a worker's death leaves what it would have left the first time.
"""

import io
import re
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from keras_fsr import pretrained
from keras_fsr.data.folders import FORMATS
from keras_fsr.errors import ImageError, ModelError, first_line, one_line
from keras_fsr.files import make_folder, whole_file
from keras_fsr.inference.bulk_sources import FILES, SHARD, Chunk, Item
from keras_fsr.inference.folder_runs import CONTINUABLE, describe
from keras_fsr.inference.predictor import Predictor, label_of

_one_at_a_time = threading.Lock()  # an engine holds the tensors of one image


@dataclass(frozen=True)
class Settings:
    """How images are enlarged: `Predictor`'s arguments, and the SHA-256 that the model's file must have."""

    model: str = "face_x4"
    sha256: str = ""
    tile: int | None = 256
    overlap: int = 32
    ensemble: bool = False
    threads: int | None = 1
    max_pixels: int = 64_000_000
    strength: float | None = None
    fidelity: str | None = None
    tag: bool = True

    @property
    def label(self) -> str:
        """As `label_of`."""
        return label_of(self.model, self.strength, self.fidelity, self.ensemble, self.sha256)


@dataclass(frozen=True)
class Row:
    """A line of the manifest: an image and its result (below OUT), or why there is none.

    sha256: of the result's bytes. milliseconds: reading, enlarging and writing, on one worker.
    """

    input: str
    output: str
    model: str
    sha256: str
    milliseconds: float
    error: str


def upscale_chunk(settings: Settings, chunk: Chunk, out: str) -> list[Row]:
    """Enlarges the images of a chunk; a row each, the bad ones' with the error.

    Args:
        out: the folder below which results go.

    Raises:
        ModelError: this machine lacks the model or has another file of that name.
    """
    with _one_at_a_time:
        predictor = load(settings)
        try:
            if chunk.shard:
                return _to_shard(predictor, settings, chunk, Path(out))
            return [
                _upscale(predictor, settings, item, path, Path(out, item.target))[0] for item, path in _images(chunk)
            ]
        except Exception as error:  # what the images lie in is damaged, or the shard cannot be written
            return failed(chunk, settings, _reason(Path(chunk.container), error))


def failed(chunk: Chunk, settings: Settings, reason: str) -> list[Row]:
    """Rows for a chunk of which nothing could be done."""
    names = [item.name for item in chunk.items] or [chunk.container]
    return [Row(name, "", settings.label, "", 0, one_line(reason)) for name in names]


@lru_cache(maxsize=1)
def load(settings: Settings) -> Predictor:
    """The worker's one Predictor.

    Raises:
        ModelError: as `upscale_chunk`.
    """
    options = asdict(settings)
    expected = options.pop("sha256")
    path = pretrained.find(settings.model)
    if not path.is_file():
        raise ModelError(f"{path}: does not exist on a worker; put it where all machines see it under this path")
    if pretrained.digest(path) != expected:
        raise ModelError(f"{path}: is another file on a worker; install the same keras_fsr and models everywhere")
    return Predictor(**options)


def _upscale(predictor: Predictor, settings: Settings, item: Item, path: Path, target: Path) -> tuple[Row, bool]:
    """Enlarges one image into another; its row, and whether there is a result."""
    start = time.perf_counter()
    digest = error = ""
    try:
        if path.is_dir():  # of which the Predictor would make a folder of its own
            raise ImageError(f"{path}: is a folder, not an image; list the images in it")
        make_folder(target.parent)
        predictor.predict(path, target)
        digest = pretrained.digest(target)
    except Exception as problem:  # one image must not end a run of millions
        error = one_line(_reason(path, problem).replace(str(path), item.name))
    milliseconds = round((time.perf_counter() - start) * 1000, 1)
    return Row(item.name, "" if error else item.target, settings.label, digest, milliseconds, error), not error


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, tarfile.TarError):
        return f"{path}: is a damaged shard ({first_line(error)}); get a complete copy"
    if isinstance(error, CONTINUABLE):
        return describe(path, error)
    return f"{path}: {type(error).__name__}: {first_line(error)}"


def _images(chunk: Chunk) -> Iterator[tuple[Item, Path]]:
    """The images of a chunk of files or of a Parquet file, as files."""
    if chunk.kind == FILES:
        yield from ((item, Path(item.name)) for item in chunk.items)
        return
    import pyarrow.parquet as pq

    wanted = {item.row: item for item in chunk.items}
    batches = pq.ParquetFile(chunk.container).iter_batches(
        16, row_groups=[chunk.group], columns=[chunk.column], use_threads=False
    )
    rows = (value for batch in batches for value in batch.column(0).to_pylist())
    with tempfile.TemporaryDirectory() as folder:
        for number, value in enumerate(rows):
            if number in wanted:
                path = Path(folder, "image.png")  # readers go by the content
                path.write_bytes(_encoded(value))
                yield wanted[number], path


def _encoded(value: object) -> bytes:
    """The image in a cell: bytes, or a record with them as Hugging Face's data sets have it."""
    value = value.get("bytes") if isinstance(value, dict) else value
    return value if isinstance(value, bytes) else b""


def _to_shard(predictor: Predictor, settings: Settings, chunk: Chunk, out: Path) -> list[Row]:
    """Writes the results of a chunk into one shard; samples whose image fails are left out of it."""
    rows = []
    make_folder(out)
    with (
        whole_file(out / chunk.shard) as temporary,
        tarfile.open(temporary, "w") as shard,
        tempfile.TemporaryDirectory() as folder,
    ):
        for members in _samples(chunk, Path(folder)):
            results, whole = [], True
            for member, content in members:
                if _leads_out(member.target):
                    reason = f"{member.name}: leads out of the folder that the shard is unpacked in; rename it"
                    rows.append(Row(member.name, "", settings.label, "", 0, one_line(reason)))
                    whole = False
                elif isinstance(content, Path):
                    item = Item(member.name, f"{chunk.shard}/{member.target}")
                    target = Path(folder, "result", f"result{Path(member.target).suffix}")
                    row, good = _upscale(predictor, settings, item, content, target)
                    rows.append(row)
                    whole &= good
                    content = target.read_bytes() if good else b""
                results.append((member.target, content))
            for name, content in results if whole else ():
                _add(shard, name, content)
    return rows


def _samples(chunk: Chunk, folder: Path) -> Iterator[list[tuple[Item, Path | bytes]]]:
    """The samples of a chunk, each a list of members: images as files, what else belongs to them as bytes."""
    if chunk.kind != SHARD:
        yield from ([pair] for pair in _images(chunk))
        return
    with tarfile.open(chunk.container, "r:") as shard:
        for _, members in groupby(_files(shard, Path(chunk.container).stat().st_size), _key):
            yield [_member(shard, member, chunk, folder, number) for number, member in enumerate(members)]
        # Where a file is cut off between two members, tarfile says nothing.
        shard.fileobj.seek(shard.offset)
        if shard.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends early")


def _files(shard: tarfile.TarFile, size: int) -> Iterator[tarfile.TarInfo]:
    """The files in a shard of so many bytes.

    Raises:
        ReadError: a member claims a size that it cannot have: of more memory than there is, or less than nothing,
            which sends older versions of Python round in circles.
    """
    for member in shard:
        if not 0 <= member.size <= size or shard.offset <= member.offset:
            raise tarfile.ReadError(f"a member of {member.size} bytes in a file of {size}")
        if member.isfile():
            yield member


def _leads_out(name: str) -> bool:
    """Whether a member's name leads elsewhere than below the folder that a shard is unpacked in."""
    return name[:1] in ("/", "\\") or ".." in re.split(r"[/\\]", name)


def _key(member: tarfile.TarInfo) -> str:
    """What the members of a sample share: the path up to the first dot of the name (WebDataset)."""
    folder, _, name = member.name.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _member(
    shard: tarfile.TarFile, member: tarfile.TarInfo, chunk: Chunk, folder: Path, number: int
) -> tuple[Item, Path | bytes]:
    item = Item(f"{chunk.container}/{member.name}", member.name)
    content = shard.extractfile(member).read()
    if Path(member.name).suffix.lower() not in FORMATS:
        return item, content
    path = folder / f"image{number}"
    path.write_bytes(content)
    return item, path


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    """A member without time and owner, so that equal images make equal shards."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
