"""Bulk runs: very many images, enlarged by Dask workers on one machine or on many.

One process, the driver, walks the input, keeps a few chunks of names with the workers, and alone writes the manifest;
a result is in it once, whoever computed it and how often. A worker that dies gives its chunks back to the others;
a chunk that takes its workers with it is taken apart until the image at fault is alone.
"""

import logging
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from keras_fsr import pretrained
from keras_fsr.errors import FSRError, first_line
from keras_fsr.files import make_folder, sweep
from keras_fsr.inference import bulk_manifest
from keras_fsr.inference.bulk_sources import SHARD, Chunk, Item, Source
from keras_fsr.inference.bulk_worker import Row, Settings, failed, upscale_chunk
from keras_fsr.inference.video import Progress
from keras_fsr.machine import available_cores

PER_WORKER = 3  # chunks that each worker has or waits for, so that it never waits itself
PATIENCE = 60  # seconds for the first worker of a cluster to appear


@dataclass
class BulkReport:
    """Numbers of images: written, failed, and skipped because a former run wrote them (of shards: shards)."""

    written: int = 0
    failed: int = 0
    skipped: int = 0

    def summary(self) -> str:
        """Counts, on one line."""
        skipped = f"{self.skipped} skipped (done before), " if self.skipped else ""
        return f"{self.written} written, {skipped}{self.failed} failed"


def upscale_bulk(
    client,
    source: Source,
    out: str | Path,
    settings: Settings,
    manifest: str = "manifest.csv",
    again: bool = False,
    progress: Progress | None = None,
) -> BulkReport:
    """Enlarges all images of a source and writes the manifest.

    Skipped is what the manifest has with the same model and options, whose result is there and not older than the
    input.

    Args:
        client: of `dask.distributed`, as `connected` gives it.
        out: folder, under the same path on all machines; of one run at a time.
        settings: the model and its options; the digest of the model is found here.
        manifest: its name in `out`; the extension chooses CSV or JSON lines (.jsonl).
        again: skip nothing.
        progress: called with (images or shards done, in all).

    Raises:
        DataError, OutputError: the manifest is none, or cannot be written.
        ModelError: no such model, or another one on a worker.
        FSRError: the cluster is lost.
    """
    out = make_folder(os.path.abspath(out))
    settings = replace(settings, sha256=pretrained.digest(pretrained.find(settings.model)))
    path = out / manifest
    before = _Done(out, settings.label, () if again else bulk_manifest.read(path))
    first = bulk_manifest.settle(path)
    report, redone, shards = BulkReport(), set(), 0
    chunks = _undone(source.chunks(), before, report)
    for chunk, rows in _results(client, chunks, settings, str(out)):
        bulk_manifest.add(path, rows)
        bad = sum(bool(row.error) for row in rows)
        report.failed += bad
        report.written += len(rows) - bad
        redone |= {chunk.shard, chunk.container} - {""} if chunk.shard else set()
        shards += chunk.kind == SHARD
        if progress:
            done = shards if chunk.kind == SHARD else report.written + report.failed
            progress(report.skipped + done, source.total)
    bulk_manifest.settle(path, lambda number, row: number < first and _is_of(row, redone))
    sweep(out, time.time())
    return report


@contextmanager
def connected(scheduler: str | None = None, workers: int | None = None, threads: int = 1) -> Iterator:
    """A Dask client: of a scheduler ("tcp://host:8786"), or of workers on this machine that end with it.

    Args:
        workers: processes on this machine, as many as cores allow by default.
        threads: of each.

    Raises:
        FSRError: nobody answers there, or no worker comes within a minute.
    """
    from distributed import Client, LocalCluster
    from distributed import TimeoutError as DaskTimeout

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a port in use: another is taken, and its address is told
        if scheduler:
            try:
                client = Client(scheduler, timeout=20)
            except (OSError, DaskTimeout, ValueError) as error:
                raise FSRError(f"{scheduler}: no Dask scheduler answers ({first_line(error)}); start one") from error
            cluster = nullcontext()
        else:
            count = workers or max(available_cores() // threads, 1)
            with _without_interrupts():  # they are for this process alone, which ends its workers
                cluster = LocalCluster(
                    n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:8787", silence_logs="ERROR"
                )
            client = Client(cluster)
    with cluster, client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except (TimeoutError, DaskTimeout):
            raise FSRError(f"{client.scheduler.address}: has no worker; start dask worker ADDRESS") from None
        try:
            yield client
        except KeyboardInterrupt:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)  # each part would tell of its end
            raise


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile ignore Ctrl+C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Done:
    """What a former run left that need not be done again.

    Of each image that it wrote with this label, the name of the result is held: some hundred bytes.
    """

    def __init__(self, out: Path, label: str, rows: Iterable[Row]):
        self.out = out
        self.outputs: dict[str, str] = {}
        self.bad: set[str] = set()
        for row in rows:
            good = row.output and not row.error and row.model == label
            self.outputs.pop(row.input, None)
            self.bad.discard(row.input)
            if good:
                self.outputs[row.input] = row.output
            else:
                self.bad.add(row.input)
        self.shards = Counter(output.partition("/")[0] for output in self.outputs.values())

    def rest(self, chunk: Chunk) -> Chunk | None:
        """What is left to do of a chunk; a shard is written as a whole."""
        if chunk.kind == SHARD:
            bad = any(_lies_in(name, chunk.container) for name in self.bad)
            whole = chunk.shard in self.shards and not bad and self._is_fresh(chunk.shard, chunk.container)
            return None if whole else chunk
        prefix = f"{chunk.shard}/" if chunk.shard else ""
        left = tuple(item for item in chunk.items if not self._has(item, prefix, chunk))
        if not left and (not chunk.shard or self.shards[chunk.shard] == len(chunk.items)):
            return None
        return chunk if chunk.shard else replace(chunk, items=left)

    def _has(self, item: Item, prefix: str, chunk: Chunk) -> bool:
        if self.outputs.get(item.name) != prefix + item.target:
            return False
        return self._is_fresh(chunk.shard or item.target, chunk.container or item.name)

    def _is_fresh(self, result: str, source: str) -> bool:
        try:
            return (self.out / result).stat().st_mtime >= os.stat(source).st_mtime
        except OSError:
            return False


def _undone(chunks: Iterable[Chunk], before: _Done, report: BulkReport) -> Iterator[Chunk]:
    for chunk in chunks:
        rest = before.rest(chunk)
        report.skipped += _units(chunk) - (_units(rest) if rest else 0)
        if rest:
            yield rest


def _units(chunk: Chunk) -> int:
    return 1 if chunk.kind == SHARD else len(chunk.items)


def _results(client, chunks: Iterator[Chunk], settings: Settings, out: str) -> Iterator[tuple[Chunk, list[Row]]]:
    """Chunks and their rows as they are done, with few of them in flight."""
    from distributed import KilledWorker, as_completed

    waiting, given = as_completed(loop=client.loop), {}

    def give(chunk: Chunk) -> None:
        future = client.submit(upscale_chunk, settings, chunk, out, pure=False)
        given[future.key] = chunk
        waiting.add(future)

    def give_more() -> None:
        room = PER_WORKER * max(len(client.nthreads()), 1) - len(given)
        for chunk in (chunk for _, chunk in zip(range(room), chunks, strict=False)):
            give(chunk)

    give_more()
    for future in waiting:
        chunk = given.pop(future.key)
        try:
            rows = future.result()
        except KilledWorker:
            if len(chunk.items) > 1 and not chunk.shard:
                for item in chunk.items:
                    give(replace(chunk, items=(item,)))
                continue
            name = chunk.container or chunk.items[0].name
            rows = failed(chunk, settings, f"{name}: its workers died again and again; give them more memory")
        except FSRError:
            raise
        except Exception as error:  # of Dask's own
            raise FSRError(
                f"the cluster has lost a chunk ({first_line(error)}); start again, the rest is kept"
            ) from error
        finally:
            future.release()
        yield chunk, rows
        give_more()


def _lies_in(name: str, container: str) -> bool:
    return name == container or name.startswith(f"{container}/")


def _is_of(row: Row, shards: set[str]) -> bool:
    """Whether a row is of one of these shards, read or written."""
    if row.output.partition("/")[0] in shards or row.input in shards:
        return True
    return bool(row.error) and any(str(parent) in shards for parent in Path(row.input).parents)
