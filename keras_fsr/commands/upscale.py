"""`keras-fsr upscale`: images, videos and folders of them, and the faces in photos."""

import math
import sys
from pathlib import Path

from keras_fsr.commands.shared import (
    DEFAULT_MODEL,
    add_command,
    add_strength,
    add_tag,
    progress_bar,
    threads,
    use_weights,
)
from keras_fsr.errors import FSRError

FACE_MODEL = "face_x4_real"  # photos have noise and JPEG's traces, which the other models enlarge too
FACE_OPTIONS = ("detector", "background", "annotate", "identity_check", "weights")
PHOTO_OPTIONS = ("out", "background", "annotate", "identity_check", "resume")
"""What says nothing without --faces, and what says nothing where crops are all that is written."""


def add(commands) -> None:
    parser = add_command(
        commands,
        "upscale",
        "enlarge images, videos and folders of them",
        "keras-fsr upscale face.jpg",
        "keras-fsr upscale holiday/ -o large/",
        "keras-fsr upscale photo.jpg --faces --annotate",
        "keras-fsr upscale frame.png --faces-only faces/",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="image or video files, or folders of them")
    parser.add_argument(
        "-o", "--out", type=Path, help="output file, or folder for several inputs (default: beside the input)"
    )
    parser.add_argument("--resume", action="store_true", help="skip inputs whose results are there and not older")
    parser.add_argument(
        "--model", help=f"shipped model or .tflite/.keras file ({DEFAULT_MODEL}; {FACE_MODEL} with --faces)"
    )
    parser.add_argument("--tile", type=int, default=256, help="pixels a side at once; 0 = whole (256)")
    parser.add_argument("--overlap", type=int, default=32, help="pixels that tiles share (32)")
    parser.add_argument("--ensemble", action="store_true", help="average 8 flips and turns: better, slower")
    parser.add_argument("--threads", type=threads, help="CPU threads (all)")
    parser.add_argument("--max-pixels", type=int, default=64_000_000, help="refuse larger inputs (64000000)")
    add_strength(parser, metavar="0..1")
    add_tag(parser)
    _add_faces(parser.add_argument_group("faces in photos"))
    parser.set_defaults(call=run)


def _add_faces(group) -> None:
    group.add_argument(
        "--faces", action="store_true", help="find faces; the model for them, --background for the rest"
    )
    group.add_argument("--detector", metavar="haar|yunet|FILE", help="what finds faces; FILE is YuNet's .onnx (haar)")
    group.add_argument("--background", metavar="MODEL", help="model for the rest, or bicubic (bicubic)")
    group.add_argument(
        "--faces-only", type=Path, metavar="DIR", help="write the faces as DIR/IN_face1.png ... and no photo"
    )
    group.add_argument("--annotate", action="store_true", help="write OUT_faces too: the result with boxes")
    group.add_argument(
        "--identity-check", action="store_true", help="print how far each face has moved from who it was"
    )
    group.add_argument("--weights", type=Path, metavar="DIR", help="folder with YuNet's weights (KERAS_FSR_WEIGHTS)")


def run(arguments) -> int:
    from keras_fsr.inference.inputs import upscale_inputs

    check_options(arguments)
    use_weights(arguments.weights)
    predictor = make_predictor(arguments)
    if arguments.faces_only:
        from keras_fsr.inference.face_files import write_crops

        report = write_crops(predictor, arguments.inputs, arguments.faces_only, progress_bar, print)
    else:
        report = upscale_inputs(predictor, arguments.inputs, arguments.out, progress_bar, print, arguments.resume)
    for note in report.notes:
        tell(note)
    if len(arguments.inputs) > 1 or arguments.inputs[0].is_dir():
        print(report.summary())
    for _, reason in report.failed:
        tell(f"failed: {reason}")
    return 1 if report.failed else 0


def check_options(arguments) -> None:
    """FSRError where an option would say nothing."""
    if arguments.faces_only:
        arguments.faces = True
        for name in filter(lambda name: getattr(arguments, name), PHOTO_OPTIONS):
            raise FSRError(f"--{name.replace('_', '-')}: --faces-only writes no photo; leave one of the two out")
    if not arguments.faces:
        for name in filter(lambda name: getattr(arguments, name), FACE_OPTIONS):
            raise FSRError(f"--{name.replace('_', '-')}: is for faces in photos; add --faces")


def make_predictor(arguments):
    options = {
        "tile": arguments.tile or None,
        "overlap": arguments.overlap,
        "ensemble": arguments.ensemble,
        "threads": arguments.threads,
        "max_pixels": arguments.max_pixels,
        "strength": arguments.strength,
        "fidelity": arguments.fidelity_model,
        "tag": arguments.tag,
    }
    if not arguments.faces:
        from keras_fsr.inference.predictor import Predictor

        return Predictor(arguments.model or DEFAULT_MODEL, **options)
    from keras_fsr.inference.faces import BICUBIC, FacePredictor

    predictor = FacePredictor(
        arguments.model or FACE_MODEL, arguments.background or BICUBIC, arguments.detector or "haar", **options
    )
    predictor.watch = make_watch(arguments, predictor)
    return predictor


def make_watch(arguments, predictor):
    """What is said and written of every picture that was done."""
    from keras_fsr.inference.face_files import IdentityCheck, write_annotated

    check = IdentityCheck(predictor) if arguments.identity_check else None

    def watch(sighting) -> None:
        if not sighting.faces:
            tell(f"{sighting.source}: no face found; the whole picture was enlarged")
            return
        if arguments.annotate:
            print(write_annotated(sighting, predictor.scale))
        for number, distance in enumerate(check(sighting) if check else [], start=1):
            report_identity(f"{sighting.source}: face {number}", distance, check.threshold)

    return watch


def report_identity(face: str, distance: float, threshold: float) -> None:
    if math.isnan(distance):
        print(f"{face}: identity not checked, for it is too small or turned to be recognised")
        return
    print(f"{face}: identity distance {distance:.2f} (same person below {threshold:g})")
    if distance >= threshold:
        tell(
            f"warning: {face} may look like somebody else: identity distance {distance:.2f}, threshold {threshold:g}"
        )


def tell(line: str) -> None:
    print(f"keras-fsr: {line}", file=sys.stderr)
