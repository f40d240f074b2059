"""A whole training from a recipe: build, resume, fit, and the run folder that results.

RUN/recipe.yaml     the recipe as it ran           RUN/log.csv, curves.png   figures of each epoch
RUN/versions.json   what it ran on                 RUN/preview/*.jpg         input, output, original
RUN/state/          all that a resume needs        RUN/best/*.keras          the best epochs and the last
RUN/NAME.keras      the best epoch's generator, written at the end
"""

import json
import platform
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import tensorflow as tf

import keras_fsr
from keras_fsr.data.degraded import SameDegradation
from keras_fsr.data.folders import check_pairs, training_and_validation
from keras_fsr.data.loading import load_pair
from keras_fsr.data.patches import Augmentation, Flatness, Patches
from keras_fsr.data.validation import smallest_pairs, whole_images
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DivergenceError, RecipeError, TrainingError, first_line
from keras_fsr.files import make_folder, sweep, whole_file
from keras_fsr.training import callbacks
from keras_fsr.training.building import build_trainer
from keras_fsr.training.degradation import DegradationTrainer
from keras_fsr.training.distribute import ALONE, LOST, Cluster, MeanOfWorkers, Workers
from keras_fsr.training.recipes import Recipe, TransferRecipe, save_recipe
from keras_fsr.training.trainer import Trainer

STOP, ROLLBACK = "stop", "rollback"
ROLLBACKS = 3  # of a run; who diverges more often than that at ever smaller rates has another fault
PREVIEWS = 4  # validation images in the preview grid
MIN_VALIDATION_SIDE = 4  # LR pixels; PSNR cuts a border of one from each side


def train(
    recipe: Recipe,
    data: Path | str,
    out: Path | str,
    lr: Path | str | None = None,
    resume: bool = False,
    workers: Workers = ALONE,
    on_divergence: str = STOP,
) -> Path:
    """Trains by a recipe and returns the path of the best generator, a `.keras` file.

    Args:
        data: folder of HR images (see `keras_fsr.data.folders.training_and_validation`).
        out: run folder; must be new or empty unless `resume`.
        lr: folder of LR images of the same names, or None to reduce the HR images.
        resume: go on from the last saved epoch of `out`.
        workers: processes that train together; all of them read `data`, the first alone needs and writes `out`.
        on_divergence: "stop", or "rollback": go on from the last saved epoch at half the learning rates, which the
            folder's recipe then has; three times at most, and only in one process.

    Raises:
        DataError, RecipeError, TrainingError: bad images, recipe, or a run that cannot start or go on.
        DivergenceError: the training has lost its way, and is not to be rolled back, or not again.
    """
    out = Path(out)
    if on_divergence == ROLLBACK and workers.count > 1:
        raise TrainingError(f"{recipe.name}: several workers cannot roll back; leave out --on-divergence")
    if workers.chief:
        check_folder(out, resume)
    if recipe.data.batch_size % workers.count:
        raise RecipeError(
            f"{recipe.name}: batch_size {recipe.data.batch_size} cannot be shared by {workers.count} workers; "
            f"make it a multiple of {workers.count}"
        )
    keras.utils.set_random_seed(recipe.training.seed)
    train_pairs, val_pairs = training_and_validation(data, lr, recipe.data.validation_share)
    patches = make_patches(recipe, train_pairs)
    val_pairs = smallest_pairs(val_pairs, recipe.data.validation_limit)
    check_pairs(val_pairs, recipe.scale, patch_size=MIN_VALIDATION_SIDE)
    degrade = make_degrader(recipe)
    validation = whole_images(val_pairs, recipe.scale, degrade)
    previews = [load_pair(pair, recipe.scale, degrade, i) for i, pair in enumerate(val_pairs[:PREVIEWS])]
    preview = callbacks.Preview(previews, out / "preview")
    rollbacks = ROLLBACKS if on_divergence == ROLLBACK else 0
    while True:
        trainer = build_trainer(recipe)
        if workers.count > 1:
            return fit_together(recipe, trainer, patches, validation, preview, out, resume, train_pairs, workers)
        try:
            return fit(recipe, trainer, patches, validation, preview, out, resume, len(train_pairs))
        except DivergenceError as error:
            if not rollbacks or not any((out / "state").iterdir()):
                raise
            print(f"{error}. Going on from the last saved epoch at half the learning rate.", file=sys.stderr)
            recipe, resume, rollbacks = calmer(recipe), True, rollbacks - 1


def calmer(recipe: Recipe) -> Recipe:
    """The recipe at half its learning rates."""
    training = replace(recipe.training, learning_rate=recipe.training.learning_rate / 2)
    adversarial = recipe.adversarial and replace(
        recipe.adversarial, learning_rate=recipe.adversarial.learning_rate / 2
    )
    return replace(recipe, training=training, adversarial=adversarial)


def fit_together(recipe, trainer, patches, validation, preview, out, resume, pairs, workers: Cluster) -> Path:
    """`fit` with other processes: all take the chief's state, and the chief alone reads and writes the folder."""
    names = ", ".join(pair.hr.name for pair in pairs)
    try:
        workers.agree(
            {"recipe": repr(replace(recipe, budget={})), "data folder": names, "precision": trainer.precision}
        )
        trainer.join(workers)
        if workers.chief:
            path = fit(recipe, trainer, patches, validation, preview, out, resume, len(pairs), workers)
        else:
            path = out / f"{recipe.name}.keras"
            workers.share_state(variables_of(trainer))
            callback = MeanOfWorkers(workers)
            trainer.fit(patches, validation_data=validation, callbacks=[callback], **schedule(recipe, trainer))
        workers.wait()
        return path
    except LOST as error:
        raise TrainingError(
            f"{out}: another worker was lost after step {trainer.step} ({first_line(error)}); "
            "start all workers again, with --resume"
        ) from None


def fit(
    recipe: Recipe | TransferRecipe,
    trainer: Trainer | DegradationTrainer,
    patches: Patches | SameDegradation,
    validation: tf.data.Dataset,
    preview: keras.callbacks.Callback,
    out: Path,
    resume: bool,
    images: int,
    workers: Workers = ALONE,
) -> Path:
    """The run itself, from the folder's last saved epoch to the recipe's last step; returns the best file."""
    sweep(make_folder(out), time.time())
    if not resume:
        save_recipe(recipe, out / "recipe.yaml")  # first, so that whatever follows can be resumed
    for name in ("preview", "best", "state"):
        make_folder(out / name)
    state = tf.train.Checkpoint(**everything(trainer))
    manager = restore(state, out)
    together = []
    if workers.count > 1:
        workers.share_state(variables_of(trainer))
        together = [MeanOfWorkers(workers)]
    save_recipe(recipe, out / "recipe.yaml")
    with whole_file(out / "versions.json") as temporary:
        temporary.write_text(json.dumps(versions(trainer, images), indent=1), encoding="utf-8")

    epoch = trainer.step // recipe.training.steps_per_epoch
    log = callbacks.EpochLog(out / "log.csv")
    log.load(epoch)
    best = callbacks.KeepBest(log, out / "best", recipe.training.monitor, recipe.training.keep_best)
    bar = callbacks.Bar(recipe.training.steps)
    curves, watch = callbacks.Curves(log, out / "curves.png"), callbacks.Watch(log)
    try:
        trainer.fit(
            patches,
            validation_data=validation,
            callbacks=[*together, bar, log, curves, watch, preview, best, callbacks.SaveState(manager)],
            **schedule(recipe, trainer),
        )
    finally:
        bar.stop()
    return copy_best(best, out / f"{recipe.name}.keras")


def schedule(recipe: Recipe | TransferRecipe, trainer: Trainer | DegradationTrainer) -> dict[str, int]:
    """Arguments of `keras.Model.fit` from the trainer's step to the recipe's last."""
    settings = recipe.training
    return {
        "initial_epoch": trainer.step // settings.steps_per_epoch,
        "epochs": settings.steps // settings.steps_per_epoch,
        "steps_per_epoch": settings.steps_per_epoch,
        "verbose": 0,
    }


def check_folder(out: Path, resume: bool) -> None:
    """Refuses to mix two runs in one folder."""
    if resume and not (out / "recipe.yaml").is_file():
        raise TrainingError(f"{out}: holds no run to resume; leave out --resume to start there")
    if not resume and out.is_dir() and any(out.iterdir()):
        raise TrainingError(f"{out}: is not empty; add --resume to go on with it, or choose another folder")


def make_patches(recipe: Recipe, pairs) -> Patches:
    data = recipe.data
    flatness = Flatness(
        start=data.flatness_start,
        increase=data.flatness_increase,
        every=data.flatness_every,
        maximum=data.flatness_maximum,
        candidates=data.flatness_candidates,
    )
    return Patches(
        pairs,
        recipe.scale,
        data.batch_size,
        data.patch_size,
        hr_scales=data.hr_scales,
        degrade=make_degrader(recipe),
        copies=recipe.degradation.copies if recipe.degradation else 1,
        flatness=flatness,
        augmentation=Augmentation(data.flip, data.flip_vertical, data.rotate),
        seed=recipe.training.seed,
    )


def make_degrader(recipe: Recipe) -> Degrader | None:
    """What makes LR images of HR images; None reduces them by Pillow's bicubic."""
    if recipe.degradation is None:
        return None
    return Degrader(presets.mixture(recipe.degradation.presets), recipe.scale, recipe.training.seed)


def everything(trainer: Trainer | DegradationTrainer) -> dict:
    """All that the next step depends on, and the averaged weights."""
    parts = {
        "generator": trainer.generator,
        "learner": trainer.learner,
        "optimizer": trainer.optimizer,
        "steps_taken": trainer.steps_taken,
    }
    if trainer.discriminator is not None:
        parts["discriminator"] = trainer.discriminator
        parts["discriminator_optimizer"] = trainer.discriminator_optimizer
        # Dropout's random state is among the variables of a network, but not among its weights.
        weights = {id(weight) for weight in trainer.discriminator.weights}
        parts["random"] = [v.value for v in trainer.discriminator.variables if id(v) not in weights]
    return parts


def variables_of(trainer: Trainer | DegradationTrainer) -> list[tf.Variable]:
    """The variables in `everything`, in one order."""
    parts = everything(trainer)
    random = parts.pop("random", [])
    steps = parts.pop("steps_taken")
    return [steps, *random, *(v.value for part in parts.values() for v in stored(part))]


def stored(part: keras.Model | keras.optimizers.Optimizer) -> list[keras.Variable]:
    return part.weights if isinstance(part, keras.Model) else part.variables


def restore(state: tf.train.Checkpoint, out: Path) -> tf.train.CheckpointManager:
    """Loads the last saved state, all of it or none; there is none yet where a run was stopped in its first epoch.

    Returns:
        What saves the next states, and removes old ones.

    Raises:
        TrainingError: the state is damaged, is another network's, or lies elsewhere.
    """
    folder = out / "state"
    try:
        manager = tf.train.CheckpointManager(state, str(folder), max_to_keep=2)
        states = [*manager.checkpoints, *filter(None, [manager.latest_checkpoint])]
        if any(Path(path).parent != folder for path in states):  # old ones will be removed
            raise ValueError("it names files in other folders")
        if manager.latest_checkpoint:
            state.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        elif (folder / "checkpoint").exists():
            raise ValueError("its list of states cannot be read")
    except Exception as error:  # TensorFlow's readers raise nearly anything
        raise TrainingError(
            f"{out}: its saved state is damaged or does not fit this recipe ({first_line(error)}); "
            "resume with the recipe in that folder, or train anew in another one"
        ) from None
    return manager


def versions(trainer: Trainer | DegradationTrainer, images: int) -> dict[str, str | int]:
    return {
        "keras_fsr": keras_fsr.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "precision": trainer.precision,
        "parameters": trainer.generator.count_params(),
        "training_images": images,
    }


def copy_best(best: callbacks.KeepBest, path: Path) -> Path:
    """The best epoch's file under the recipe's name."""
    with whole_file(path) as temporary:
        shutil.copyfile(best.best_file(), temporary)
    return path
