"""`keras-fsr train`: a recipe on a folder of images."""

import sys
from pathlib import Path

from keras_fsr.commands.shared import add_command, add_weights, use_weights
from keras_fsr.errors import FSRError
from keras_fsr.quiet import import_tensorflow


def add(commands) -> None:
    parser = add_command(
        commands,
        "train",
        "train a recipe on a folder of images",
        "keras-fsr train face_x4 --data FACES --out runs/mine",
        "keras-fsr train face_x4 --data FACES --out runs/mine --resume",
        "keras-fsr train face_x4_gan --data FACES --out runs/sharp --weights WEIGHTS --set training.steps=2000",
    )
    parser.add_argument("recipe", help="name of a recipe in the package, or a .yaml file")
    parser.add_argument("--data", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, by its own recipe")
    parser.add_argument("--budget", action="store_true", help="scale a published recipe down to a CPU, as it says")
    parser.add_argument(
        "--strategy",
        choices=("auto", "mirrored", "multiworker"),
        default="auto",
        help="train on all GPUs of this machine, or with the workers that TF_CONFIG names (auto: what there is)",
    )
    parser.add_argument(
        "--on-divergence",
        choices=("stop", "rollback"),
        default="stop",
        help="when a loss is not finite or the GAN explodes: stop, or go on from the last epoch at half the rate",
    )
    add_weights(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value, e.g. training.steps=1000",
    )
    parser.set_defaults(call=run)


def run(arguments) -> None:
    import_tensorflow()
    from keras_fsr.training.degradation_run import train_degradation
    from keras_fsr.training.distribute import choose, start_workers, workers_to_start
    from keras_fsr.training.recipes import TransferRecipe, load_recipe
    from keras_fsr.training.run import train

    count = workers_to_start(arguments.strategy)
    if count:
        if start_workers(count, run_in_worker, arguments):
            raise FSRError(f"{arguments.out}: a worker failed, as said above; start again with --resume")
        return
    workers = choose(arguments.strategy)
    use_weights(arguments.weights)
    saved = arguments.out / "recipe.yaml"
    if arguments.resume and saved.is_file():
        recipe = load_recipe(saved, arguments.set)
    else:
        recipe = load_recipe(arguments.recipe, arguments.set, arguments.budget)
    if isinstance(recipe, TransferRecipe):
        if arguments.lr_data:
            raise FSRError(f"{recipe.name}: makes its own LR images; leave out --lr-data")
        if workers.count > 1:
            raise FSRError(f"{recipe.name}: trains in one process; leave out --strategy and TF_CONFIG")
        if arguments.on_divergence == "rollback":
            raise FSRError(f"{recipe.name}: cannot roll back; leave out --on-divergence")
        print(train_degradation(recipe, arguments.data, arguments.out, arguments.resume))
        return
    path = train(
        recipe,
        arguments.data,
        arguments.out,
        lr=arguments.lr_data,
        resume=arguments.resume,
        workers=workers,
        on_divergence=arguments.on_divergence,
    )
    if workers.chief:
        print(path)


def run_in_worker(arguments) -> None:
    """`run` in a process of its own, which says its errors as the command line does."""
    try:
        run(arguments)
    except FSRError as error:
        print(f"keras-fsr: error: {error}", file=sys.stderr)
        sys.exit(2)
