"""Writes the TF-TRT form of a generator: `python export/tf_trt.py --model face_x4 -o face_x4_trt`."""

import argparse
import sys
from pathlib import Path

from keras_fsr.cli import fail
from keras_fsr.errors import FSRError
from keras_fsr.quiet import import_tensorflow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="face_x4", help="shipped model, .keras file or folder of a run (face_x4)")
    parser.add_argument("--precision", default="fp16", help="fp32, fp16 or int8 (fp16)")
    parser.add_argument("--calibration", type=Path, metavar="DIR", help="of int8: images like those to be enlarged")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the SavedModel to write")
    arguments = parser.parse_args()
    try:
        import_tensorflow()
        from keras_fsr.deploy.tf_trt import export_tf_trt

        print(export_tf_trt(arguments.model, arguments.out, arguments.precision, arguments.calibration))
    except FSRError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        return fail(f"TF-TRT needs {error.name}; install the extra: pip install '.[train]' in the checkout")
    return 0


if __name__ == "__main__":
    sys.exit(main())
