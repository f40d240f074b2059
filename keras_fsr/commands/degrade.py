"""`keras-fsr degrade`: an LR set of a folder of HR images."""

import sys
from pathlib import Path

from keras_fsr.commands.shared import add_command, natural, positive, progress_bar


def add(commands) -> None:
    parser = add_command(
        commands,
        "degrade",
        "make an LR set of a folder of HR images",
        "keras-fsr degrade FACES -o LR",
        "keras-fsr degrade FACES -o LR --model bsrgan --seed 1",
        "keras-fsr degrade FACES -o AGAIN --replay LR/degradations.jsonl",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="HR images")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of LR images and their parameters")
    parser.add_argument(
        "--model",
        default="real-esrgan",
        metavar="DEGRADATION",
        help="real-esrgan, bsrgan, face, camera, jiang, bicubic, learned, a YAML file, or the .npz of "
        "fit-degradation (real-esrgan)",
    )
    parser.add_argument("--scale", type=positive, default=4, help="HR side / LR side (4)")
    parser.add_argument("--stages", type=positive, help="of a preset with stages: 1 to 4 (as it has)")
    parser.add_argument("--seed", type=natural, default=0, help="fixes every parameter and all noise (0)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="repeat the degradations.jsonl of another run")
    parser.set_defaults(call=run)


def run(arguments) -> int:
    from keras_fsr.data.degraded_folder import degrade_folder, replay_folder
    from keras_fsr.degradations import presets
    from keras_fsr.degradations.second_order import Degrader

    with progress_bar("degrading") as progress:
        if arguments.replay:
            report = replay_folder(arguments.folder, arguments.out, arguments.replay, progress)
        else:
            degrade = Degrader(presets.load(arguments.model, arguments.stages), arguments.scale, arguments.seed)
            report = degrade_folder(arguments.folder, arguments.out, degrade, arguments.model, progress)
    print(f"{len(report.written)} written, {len(report.failed)} failed; parameters: {report.records}")
    for _, reason in report.failed:
        print(f"keras-fsr: failed: {reason}", file=sys.stderr)
    return 1 if report.failed else 0
