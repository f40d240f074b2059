"""Bulk runs from end to end: restarts, dead workers, chunks that kill, and what the command says."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DataError, FSRError, ModelError
from keras_fsr.inference.bulk_sources import Source, find_source
from keras_fsr.inference.bulk_worker import Settings, upscale_chunk

distributed = pytest.importorskip("distributed")

from keras_fsr.cli import main  # noqa: E402
from keras_fsr.inference import bulk, bulk_manifest  # noqa: E402
from keras_fsr.inference.bulk import connected, upscale_bulk  # noqa: E402
from keras_fsr.inference.predictor import Predictor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(bulk.__file__).parents[2]


def write_images(folder: Path, count: int) -> Path:
    """Small images of noise in two folders; a file that is none is not among them."""
    for number in range(count):
        path = folder / f"{number % 2}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (4 + number % 5, 8, 3)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, size, np.uint8)).save(path)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the manifest, hidden ones too."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("manifest.")}


@pytest.fixture(scope="module")
def client():
    """Workers in this process: what is patched here is patched for them."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def source(tmp_path):
    return write_images(tmp_path / "in", 6)


def run(client, source, out, **options):
    per_shard = options.pop("per_shard", 0)
    return upscale_bulk(client, find_source(source, out, 2, per_shard), out, Settings(), **options)


def test_a_run_writes_each_image_and_its_line(client, source, tmp_path):
    (source / "bad.png").write_bytes(b"bad")
    seen = []
    report = run(client, source, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert report.summary() == "6 written, 1 failed"
    Predictor(threads=1).predict(source, tmp_path / "single")
    assert files(tmp_path / "out") == files(tmp_path / "single")
    rows = list(bulk_manifest.read(tmp_path / "out" / "manifest.csv"))
    assert sorted(row.input for row in rows) == sorted(str(path) for path in source.rglob("*.png"))
    assert [row.input for row in rows if row.error] == [str(source / "bad.png")]
    assert len(seen) == 4
    assert seen[-1] == (7, 7)


def test_a_restart_does_what_is_missing_outdated_or_failed(client, source, tmp_path):
    out = tmp_path / "out"
    (source / "bad.png").write_bytes(b"bad")
    run(client, source, out)
    (source / "bad.png").write_bytes((source / "0" / "0000.png").read_bytes())
    (out / "1" / "0001.png").unlink()
    os.utime(out / "0" / "0002.png", (1, 1))
    report = run(client, source, out)
    assert (report.written, report.skipped, report.failed) == (3, 4, 0)
    rows = list(bulk_manifest.read(out / "manifest.csv"))
    assert len(rows) == len({row.input for row in rows}) == 7
    assert run(client, source, out).summary() == "0 written, 7 skipped (done before), 0 failed"
    assert run(client, source, out, again=True).summary() == "7 written, 0 failed"


def test_other_options_are_other_results(client, source, tmp_path):
    out = tmp_path / "out"
    run(client, source, out)
    ensemble = Settings(ensemble=True)
    assert upscale_bulk(client, find_source(source, out), out, ensemble).written == 6


def test_what_the_manifest_lacks_is_done_again(client, source, tmp_path):
    out = tmp_path / "out"
    run(client, source, out)
    path = out / "manifest.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    assert run(client, source, out).summary() == "2 written, 4 skipped (done before), 0 failed"


def test_shards_are_made_and_enlarged_and_skipped(client, source, tmp_path):
    out = tmp_path / "shards"
    assert run(client, source, out, per_shard=4, manifest="manifest.jsonl").written == 6
    assert sorted(files(out)) == ["000000.tar", "000001.tar"]
    assert len(list(bulk_manifest.read(out / "manifest.jsonl"))) == 6
    assert run(client, source, out, per_shard=4, manifest="manifest.jsonl").skipped == 6
    again = tmp_path / "again"
    assert run(client, out, again).written == 6
    assert sorted(files(again)) == ["000000.tar", "000001.tar"]
    assert run(client, out, again).summary() == "0 written, 2 skipped (done before), 0 failed"


def test_a_shard_that_was_replaced_leaves_no_line_of_the_old_one(client, source, tmp_path):
    shards, out = tmp_path / "shards", tmp_path / "out"
    run(client, source, shards, per_shard=6)
    shard = shards / "000000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:700])
    assert run(client, shards, out).failed == 1
    shard.write_bytes(whole)
    assert run(client, shards, out).written == 6
    rows = list(bulk_manifest.read(out / "manifest.csv"))
    assert len(rows) == 6
    assert not any(row.error for row in rows)
    for path in (source / "1").iterdir():
        path.unlink()
    run(client, source, shards, per_shard=6)
    os.utime(out / "000000.tar", (1, 1))
    assert run(client, shards, out).written == 3
    assert len(list(bulk_manifest.read(out / "manifest.csv"))) == 3


def test_a_shard_with_a_bad_image_is_tried_again(client, source, tmp_path):
    shards, out = tmp_path / "shards", tmp_path / "out"
    shards.mkdir()
    with tarfile.open(shards / "a.tar", "w") as shard:
        shard.add(source / "0" / "0000.png", "good.png")
        shard.addfile(tarfile.TarInfo("bad.png"))
    assert [run(client, shards, out).summary() for _ in range(2)] == ["1 written, 1 failed"] * 2
    # A later line says that it is good, as after a run that was cut off.
    row = next(row for row in bulk_manifest.read(out / "manifest.csv") if row.error)
    bulk_manifest.add(out / "manifest.csv", [replace(row, output="a.tar/bad.png", error="")])
    assert run(client, shards, out).skipped == 1


def test_unfinished_files_are_removed(client, source, tmp_path):
    out = tmp_path / "out"
    (out / "0").mkdir(parents=True)
    for name in (f".{'0a' * 16}.png", ".mine.png"):
        (out / "0" / name).touch()
    run(client, source, out)
    assert sorted(path.name for path in (out / "0").iterdir()) == [".mine.png", "0000.png", "0002.png", "0004.png"]


def test_an_image_that_kills_its_workers_is_found(client, source, tmp_path, monkeypatch):
    def deadly(settings, chunk, out):
        if any(item.name.endswith("0003.png") for item in chunk.items):
            raise distributed.KilledWorker("chunk", SimpleNamespace(address="there"), 3)
        return upscale_chunk(settings, chunk, out)

    monkeypatch.setattr(bulk, "upscale_chunk", deadly)
    report = run(client, source, tmp_path / "out")
    assert (report.written, report.failed) == (5, 1)
    (bad,) = [row for row in bulk_manifest.read(tmp_path / "out" / "manifest.csv") if row.error]
    assert bad.input == str(source / "1" / "0003.png")
    assert "its workers died" in bad.error


def test_few_chunks_are_in_flight(client, tmp_path):
    drawn, ahead = [], []
    source = find_source(write_images(tmp_path / "in", 40), tmp_path / "out", 1)

    def chunks():
        for chunk in source.chunks():
            drawn.append(chunk)
            yield chunk

    counted = Source(chunks, source.total)
    upscale_bulk(
        client, counted, tmp_path / "out", Settings(), progress=lambda done, total: ahead.append(len(drawn) - done)
    )
    assert len(ahead) == 40
    assert 2 <= max(ahead) <= 2 * bulk.PER_WORKER


def test_errors_of_the_run_end_it(client, source, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no_such"):
        upscale_bulk(client, find_source(source, tmp_path / "out"), tmp_path / "out", Settings("no_such"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is not a manifest"):
        run(client, source, tmp_path / "other")

    def refuse(settings, chunk, out):
        raise ModelError("not on this worker")

    monkeypatch.setattr(bulk, "upscale_chunk", refuse)
    with pytest.raises(ModelError, match="not on this worker"):
        run(client, source, tmp_path / "out")


def test_no_scheduler_is_one_line():
    with pytest.raises(FSRError, match="bogus: no Dask scheduler answers"), connected("bogus"):
        pass


def test_the_command(source, tmp_path, capsys):
    out = tmp_path / "out"
    (source / "bad.png").write_bytes(b"bad")
    assert main(["bulk", str(source), str(out), "--workers", "1", "--jsonl", "--chunk", "3"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("dashboard: http://127.0.0.1:")
    assert printed.out.endswith("6 written, 1 failed\n")
    assert str(out / "manifest.jsonl") in printed.err
    assert len([json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]) == 7
    assert len(files(out)) == 6


class Cluster:
    """A scheduler and workers, each a process of its own, on loopback; workers that die stay dead."""

    def __init__(self, folder: Path, workers: int):
        self.file, self.processes = folder / "scheduler.json", []
        self.start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self.wait_for_address()
        self.workers = [
            self.start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
            for _ in range(workers)
        ]

    def wait_for_address(self) -> str:
        for _ in range(1200):
            with suppress(OSError, ValueError):  # not there yet, or not whole
                return json.loads(self.file.read_text())["address"]
            time.sleep(0.05)
        raise TimeoutError("the scheduler does not start")

    def start(self, module: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--scheduler-file", str(self.file), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen(command, env=environment, cwd=self.file.parent, **quiet))
        return self.processes[-1]

    def end(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


def test_a_cluster_without_workers_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "PATIENCE", 0.5)
    cluster = Cluster(tmp_path, workers=0)
    try:
        with pytest.raises(FSRError, match=f"{cluster.address}: has no worker"), connected(cluster.address):
            pass
    finally:
        cluster.end()


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_dead_worker_loses_nothing_and_doubles_nothing(tmp_path, count):
    source, out = write_images(tmp_path / "in", count), tmp_path / "out"
    cluster = Cluster(tmp_path, workers=2)
    killed = []

    def kill(done: int, total: int) -> None:
        if done >= total // 3 and not killed:
            cluster.workers[0].send_signal(signal.SIGKILL)
            killed.append((cluster.workers[0].wait(), done))

    try:
        with connected(cluster.address) as client:
            client.wait_for_workers(2, timeout=60)
            report = upscale_bulk(client, find_source(source, out, 5), out, Settings(), progress=kill)
            assert len(client.nthreads()) == 1
    finally:
        cluster.end()
    ((code, done),) = killed
    assert code == -signal.SIGKILL
    assert done < count
    assert (report.written, report.failed, report.skipped) == (count, 0, 0)

    Predictor(threads=1).predict(source, tmp_path / "single")
    assert files(out) == files(tmp_path / "single")
    rows = list(bulk_manifest.read(out / "manifest.csv"))
    assert len(rows) == count
    assert {row.input for row in rows} == {str(path) for path in source.rglob("*.png")}
    assert {row.output for row in rows} == set(files(out))


def test_ctrl_c_is_one_line(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "in").mkdir()
    for number in range(300):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (96, 96, 3), np.uint8)).save(
            tmp_path / "in" / f"{number}.png"
        )
    command = [sys.executable, "-m", "keras_fsr.cli", "bulk", "in", "out", "--workers", "1", "--chunk", "4"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.splitlines()[-1] == "keras-fsr: interrupted"
    assert "Traceback" not in complaint
