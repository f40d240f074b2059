"""Writes the TFLite form of a generator: `python export/tflite.py --model face_x4 -o face_x4.tflite`."""

import sys

from keras_fsr.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", "tflite", *sys.argv[1:]]))
