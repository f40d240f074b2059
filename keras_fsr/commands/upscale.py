"""`keras-fsr upscale`: images and folders of images."""

import sys
from pathlib import Path

from keras_fsr.commands.shared import DEFAULT_MODEL, add_strength, positive, progress_bar


def add(commands) -> None:
    parser = commands.add_parser("upscale", help="enlarge images and folders of images")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="image files or folders")
    parser.add_argument(
        "-o", "--out", type=Path, help="output file, or folder for several inputs (default: beside the input)"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped model or .tflite/.keras file")
    parser.add_argument("--tile", type=int, default=256, help="pixels a side at once; 0 = whole (256)")
    parser.add_argument("--overlap", type=int, default=32, help="pixels that tiles share (32)")
    parser.add_argument("--ensemble", action="store_true", help="average 8 flips and turns: better, slower")
    parser.add_argument("--threads", type=positive, help="CPU threads (all)")
    parser.add_argument("--max-pixels", type=int, default=64_000_000, help="refuse larger inputs (64000000)")
    add_strength(parser, metavar="0..1")
    parser.set_defaults(call=run)


def run(arguments) -> int:
    from keras_fsr.inference.inputs import upscale_inputs
    from keras_fsr.inference.predictor import Predictor

    predictor = Predictor(
        arguments.model,
        tile=arguments.tile or None,
        overlap=arguments.overlap,
        ensemble=arguments.ensemble,
        threads=arguments.threads,
        max_pixels=arguments.max_pixels,
        strength=arguments.strength,
        fidelity=arguments.fidelity_model,
    )
    report = upscale_inputs(predictor, arguments.inputs, arguments.out, progress_bar, print)
    if len(arguments.inputs) > 1 or arguments.inputs[0].is_dir():
        print(f"{len(report.written)} written, {len(report.failed)} failed")
    for _, reason in report.failed:
        print(f"keras-fsr: failed: {reason}", file=sys.stderr)
    return 1 if report.failed else 0
