"""Long check, run by .ci/slow: memory is bounded by the tile and the output."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

CODE = """
import resource, sys
from keras_fsr.cli import main
code = main(["upscale", sys.argv[1], "-o", sys.argv[2]])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


@pytest.mark.slow
def test_a_large_photo_stays_under_3_gb(tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (250, 375, 3), np.uint8)
    Image.fromarray(small).resize((3000, 2000), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    command = [sys.executable, "-c", CODE, str(tmp_path / "photo.png"), str(tmp_path / "out.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    kilobytes = int(done.stdout.split()[-1])  # KiB on Linux
    assert kilobytes * 1024 < 3e9
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (12000, 8000)
