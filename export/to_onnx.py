"""Writes the ONNX form of a generator: `python export/to_onnx.py --model face_x4 -o face_x4.onnx`."""

import argparse
import sys
from pathlib import Path

from keras_fsr.cli import fail
from keras_fsr.errors import FSRError
from keras_fsr.quiet import import_tensorflow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="face_x4", help="shipped model, .keras file or folder of a run (face_x4)")
    parser.add_argument("-o", "--out", type=Path, required=True, help=".onnx file to write")
    parser.add_argument("--trtexec", action="store_true", help="print the commands that make a TensorRT engine of it")
    arguments = parser.parse_args()
    try:
        import_tensorflow()
        from keras_fsr.deploy.onnx_file import export_onnx, trtexec

        print(export_onnx(arguments.model, arguments.out))
    except FSRError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        return fail(f"ONNX needs {error.name}; install the extra: pip install '.[onnx]' in the checkout")
    if arguments.trtexec:
        print(trtexec(arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
