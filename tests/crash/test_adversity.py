"""A full disk, a folder that vanishes, too little memory: one line each, nothing half, nothing lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COMMAND = [sys.executable, "-m", "keras_fsr.cli"]
RECIPE = """
name: tiny
scale: 2
generator:
  name: rrdb
  options: {num_features: 8, growth_channels: 4, num_blocks: 1, hardware: true, anchor: true}
data: {batch_size: 2, patch_size: 8}
training: {steps: 40, steps_per_epoch: 2, warmup_steps: 2, decay_share: 0.5, keep_best: 40, precision: float32}
"""


@pytest.fixture
def small_disk(tmp_path):
    """Makes a disk of so many kilobytes."""
    mounted = []

    def make(kilobytes):
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small disk cannot be mounted here")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=False)


@pytest.fixture
def faces(tmp_path):
    """Twelve pictures of noise, whose results do not compress."""
    folder = tmp_path / "faces"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(draw.integers(0, 256, (48, 48, 3), np.uint8)).save(folder / f"{number:02d}.png")
    return folder


def run(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False, **options
    )


def is_clear(done, code):
    """One exit code, no traceback, and lines of ours (others are TensorFlow's), which are given back."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    told = [line for line in done.stderr.splitlines() if line.startswith("keras-fsr: ")]
    assert told
    return told


def are_whole(folder, whole):
    """Every result is as on a disk with room; nothing else is there."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    for path in paths:
        assert path.read_bytes() == (whole / path.relative_to(folder)).read_bytes(), path
    return len(paths)


def test_a_folder_run_on_a_full_disk_keeps_what_is_whole_and_goes_on_when_there_is_room(faces, tmp_path, small_disk):
    whole = tmp_path / "whole"
    assert run("upscale", faces, "-o", whole).returncode == 0
    disk = small_disk(400)
    blocker = disk / "blocker"
    told = is_clear(run("upscale", faces, "-o", disk / "out"), 1)
    done = are_whole(disk / "out", whole)
    assert 0 < done < 12
    assert len(told) == 12 - done
    assert all("No space left" in line for line in told)
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    assert not blocker.exists()
    assert run("upscale", faces, "-o", disk / "out", "--resume").returncode == 0
    assert are_whole(disk / "out", whole) == 12


def test_bulk_on_a_full_disk_says_so_and_goes_on_when_there_is_room(faces, tmp_path, small_disk):
    pytest.importorskip("distributed")
    whole = tmp_path / "whole"
    assert run("upscale", faces, "-o", whole).returncode == 0
    disk = small_disk(400)
    done = run("bulk", faces, disk / "out", "--workers", 1, "--chunk", 2)
    assert done.returncode in (1, 2)  # 2 where the manifest itself has no room
    assert "Traceback" not in done.stderr
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    assert run("bulk", faces, disk / "out", "--workers", 1).returncode == 0
    (disk / "out" / "manifest.csv").unlink()
    assert are_whole(disk / "out", whole) == 12


def test_a_training_on_a_full_disk_stops_and_goes_on_when_there_is_room(faces, tmp_path, small_disk):
    disk = small_disk(1500)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    arguments = ["train", tmp_path / "tiny.yaml", "--data", faces, "--out"]
    (line,) = is_clear(run(*arguments, disk / "run"), 2)
    assert "disk/run" in line
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    assert run(*arguments, disk / "run", "--resume").returncode == 0
    assert run(*arguments, tmp_path / "whole").returncode == 0
    from keras_fsr import generators

    ended, undisturbed = (
        generators.load(folder / "tiny.keras").get_weights() for folder in (disk / "run", tmp_path / "whole")
    )
    assert all(np.array_equal(a, b) for a, b in zip(ended, undisturbed, strict=True))
    assert not [path for path in (disk / "run").rglob(".*") if path.is_file()]


def test_a_folder_that_is_removed_in_mid_run_is_told(faces, tmp_path):
    for number in range(12, 200):
        shutil.copy(faces / "00.png", faces / f"{number}.png")
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, "upscale", str(faces), "-o", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    shutil.rmtree(out)
    out.write_text("no folder any more")
    process.send_signal(signal.SIGCONT)
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in said + complaint
    assert complaint.count("keras-fsr: failed: ") > 100
    assert out.read_text() == "no folder any more"


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
def test_too_little_memory_is_one_line(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    Image.fromarray(noise).resize((6000, 4000)).save(tmp_path / "large.png")
    limit = f"ulimit -v {1_500_000}; exec {' '.join(COMMAND)} upscale large.png -o out.png"
    done = subprocess.run(
        ["bash", "-c", limit],
        cwd=tmp_path,
        env=with_package(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    (line,) = is_clear(done, 2)
    assert "memory" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.png"]


def with_package():
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
