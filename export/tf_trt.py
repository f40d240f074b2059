"""Writes the TF-TRT form of a generator: `python export/tf_trt.py --model face_x4 -o face_x4_trt`."""

import sys

from keras_fsr.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", "tf-trt", *sys.argv[1:]]))
