"""Assembles the page that enlarges photos in a browser: `python export/browser/build.py --model FILE.tflite -o site`.

What comes out is a folder of static files for any web server: the page, the model and the LiteRT.js runtime, whose
two npm packages are fetched once, into the user's cache, and checked against the digests below.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_fsr.errors import FSRError, ModelError, first_line
from keras_fsr.files import make_folder, whole_file
from keras_fsr.inference import tiles
from keras_fsr.inference.engines import check_file

HERE = Path(__file__).parent
LICENCE = HERE.parents[1] / "LICENSE"  # the runtime has the same one, and its packages hold no copy
PAGE = ("index.html", "style.css", "icon.svg", "app.js", "worker.js", "tiles.js", "offline.js")

SCALE = 4
SMALLEST = 32  # pixels a side of the network's input; less would hold hardly more than the overlaps
OVERLAP = 32  # pixels that tiles share, of networks that are large enough for it; as the Predictor's
TYPES = (np.float32, np.uint8)  # of those that LiteRT.js takes, the ones that images come in

VERSION = "2.5.3"
# Package -> what npm calls its integrity, as the registry gives it for that version.
PACKAGES = {
    "core": "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    "wasm-utils": "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
}
# LiteRT.js chooses among these by what the browser can do.
BINARIES = ("litert_wasm_internal", "litert_wasm_threaded_internal", "litert_wasm_compat_internal")
# A worker knows no import map, so the one import between the packages must name a file.
IMPORT, LOCAL_IMPORT = b'from "@litertjs/wasm-utils"', b'from "./wasm-utils.js"'
NOTICE = b"// Changed by keras_fsr: the import of @litertjs/wasm-utils names the file beside this one.\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help=".tflite file of a fixed size, by 4")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="FOLDER", help="the site's folder")
    parser.add_argument(
        "--runtime",
        type=Path,
        metavar="DIR",
        help="where the npm packages lie or are put (default: the user's cache)",
    )
    parsed = parser.parse_args(arguments)
    try:
        build(parsed.model, parsed.out, parsed.runtime)
    except FSRError as error:
        print(f"build: error: {error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in parsed.out.rglob("*") if path.is_file())
    print(f"{parsed.out}: {size / 1e6:.1f} MB; try it with: python {HERE / 'serve.py'} {parsed.out}")
    return 0


def build(model: Path, out: Path, runtime: Path | None = None) -> None:
    """Writes the site; files of earlier builds are replaced.

    Args:
        model: `.tflite` file that meets the `contract`.
        out: the site's folder.
        runtime: folder of the npm packages, the user's cache by default; those not in it are fetched into it.

    Raises:
        ModelError: the page cannot run the model.
        FSRError: the runtime is neither there nor can be fetched, or is another one.
        OutputError: a file cannot be written.
    """
    facts = contract(model)
    folder = cache() if runtime is None else runtime
    files = {f"runtime/{name}": content for name, content in runtime_files(folder).items()}
    files |= {name: (HERE / name).read_bytes() for name in PAGE}
    files["runtime/LICENSE"] = LICENCE.read_bytes()
    files["model.tflite"] = model.read_bytes()
    files["model.json"] = (json.dumps({"name": model.stem, **facts}, indent=1) + "\n").encode()
    for name, content in files.items():
        make_folder((out / name).parent)
        with whole_file(out / name) as temporary:
            temporary.write_bytes(content)


def contract(path: Path) -> dict[str, Any]:
    """What the page must know of a model: sizes in pixels, and what its numbers stand for.

    `size` is the side of the network's input; `overlap` is as in `keras_fsr.inference.tiles`, and what the Predictor
    takes for the same file (up to a size of 288).

    Raises:
        ModelError: no such file, no model, or one that the page cannot run.
    """
    inputs, outputs = tensors(path)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; give a model of one each")
    (source,), (result,) = inputs, outputs
    if -1 in source["shape_signature"]:
        raise ModelError(f"{path}: takes images of any size, LiteRT.js only of one; export it with --size 64x64")
    shape = [int(side) for side in source["shape"]]
    size = shape[1] if len(shape) == 4 else 0
    if shape != [1, size, size, 3] or size < SMALLEST or size % tiles.MULTIPLE:
        sides = f"a multiple of {tiles.MULTIPLE} a side and {SMALLEST} or more"
        raise ModelError(f"{path}: takes {shape}; export it for squares, {sides}")
    expected = [1, size * SCALE, size * SCALE, 3]
    if list(result["shape"]) != expected:
        raise ModelError(f"{path}: makes {list(map(int, result['shape']))}, not {expected}; give a model by {SCALE}")
    _, overlap = tiles.fitted(size, None, OVERLAP)
    return {
        "scale": SCALE,
        "size": size,
        "overlap": overlap,
        "input": numbers(path, source),
        "output": numbers(path, result),
    }


def tensors(path: Path) -> tuple[list[dict], list[dict]]:
    """LiteRT's details of a model's inputs and outputs."""
    from ai_edge_litert.interpreter import Interpreter

    check_file(path)
    try:
        interpreter = Interpreter(str(path))
        return interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: is not a TFLite model ({first_line(error)})") from None


def numbers(path: Path, tensor: Mapping[str, Any]) -> dict[str, Any]:
    """A tensor's type; if it is uint8, also how its numbers n stand for [0, 1]: (n - zero) * scale."""
    if tensor["dtype"] not in TYPES:
        raise ModelError(f"{path}: has a tensor of {tensor['dtype'].__name__}; export it for float32 or uint8 images")
    if tensor["dtype"] is np.float32:
        return {"type": "float32"}
    scale, zero = tensor["quantization"]
    if scale <= 0:
        raise ModelError(f"{path}: does not say what its uint8 numbers stand for; export it again")
    return {"type": "uint8", "scale": float(scale), "zero": int(zero)}


def cache() -> Path:
    """Where the runtime is kept between builds."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "keras_fsr" / f"litertjs-{VERSION}"


def runtime_files(folder: Path) -> dict[str, bytes]:
    """The parts of the runtime that the site needs, by their names in it.

    Raises:
        FSRError: as `package`.
    """
    core, utilities = (package(name, folder) for name in PACKAGES)
    script = core["dist/index.js"]
    if script.count(IMPORT) != 1:
        raise FSRError(f"@litertjs/core {VERSION}: does not import @litertjs/wasm-utils as expected; build.py is old")
    binaries = {f"wasm/{name}.{kind}": core[f"wasm/{name}.{kind}"] for name in BINARIES for kind in ("js", "wasm")}
    return {
        "core.js": NOTICE + script.replace(IMPORT, LOCAL_IMPORT),
        "wasm-utils.js": utilities["dist/index.js"],
        **binaries,
    }


def package(name: str, folder: Path) -> dict[str, bytes]:
    """The files of one of the runtime's packages; it is fetched, and put into the folder, if it is not there.

    Raises:
        FSRError: it cannot be fetched, or is not the package that its digest names.
        OutputError: the folder cannot be written.
    """
    path = folder / f"litertjs-{name}-{VERSION}.tgz"  # as npm names it
    known = path.is_file()
    content = path.read_bytes() if known else fetched(name, path)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if PACKAGES[name] != f"sha512-{digest}":
        raise FSRError(f"{path}: is damaged or not what npm has published (SHA-512 {digest[:12]}...); get it again")
    if not known:
        make_folder(folder)
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [member for member in archive if member.isfile()]
        return {member.name.partition("/")[2]: archive.extractfile(member).read() for member in members}


def fetched(name: str, path: Path) -> bytes:
    """A package as npm gets it from its registry, which would have the given path."""
    npm = shutil.which("npm")
    if npm is None:
        raise FSRError(f"{path}: is not there, and npm, which would fetch it, is not installed; install Node.js")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"@litertjs/{name}@{VERSION}", "--pack-destination", folder, "--loglevel", "error"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        packed = Path(folder) / path.name
        if not packed.is_file():
            reason = " ".join(result.stderr.split())[:200] or f"exit code {result.returncode}"
            raise FSRError(f"{path}: npm cannot fetch it ({reason}); check the connection to its registry")
        return packed.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
