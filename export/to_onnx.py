"""Writes the ONNX form of a generator: `python export/to_onnx.py --model face_x4 -o face_x4.onnx`."""

import sys

from keras_fsr.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", "onnx", *sys.argv[1:]]))
