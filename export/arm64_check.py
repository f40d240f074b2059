"""Runs .tflite files through this machine's LiteRT and, under qemu, through that for ARM64, and compares.

`arm64_check.sh` fetches what this needs and calls it. In the emulated process the same file runs, with NumPy and
LiteRT alone, on the images that this machine wrote.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

# The default CPU of qemu has matrix extensions that int8 kernels of LiteRT take, and is slow.
EMULATOR = ("qemu-aarch64-static", "-cpu", "neoverse-n1")
SIZES = "64x64,48x40"

# Largest and mean difference that is allowed, of outputs in [0, 1]. Files of one arithmetic throughout were equal bit
# by bit. Those that quantize activations as they run round them by kernels of their own on either processor: measured
# were 7 levels of 255 at most and 0.5 on average, both sides being equally close to the float network.
LIMITS = {"uint8": (1 / 255, 1 / 255), "float": (1e-5, 1e-5), "dynamic": (16 / 255, 1 / 255)}


def main() -> int:
    if sys.argv[1:2] == ["--run"]:
        run_all(Path(sys.argv[2]))
        print(platform.machine())
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="Debian's Python for ARM64")
    parser.add_argument("site", type=Path, help="LiteRT and NumPy for it")
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.tflite", help="(default: the shipped models)")
    parser.add_argument("--sizes", default=SIZES, metavar="HxW,...", help=f"of files that take any ({SIZES})")
    arguments = parser.parse_intermixed_args()
    sizes = [tuple(map(int, size.split("x"))) for size in arguments.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        kinds = {}
        for index, model in enumerate(arguments.models or shipped()):
            try:
                kinds |= prepare(work, index, model, sizes)
            except ValueError as error:
                return fail(f"{model}: is no super-resolution model ({error})")
        run_all(work)
        here = read_results(work)
        try:
            machine = run_emulated(work, arguments.root, arguments.site)
        except RuntimeError as error:
            return fail(f"LiteRT fails under qemu ({error}); is all there in {arguments.root} and {arguments.site}?")
        print(f"{machine} against {platform.machine()}, differences in levels of 255")
        return report(kinds, here, read_results(work))


def fail(message: str) -> int:
    print(f"arm64_check: error: {message}", file=sys.stderr)
    return 2


def shipped() -> list[Path]:
    """The `.tflite` files of the upscalers that come with the package."""
    from keras_fsr import pretrained

    return [pretrained.weights(name) for name in pretrained.names()]


def prepare(work: Path, index: int, model: Path, sizes: list[tuple[int, int]]) -> dict[str, tuple[str, str]]:
    """Writes the cases of a model, links to it and images; returns case -> its name and kind of arithmetic."""
    interpreter = open_interpreter(model)
    (tensor,) = interpreter.get_input_details()
    if -1 not in tensor["shape_signature"]:
        sizes = [tuple(tensor["shape"][1:3])]
    pixels = tensor["dtype"] == np.uint8
    integers = any(entry["dtype"] == np.int8 for entry in interpreter.get_tensor_details())
    kind = "uint8" if pixels else "dynamic" if integers else "float"
    kinds = {}
    for height, width in sizes:
        case = f"{index:03d}_{height}x{width}"
        image = draw(height, width)
        np.save(work / f"{case}.input.npy", np.rint(image * 255).astype(np.uint8) if pixels else image)
        (work / f"{case}.tflite").symlink_to(model.resolve())
        kinds[case] = (f"{model.name} {height}x{width}", kind)
    return kinds


def draw(height: int, width: int) -> np.ndarray:
    """(1, H, W, 3) float32 in [0, 1]: waves under a bright disc, smooth but for its edge, as pictures are."""
    y, x = np.mgrid[:height, :width].astype(np.float64) / max(height, width)
    waves = [np.sin(2 * np.pi * (a * x + b * y)) for a, b in ((1, 2), (3, -1), (2, 5))]
    disc = np.hypot(y - 0.5, x - 0.4) < 0.3
    return (0.4 + 0.2 * np.stack(waves, -1) + 0.3 * disc[..., None])[None].clip(0, 1).astype(np.float32)


def run_all(work: Path) -> None:
    """Runs every case of a folder; NumPy and LiteRT alone."""
    for path in sorted(work.glob("*.tflite")):
        interpreter = open_interpreter(path)
        (tensor,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
        image = np.load(path.with_suffix(".input.npy"))
        interpreter.resize_tensor_input(tensor["index"], image.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(tensor["index"], image)
        interpreter.invoke()
        np.save(path.with_suffix(".output.npy"), interpreter.get_tensor(output["index"]))


def open_interpreter(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path), num_threads=1)


def run_emulated(work: Path, root: Path, site: Path) -> str:
    """Runs every case of a folder on ARM64 and returns what that machine calls itself; RuntimeError if it fails."""
    command = [*EMULATOR, "-L", root, root / "usr/bin/python3.11", __file__, "--run", work]
    environment = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ.get("PATH", "")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError((result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1])
    return result.stdout.strip()


def read_results(work: Path) -> dict[str, np.ndarray]:
    """Case -> output; the files are removed, so that a run that wrote none is seen."""
    results = {}
    for path in sorted(work.glob("*.output.npy")):
        results[path.name.removesuffix(".output.npy")] = np.load(path)
        path.unlink()
    return results


def report(kinds: dict[str, tuple[str, str]], here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> int:
    """Prints the table and returns the exit code: 0 if all is within the limits, 1 if not."""
    good = True
    print(f"{'model and size':44} {'arithmetic':10} {'largest':>8} {'mean':>8}  equal values")
    for case, (name, kind) in kinds.items():
        one, other = (values[case] for values in (here, there))
        scale = 255 if one.dtype == np.uint8 else 1
        difference = np.abs(one.astype(np.float64) - other) / scale
        largest, mean = difference.max(), difference.mean()
        passed = largest <= LIMITS[kind][0] and mean <= LIMITS[kind][1]
        verdict = "" if passed else "  BEYOND the limits"
        equal = 100 * np.mean(difference == 0)
        print(f"{name:44} {kind:10} {255 * largest:8.3f} {255 * mean:8.3f}  {equal:6.2f} %{verdict}")
        good &= bool(passed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
