"""What the benchmarks run: networks in processes of their own, which take turns, from pixels to pixels.

`python runners.py KIND PATH THREADS` is such a process: it prints JSON with the milliseconds of every run. It needs
no more than its kind of network does, so that it can be an interpreter of another environment.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

SIDES = {64: 40, 256: 6}  # pixels of the LR -> runs a round
THREADS = (1, 2)
SCALE = 4

Run = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 -> (4 H, 4 W, 3) uint8."""


class Subject(NamedTuple):
    """What is run how."""

    model: str
    form: str
    kind: str  # of RUNNERS
    path: Path


def measure_costs(subjects: Sequence[Subject], rounds: int, interpreters: Mapping[str, str]) -> dict[Subject, dict]:
    """Subject -> "SIDE THREADS" -> median milliseconds of all rounds, and "peak_mb".

    Args:
        interpreters: kind -> Python with what it needs; this one by default.
    """
    samples: dict[Subject, dict[str, list[float]]] = {subject: {} for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            for threads in THREADS:
                python = interpreters.get(subject.kind, sys.executable)
                command = [python, __file__, subject.kind, str(subject.path), str(threads)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for key, values in found.items():
                    samples[subject].setdefault(key, []).extend(values)
    return {s: {key: statistics.median(values) for key, values in found.items()} for s, found in samples.items()}


def measure(kind: str, path: str, threads: str) -> dict[str, list[float]]:
    """What a worker tells: times of each side in milliseconds, and its peak memory in MB (Linux)."""
    run = RUNNERS[kind](path, int(threads))
    found = {}
    for side, runs in SIDES.items():
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        run(image), run(image)  # warm up
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            result = run(image)
            times.append(1000 * (time.perf_counter() - started))
        assert result.shape == (SCALE * side, SCALE * side, 3)
        assert result.dtype == np.uint8
        found[f"{side} {threads}"] = times
    # Not `ru_maxrss`, in which a child starts with what its parent had.
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return found | {"peak_mb": [int(peak) / 1000]}


def tflite(path: str, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    pixels = source["dtype"] == np.uint8

    def run(image):
        if tuple(interpreter.get_input_details()[0]["shape"][1:]) != image.shape:
            interpreter.resize_tensor_input(source["index"], (1, *image.shape))
            interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], (image if pixels else to_floats(image))[None])
        interpreter.invoke()
        found = interpreter.get_tensor(result["index"])[0]
        return found if pixels else to_pixels(found)

    return run


def keras_model(path: str, threads: int) -> Run:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from keras_fsr import generators

    model = generators.load(path)
    return lambda image: to_pixels(model.predict_on_batch(to_floats(image)[None])[0])


def predictor(path: str, threads: int) -> Run:
    """As `keras-fsr upscale` does it: mirrored borders, tiles."""
    from keras_fsr.inference.predictor import Predictor

    return Predictor(path, threads=threads).predict


def opencv(path: str, threads: int) -> Run:
    """A model of OpenCV's contrib modules, by its file's name: FSRCNN_x4.pb and the like. BGR, as it wants it."""
    import cv2

    cv2.setNumThreads(threads)
    network = cv2.dnn_superres.DnnSuperResImpl_create()
    network.readModel(path)
    network.setModel(Path(path).name.partition("_")[0].lower(), SCALE)
    return network.upsample


def ncnn(path: str, threads: int) -> Run:
    """A network of ncnn, by its .param; its .bin lies beside it. Input `data`, output `output`, RGB in [0, 1]."""
    import ncnn as runtime

    network = runtime.Net()
    network.opt.num_threads = threads
    network.load_param(path)
    network.load_model(str(Path(path).with_suffix(".bin")))

    def run(image):
        extractor = network.create_extractor()
        planes = np.ascontiguousarray(to_floats(image).transpose(2, 0, 1))
        extractor.input("data", runtime.Mat(planes).clone())
        _, output = extractor.extract("output")
        return to_pixels(np.array(output).transpose(1, 2, 0))

    return run


def to_floats(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255


def to_pixels(result: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)


RUNNERS = {"tflite": tflite, "predictor": predictor, "keras": keras_model, "opencv": opencv, "ncnn": ncnn}

if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
