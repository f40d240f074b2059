"""`keras-fsr fit-degradation`: a camera's degradation learned from pairs."""

from pathlib import Path

from keras_fsr.commands.shared import add_command, check_output
from keras_fsr.quiet import import_tensorflow


def add(commands) -> None:
    parser = add_command(
        commands,
        "fit-degradation",
        "learn a camera's degradation from pairs of images",
        "keras-fsr fit-degradation --hq SHARP --lq CAMERA -o camera.npz",
    )
    parser.add_argument("--hq", type=Path, required=True, help="folder of originals")
    parser.add_argument("--lq", type=Path, required=True, help="folder of what the camera made of them, same names")
    parser.add_argument("--network", default="degradation_x4", help="shipped degradation model or .keras file")
    parser.add_argument("-o", "--out", type=Path, required=True, help=".npz file, for degrade --model and recipes")
    parser.set_defaults(call=run)


def run(arguments) -> None:
    import_tensorflow()
    from keras_fsr.data.folders import pair_images
    from keras_fsr.data.loading import decode
    from keras_fsr.degradations.learned.transfer import fit_degradation

    check_output(arguments.out)
    pairs = [(decode(pair.hr), decode(pair.lr)) for pair in pair_images(arguments.hq, arguments.lq)]
    camera = fit_degradation(pairs, arguments.network)
    camera.save(arguments.out)
    print(f"{arguments.out}: the camera of {len(pairs)} pairs")
