"""Quantization-aware training by tfmot, in a process of its own: `python -m keras_fsr.deploy.quantize` (see `qat`).

The twin of the generator (`twin`) computes with kernels and activations rounded as int8 will round them, and its
weights are fine-tuned under that rounding: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2018), section 3.
"""

import io
import json
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

from keras_fsr.data.folders import Pair
from keras_fsr.data.patches import Patches
from keras_fsr.deploy import twin
from keras_fsr.losses.pixel import L1SSIM

BATCH, PATCH = 16, 32
# A quarter of what the face models are trained with: of two that were tried, 0 gains 0.01 dB more and loses as much
# SSIM again as the rounding; at 0.2 the rounding's loss of PSNR stays.
SSIM_WEIGHT = 0.05
SAVE_EVERY = 100  # steps
REPORT_EVERY = 50


def main(folder: Path, path: Path, size: tuple[int, int] | None, io_type: str) -> None:
    """Trains the job in a folder to its end, from its last saved step, and writes the TFLite file."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    patches = np.load(folder / "patches.npy")
    weights = read_weights(folder / "weights.npz")
    network = twin.make_twin(job["kind"], job["config"], weights, clip=True)
    teacher = twin.make_twin(job["kind"], job["config"], weights, clip=False)
    twin.fold_residuals(network)
    network = twin.simulate_int8(network, batches(patches))
    train(network, teacher, job, folder / "state")
    # The ranges of the kernels are those of the last training step; these are the last update's.
    network(next(batches(patches)), training=True)
    path.write_bytes(convert(network, patches, size, io_type))


def read_weights(path: Path) -> dict[str, list[np.ndarray]]:
    """Layer -> its weights in their order."""
    weights: dict[str, list[np.ndarray]] = {}
    with np.load(path) as file:
        for name in file.files:  # as they were written
            weights.setdefault(name.rpartition("/")[0], []).append(file[name])
    return weights


def batches(patches: np.ndarray):
    """(N, H, W, 3) uint8 -> batches of float32 in [0, 1]."""
    for first in range(0, len(patches), BATCH):
        yield patches[first : first + BATCH].astype(np.float32) / 255


def train(network: tf_keras.Model, teacher: tf_keras.Model, job: dict, state: Path) -> None:
    """Fine-tunes the network in place, from its last saved step."""
    tuning, scale = job["tuning"], job["config"]["scale"]
    steps = tuning["steps"]
    rate = tf_keras.optimizers.schedules.CosineDecay(tuning["learning_rate"], steps)
    optimizer = tf_keras.optimizers.Adam(rate)
    optimizer.build(network.trainable_variables)
    checkpoint = tf.train.Checkpoint(network=network, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(state), max_to_keep=2)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    first = int(optimizer.iterations)
    loss_of = L1SSIM(ssim_weight=SSIM_WEIGHT)

    @tf.function
    def take_step(lr, hr):
        target = hr if tuning["target"] == "original" else tf.clip_by_value(teacher(lr, training=False), 0.0, 1.0)
        with tf.GradientTape() as tape:
            loss = loss_of(target, network(lr, training=True))
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    pairs = [Pair(Path(hr), lr and Path(lr)) for hr, lr in job["pairs"]]
    stream = Patches(pairs, scale, BATCH, PATCH).dataset(first_step=first)
    losses, started = [], time.monotonic()
    for step, (lr, hr) in zip(range(first + 1, steps + 1), stream, strict=False):
        losses.append(float(take_step(lr, hr)))
        if step % REPORT_EVERY == 0 or step == steps:
            pace = (time.monotonic() - started) / len(losses)
            left = (steps - step) * pace / 60
            print(f"step {step}/{steps}  loss {np.mean(losses[-REPORT_EVERY:]):.5f}  {left:.1f} min left", flush=True)
        if step % SAVE_EVERY == 0 or step == steps:
            manager.save(checkpoint_number=step)


def convert(network: tf_keras.Model, patches: np.ndarray, size: tuple[int, int] | None, io_type: str) -> bytes:
    """The TFLite file of a network that simulates int8; the patches give the ranges of what lies between."""
    signature = tf.TensorSpec((1, *(size or (None, None)), 3), tf.float32)
    with tempfile.TemporaryDirectory() as folder:
        archive = tf_keras.export.ExportArchive()
        archive.track(network)
        archive.add_endpoint("serve", lambda x: network(x, training=False), [signature])
        with redirect_stdout(io.StringIO()):
            archive.write_out(folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([batch[:1]] for batch in batches(patches))
        kind = tf.uint8 if io_type == "uint8" else tf.float32
        converter.inference_input_type = converter.inference_output_type = kind
        return converter.convert()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4])
