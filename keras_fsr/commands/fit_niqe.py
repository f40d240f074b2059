"""`keras-fsr fit-niqe`: NIQE's model of pristine images."""

from pathlib import Path

from keras_fsr.commands.shared import add_command, check_output


def add(commands) -> None:
    parser = add_command(
        commands,
        "fit-niqe",
        "fit NIQE's model of pristine images on a folder of yours",
        "keras-fsr fit-niqe FACES/train -o faces.npz",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="undistorted images, the larger the better")
    parser.add_argument("-o", "--out", type=Path, required=True, help=".npz file, for evaluate --niqe-prior")
    parser.set_defaults(call=run)


def run(arguments) -> None:
    from keras_fsr.data.folders import list_images
    from keras_fsr.evaluation.protocol import load_rgb
    from keras_fsr.metrics.niqe import fit_niqe

    check_output(arguments.out)
    files = list_images(arguments.folder)
    prior = fit_niqe(load_rgb(file) for file in files)
    prior.save(arguments.out)
    print(f"{arguments.out}: NIQE's prior of {len(files)} images")
