"""The examples in docstrings run as they stand, with fewer epochs."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_fsr

PACKAGE = Path(keras_fsr.__file__).parent
WEIGHTS = PACKAGE.parents[1] / "shared" / "weights"
BLOCK = re.compile(r'^    Example:\n(.*?)^    """', re.MULTILINE | re.DOTALL)
EXAMPLES = {
    str(path.relative_to(PACKAGE)): textwrap.dedent(block)
    for path in sorted(PACKAGE.rglob("*.py"))
    for block in BLOCK.findall(path.read_text(encoding="utf-8"))
}


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the examples presuppose: files, arrays, pairs of images, names of the package."""
    from keras.optimizers import Adam

    from keras_fsr.degradations.learned.transfer import fit_degradation
    from keras_fsr.losses.pixel import L1
    from keras_fsr.metrics.streaming import PSNRY
    from keras_fsr.training.optimizers import ConvMuon

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(WEIGHTS))
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC)
    (tmp_path / "hr").mkdir()
    for i in range(2):
        picture.rotate(90 * i).save(f"hr/{i}.png")
    for name in ("face.jpg", "photo.jpg"):
        picture.resize((32, 32)).save(name)
    pairs = keras_fsr.pair_images("hr")
    own = {name: getattr(keras_fsr, name) for name in keras_fsr.__all__ if name[0] != "_"}
    hq = np.asarray(picture)
    return own | {
        "pairs": pairs,
        "val_pairs": pairs,
        "hq": hq,
        "lq": hq[::4, ::4],
        "other_hq": hq[::-1],
        "generator": own["RRDB"](4, num_features=8, growth_channels=4, num_blocks=1, hardware=True),
        "Adam": Adam,
        "ConvMuon": ConvMuon,
        "L1": L1,
        "PSNRY": PSNRY,
        "fit_degradation": fit_degradation,
    }


@pytest.mark.parametrize("module", EXAMPLES)
def test_example_runs(module, names):
    code = EXAMPLES[module].replace("epochs=10", "epochs=1, steps_per_epoch=1").replace(", ...]", "]")
    if "build_vgg" in code and not WEIGHTS.is_dir():
        pytest.skip("VGG's weights are not here (../shared/weights)")
    before = set(Path().iterdir())
    exec(code, names)
    if "predict(" in code or "save(" in code:
        assert set(Path().iterdir()) > before


def test_there_are_examples():
    assert {"inference/predictor.py", "inference/faces.py", "training/trainer.py"} <= EXAMPLES.keys()
