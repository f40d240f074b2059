"""Share of the machine's best matrix product that the generator's forward pass achieves, by engine and by layer.

    python benchmarks/roofline.py [--sides 64 256] [--threads 1 2] [--out FILE]

A roof is the best of square matrix products of several sizes in the arithmetic that an engine computes in: by oneDNN
(in TensorFlow) in float32, bfloat16 and 8-bit integers, and for these by LiteRT as well. Engines and products take
turns in one process for each number of threads; the medians are compared. LiteRT runs the shipped files (`dynamic`:
int8 weights, activations quantized as it runs, first and last convolution float32) and a float32 one that is exported
here. Only the network runs: no files, no conversion of pixels. The third table has each kind of convolution in the
network by itself, as a share of the roof; what all of them take of the whole forward pass is in the second.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from multiprocessing.pool import ThreadPool
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from reporting import medians, save, table, take_turns

from keras_fsr import generators, machine, pretrained
from keras_fsr.deploy.form import Form
from keras_fsr.deploy.tflite import export
from keras_fsr.quiet import quiet
from keras_fsr.training.precision import copy_network

AIM = 0.4  # share of the roof, for the float32 path
LITE = {"LiteRT float32": "float32", "LiteRT dynamic": "int8", "LiteRT int8": "int8"}
ROOFS = LITE | {"Keras float32": "float32", "Keras bfloat16": "bfloat16"}  # engine -> arithmetic
SIZES = (1024, 2048, 4096)  # sides of the matrices; LiteRT's are of the first, for it is slow to calibrate
SIDE = 64  # pixels, of the convolutions by themselves
COPIED = 2**28  # bytes of the copies that tell the memory's rate: more than caches hold
RATES = {"threads": "d", "product": "", "size": "d", "GFLOP/s": ".0f"}
PASSES = {"threads": "d", "engine": "", "side": "d", "ms": ".1f", "GFLOP/s": ".0f", "roof": "", "of roof": ".0%"}
LAYERS = {"threads": "d", "layer": "", "number": "d", "of FLOPs": ".1%", "FLOP/byte": ".0f"}
TABLES = {
    "products": RATES,
    "engines": PASSES | {"of float32's": ".0%", "convolutions alone": ".0%"},
    "layers": LAYERS | dict.fromkeys(ROOFS, ".0%"),
}

Call = Callable[[], object]
Kind = tuple[int, int]
"""Channels that a convolution takes and gives; all are 3x3."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="face_x4", help="shipped model with a .keras file")
    parser.add_argument("--int8", default="face_x4_int8", help="its int8 form")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 256], help="LR pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[*range(1, machine.available_cores() + 1)])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--measure", nargs=2, metavar=("THREADS", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        threads, folder = arguments.measure
        print(json.dumps(measure(arguments.model, arguments.sides, arguments.rounds, int(threads), Path(folder))))
        return

    with tempfile.TemporaryDirectory() as folder:
        write_files(arguments.model, arguments.int8, Path(folder))
        found = {}
        for threads in arguments.threads:
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", str(threads), folder]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[threads] = json.loads(output.splitlines()[-1])
    rows = {name: [row for one in found.values() for row in one[name]] for name in TABLES}
    for name, columns in TABLES.items():
        print(table(rows[name], columns), "\n")
    for threads, one in found.items():
        print(f"{threads} thread{'s' * (threads > 1)}: memory is read and written at {one['GB/s']:.1f} GB/s")
        print(*verdicts(one["engines"], one["layers"]), sep="\n")
    copied = {threads: one["GB/s"] for threads, one in found.items()}
    facts = {"model": arguments.model, "int8": arguments.int8, "rounds": arguments.rounds, "copied GB/s": copied}
    save(arguments.out, rows.pop("engines"), **facts, **rows)


def verdicts(engines: Sequence[Mapping], layers: Sequence[Mapping]) -> Iterator[str]:
    """What the figures say of each engine, a line each."""
    for engine, arithmetic in ROOFS.items():
        shares = {row["side"]: row["of roof"] for row in engines if row["engine"] == engine}
        told = ", ".join(f"{share:.0%} at {side}" for side, share in shares.items())
        aim = f" (aim {AIM:.0%}: {'' if min(shares.values()) >= AIM else 'NOT '}reached)"
        low = ", ".join(row["layer"] for row in layers if row[engine] < AIM) or "none"
        aim = aim if arithmetic == "float32" else ""
        yield f"  {engine}: {told} of the roof in {arithmetic}{aim}; convolutions below {AIM:.0%}: {low}"


def write_files(model: str, int8: str, folder: Path) -> None:
    """For LiteRT's engines the network (`NAME.tflite`), its kinds of convolution and a matrix product."""
    export(model, folder / "LiteRT float32.tflite", Form("none"), verified=False)
    for engine, name in (("LiteRT dynamic", model), ("LiteRT int8", int8)):
        (folder / f"{engine}.tflite").write_bytes(pretrained.weights(name).read_bytes())
    for kind in find_kinds(generators.load(pretrained.weights(model, ".keras"))):
        layer = keras.layers.Conv2D(kind[1], 3, padding="same")
        write_forms(layer, (1, SIDE, SIDE, kind[0]), folder, str(kind))
    write_forms(keras.layers.Dense(SIZES[0]), (SIZES[0], SIZES[0]), folder, "product")


def write_forms(layer, shape: tuple[int, ...], folder: Path, name: str) -> None:
    """A layer by itself, as `NAME ENGINE.tflite`."""
    sample = np.random.default_rng(0).random(shape, dtype=np.float32)
    small = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    full = {"representative_dataset": lambda: [[sample]], "inference_input_type": tf.int8}
    full |= {
        "inference_output_type": tf.int8,
        "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
    }
    network = keras.Sequential([keras.Input(batch_shape=shape), layer])
    for engine, options in zip(LITE, ({}, small, small | full), strict=True):
        with quiet(), redirect_stdout(io.StringIO()):
            network.export(folder / f"{name} {engine}.tflite", format="litert", verbose=False, **options)


def measure(name: str, sides: Sequence[int], rounds: int, threads: int, folder: Path) -> dict:
    """Rows of the three tables for a number of threads, and the GB/s of copies."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = generators.load(pretrained.weights(name, ".keras"))
    products = {("product", *key): call for key, call in make_products(folder, threads).items()}
    passes = {(engine, side): forward(engine, model, side, folder, threads) for engine in ROOFS for side in sides}
    seconds = medians(take_turns({"copy": copying(threads)} | products | passes, rounds))
    numbers = find_kinds(model)
    alone = {(engine, kind): convolve(engine, kind, folder, threads) for engine in ROOFS for kind in numbers}
    alone = medians(take_turns(alone, 4 * rounds))
    for kind in (next(iter(numbers)), list(numbers)[-1]):  # these touch pixels
        alone["LiteRT dynamic", kind] = alone["LiteRT float32", kind]

    rates = {key: 2 * key[2] ** 3 / seconds[key] / 1e9 for key in products}
    roofs = {kind: max(rate for key, rate in rates.items() if kind in key[1]) for kind in ROOFS.values()}
    common = {"threads": threads}
    found = {"GB/s": 2 * COPIED / seconds["copy"] / 1e9, "engines": [], "layers": []}
    found["products"] = [common | {"product": key[1], "size": key[2], "GFLOP/s": rates[key]} for key in products]
    for engine, side in passes:
        took, flops = seconds[engine, side], sum(count_flops(model, side).values())
        rate, roof = flops / took / 1e9, ROOFS[engine]
        row = common | {"engine": engine, "side": side, "ms": 1000 * took, "GFLOP/s": rate, "roof": roof}
        row |= {"of roof": rate / roofs[roof], "of float32's": rate / roofs["float32"]}
        if side == SIDE:
            row["convolutions alone"] = sum(n * alone[engine, kind] for kind, n in numbers.items()) / took
        found["engines"].append(row)
    whole = sum(count_flops(model, SIDE).values())
    assert sum(2 * 9 * i * o * SIDE**2 * n for (i, o), n in numbers.items()) == whole, "not all work at the LR size"
    for kind, n in numbers.items():
        flops = 2 * 9 * kind[0] * kind[1] * SIDE**2
        moved = 4 * (sum(kind) * SIDE**2 + 9 * kind[0] * kind[1])  # of float32: input, output, kernel
        row = common | {"layer": f"{kind[0]}→{kind[1]}", "number": n, "of FLOPs": n * flops / whole}
        shares = {engine: flops / alone[engine, kind] / 1e9 / roofs[roof] for engine, roof in ROOFS.items()}
        found["layers"].append(row | {"FLOP/byte": flops / moved} | shares)
    return found


def count_flops(model, side: int) -> dict[str, int]:
    """Floating-point operations of a forward pass on (1, side, side, 3), by convolution.

    Two for each multiply-add: 2 * kernel height * kernel width * channels in * channels out * positions of the
    output. Biases, activations, additions and copies are not counted. TensorFlow's profiler, which counts from the
    operations of the traced graph, must come to the same sum.
    """
    layers = convolutions(model)
    ends = keras.Model(model.inputs, [layer.output for layer in layers])
    shapes = [spec.shape for spec in ends.compute_output_spec(keras.KerasTensor((1, side, side, 3)))]
    flops = {
        layer.name: 2 * int(np.prod(layer.kernel.shape)) * height * width
        for layer, (_, height, width, _) in zip(layers, shapes, strict=True)
    }
    options = {**tf.compat.v1.profiler.ProfileOptionBuilder.float_operation(), "output": "none"}
    with quiet(), redirect_stdout(io.StringIO()):
        nodes = [tf.compat.v1.profiler.profile(trace(model, side).graph, cmd="op", options=options)]
    for node in nodes:
        nodes.extend(node.children)
    profiled = sum(node.float_ops for node in nodes if node.name == "Conv2D")
    assert sum(flops.values()) == profiled, f"{sum(flops.values())} by the layers, {profiled} by the graph"
    return flops


def convolutions(model) -> list:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def find_kinds(model) -> Counter[Kind]:
    """How many convolutions of each kind there are, in their order."""
    shapes = [layer.kernel.shape for layer in convolutions(model)]
    assert {shape[:2] for shape in shapes} == {(3, 3)}, "a convolution is not 3x3"
    return Counter(tuple(shape[2:]) for shape in shapes)


def trace(model, side: int):
    """The concrete function of a model for one image of (side, side)."""
    image = tf.TensorSpec((1, side, side, 3), tf.float32)
    return tf.function(lambda x: model(x, training=False)).get_concrete_function(image)


def forward(engine: str, model, side: int, folder: Path, threads: int) -> Call:
    """A forward pass of the network on noise."""
    if engine in LITE:
        return lite(folder / f"{engine}.tflite", noise(1, side, side, 3), threads)
    call = trace(copy_network(model, "mixed_bfloat16") if "bfloat16" in engine else model, side)
    image = tf.constant(noise(1, side, side, 3))
    return lambda: call(image)


def convolve(engine: str, kind: Kind, folder: Path, threads: int) -> Call:
    """A convolution by itself, on noise of (1, SIDE, SIDE, channels)."""
    image = noise(1, SIDE, SIDE, kind[0])
    if engine in LITE:
        return lite(folder / f"{kind} {engine}.tflite", image, threads)
    image, kernel = (tf.cast(values, ROOFS[engine]) for values in (image, noise(3, 3, *kind)))
    return lambda: tf.nn.conv2d(image, kernel, 1, "SAME")


def lite(path: Path, image: np.ndarray, threads: int) -> Call:
    with quiet():
        interpreter = Interpreter(str(path), num_threads=threads)
        (end,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(end["index"], image.shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(end["index"], image if end["dtype"] == np.float32 else (100 * image).astype(end["dtype"]))
    return interpreter.invoke


def make_products(folder: Path, threads: int) -> dict[tuple[str, int], Call]:
    """(who multiplies in what, size) -> the product of two matrices of (size, size)."""
    calls: dict[tuple[str, int], Call] = {}
    for size in SIZES:
        for arithmetic in ("float32", "bfloat16"):
            matrix = tf.cast(noise(size, size), arithmetic)
            calls[f"oneDNN {arithmetic}", size] = lambda matrix=matrix: tf.matmul(matrix, matrix)
        calls["oneDNN int8", size] = int8_product(size)
    for engine, arithmetic in LITE.items():
        path = folder / f"product {engine}.tflite"
        name = engine if arithmetic in engine else f"{engine} {arithmetic}"
        calls[name, SIZES[0]] = lite(path, noise(SIZES[0], SIZES[0]), threads)
    return calls


def int8_product(size: int) -> Call:
    """uint8 by int8 in TensorFlow's `_QuantizedMatMul`, which is oneDNN's and has no name in Python."""
    ends = {"x": tf.quint8, "w": tf.qint8} | dict.fromkeys(("bias", "x0", "x1", "w0", "w1"), tf.float32)
    with tf.Graph().as_default() as graph:
        for name, kind in ends.items():
            tf.compat.v1.placeholder(kind, name=name)
    definition = graph.as_graph_def()
    node = definition.node.add(name="product", op="_QuantizedMatMul", input=list(ends))
    types = {"T1": tf.quint8, "T2": tf.qint8} | dict.fromkeys(("Tbias", "U", "Tout"), tf.float32)
    for key, kind in types.items():
        node.attr[key].type = kind.as_datatype_enum
    node.attr["fused_ops"].list.s.extend([b"BiasAdd", b"Dequantize"])
    node.attr["Thost_inputs"].list.type.extend(kind.as_datatype_enum for kind in ends.values())
    node.attr["Thost_outputs"].list.type.append(tf.float32.as_datatype_enum)
    for key in ("Tdevice_inputs", "Tdevice_outputs"):
        node.attr[key].list.SetInParent()
    node.attr["is_weight_const"].b = True  # packed once, as a network's weights are
    levels = (100 * noise(size, size)).astype(np.uint8)
    tensors = [tf.bitcast(tf.constant(levels), tf.quint8), tf.bitcast(tf.constant(levels.view(np.int8)), tf.qint8)]
    tensors += [tf.zeros((size,)), *map(tf.constant, (0.0, 1.0, -1.0, 1.0))]

    @tf.function
    def multiply(*tensors):
        given = dict(zip((f"{name}:0" for name in ends), tensors, strict=True))
        return tf.import_graph_def(definition, input_map=given, return_elements=["product:0"])

    return lambda: multiply(*tensors)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def copying(threads: int) -> Call:
    """Copies COPIED bytes, shared by the threads."""
    size = COPIED // threads
    pairs = [(np.empty(size, np.uint8), np.ones(size, np.uint8)) for _ in range(threads)]
    pool = ThreadPool(threads)
    return lambda: pool.starmap(np.copyto, pairs)


if __name__ == "__main__":
    main()
