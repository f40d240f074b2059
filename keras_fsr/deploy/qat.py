"""Quantization-aware training, as seen from Keras 3: starts the process that knows Keras 2 and tfmot.

tfmot switches TensorFlow to Keras 2 (TF_USE_LEGACY_KERAS) as it is imported, so it has a process of its own, which
gets a folder: the job, the weights, patches to measure ranges on. Its state stays there, so that it can go on.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np

from keras_fsr.data.folders import Pair, check_pairs
from keras_fsr.deploy.form import Tuning
from keras_fsr.deploy.source import Source
from keras_fsr.errors import ModelError, TrainingError
from keras_fsr.files import make_folder, whole_file

GENERATORS = ("Edge", "RRDB")  # whose graphs Keras 2 can build
PATCH = 32  # LR pixels


def quantize_aware(
    source: Source,
    path: Path,
    size: tuple[int, int] | None,
    io_type: str,
    pairs: Sequence[Pair],
    patches: np.ndarray,
    tuning: Tuning,
) -> None:
    """Writes a file of int8 kernels alone, whose weights were fine-tuned under the rounding of int8.

    Args:
        size: (height, width) of the images, None for any.
        io_type: "uint8" or "float": what the file takes and gives.
        pairs: to train on.
        patches: (N, H, W, 3) uint8 of LR images, on which the ranges are measured.

    Raises:
        ModelError: the generator is of a kind that Keras 2 cannot build.
        DataError: an image that cannot be trained on.
        TrainingError: a run folder that holds another run, or a training that fails.
    """
    kind = type(source.model).__name__
    if kind not in GENERATORS:
        raise ModelError(
            f"{source.name}: is a {kind}, which QAT does not know ({', '.join(GENERATORS)}); use --quantize int8"
        )
    check_pairs(pairs, source.scale, PATCH)
    job = {
        "kind": kind,
        "config": source.model.get_config(),
        "sha256": source.sha256,
        "pairs": [[str(pair.hr), pair.lr and str(pair.lr)] for pair in pairs],
        "tuning": {key: value for key, value in asdict(tuning).items() if key not in ("run", "resume")},
    }
    with nullcontext(tuning.run) if tuning.run else tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), job, tuning.resume)
        weights = {layer.name: layer.get_weights() for layer in source.model.layers if layer.weights}
        flat = {f"{name}/{i}": array for name, arrays in weights.items() for i, array in enumerate(arrays)}
        np.savez(Path(folder) / "weights.npz", **flat)
        np.save(Path(folder) / "patches.npy", patches)
        run_process(source.name, [str(folder), str(path), json.dumps(size), io_type])


def prepare(folder: Path, job: dict, resume: bool) -> None:
    """Makes the run folder, or checks that it holds this very job.

    Raises:
        TrainingError: it is not empty, or holds another job or none.
    """
    saved = folder / "job.json"
    if resume:
        if not saved.is_file():
            raise TrainingError(f"{folder}: holds no QAT to resume; leave out --resume to start there")
        if json.loads(saved.read_text(encoding="utf-8")) != json.loads(json.dumps(job)):
            raise TrainingError(f"{folder}: was started with other settings, model or images; resume with the same")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise TrainingError(f"{folder}: is not empty; add --resume to go on with it, or choose another folder")
    make_folder(folder)
    with whole_file(saved) as temporary:
        temporary.write_text(json.dumps(job, indent=1), encoding="utf-8")


def run_process(name: str, arguments: list[str]) -> None:
    """Runs `quantize` in a process of its own; its progress goes to stdout.

    Raises:
        TrainingError: it failed; with its last line.
    """
    import keras_fsr

    paths = [str(Path(keras_fsr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "keras_fsr.deploy.quantize", *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        done = subprocess.run(command, env=environment, stderr=stderr, check=False)
        if done.returncode:
            stderr.seek(0)
            lines = stderr.read().strip().splitlines() or [f"exit code {done.returncode}"]
            raise TrainingError(f"{name}: QAT failed ({lines[-1]}); with --run it can be resumed")
