"""A whole training of DegNet and SynNet from a recipe; its run folder is as that of `run.train`."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from keras_fsr.data.degraded import Camera, SameDegradation, take_pictures
from keras_fsr.data.folders import check_pairs, training_and_validation
from keras_fsr.degradations import presets
from keras_fsr.degradations.learned.discriminator import PairDiscriminator
from keras_fsr.degradations.learned.losses import BandEnergy, OtherOmega, SameOmega
from keras_fsr.degradations.learned.network import DegradationTransfer
from keras_fsr.degradations.learned.synnet import noise_channels
from keras_fsr.losses.adversarial import ADVERSARIAL_LOSSES
from keras_fsr.losses.pixel import PIXEL_LOSSES
from keras_fsr.metrics.streaming import PSNRY
from keras_fsr.training.building import build_extractor, build_optimizer, build_perceptual
from keras_fsr.training.degradation import DegradationTrainer
from keras_fsr.training.recipes import TransferRecipe
from keras_fsr.training.run import check_folder, fit

VALIDATION_SEED = 1_000_003  # of cameras that no training draws
PREVIEWS = 6
COLUMNS = "example HQ, example LQ, other HQ, its true LQ, ours, ours without noise"


def train_degradation(recipe: TransferRecipe, data: Path | str, out: Path | str, resume: bool = False) -> Path:
    """Trains by a recipe and returns the path of the best `DegradationTransfer`, a `.keras` file.

    Args:
        data: folder of HR images (see `keras_fsr.data.folders.training_and_validation`).
        out: run folder; must be new or empty unless `resume`.
        resume: go on from the last saved epoch of `out`.

    Raises:
        DataError, RecipeError, TrainingError: bad images, recipe, or a run that cannot start or go on.
    """
    out, hidden, seed = Path(out), recipe.hidden, recipe.training.seed
    check_folder(out, resume)
    keras.utils.set_random_seed(seed)
    train_pairs, val_pairs = training_and_validation(data, None, hidden.validation_share)
    for pairs in (train_pairs, val_pairs):
        check_pairs(pairs, recipe.scale, hidden.size)
    degradation = presets.mixture(hidden.presets)
    pictures = SameDegradation(
        degradation,
        [pair.hr for pair in train_pairs],
        recipe.scale,
        hidden.cameras,
        hidden.pictures,
        hidden.size,
        hidden.patch_size,
        hidden.batch_size,
        seed,
    )
    files = [pair.hr for pair in val_pairs]
    cameras = [
        take_pictures(degradation, files, index, recipe.scale, hidden.size, 2, VALIDATION_SEED + seed)
        for index in range(hidden.validation_cameras)
    ]
    trainer = build_degradation_trainer(recipe)
    preview = Preview(cameras[:PREVIEWS], out / "preview")
    return fit(recipe, trainer, pictures, as_batches(cameras), preview, out, resume, len(train_pairs))


def build_degradation_trainer(recipe: TransferRecipe) -> DegradationTrainer:
    """The compiled trainer of a recipe, with new weights."""
    settings, omega, adversarial = recipe.training, recipe.omega, recipe.adversarial
    networks = recipe.networks
    trainer = DegradationTrainer(
        DegradationTransfer(recipe.scale, networks.size, dict(networks.degnet), dict(networks.synnet)),
        adversarial and PairDiscriminator(recipe.scale, networks.size, **adversarial.options),
        recipe.perceptual and build_extractor(recipe.perceptual),
        swap=omega.swap,
        ema_decay=settings.ema_decay,
        precision=settings.precision,
        seed=settings.seed,
    )
    trainer.compile(
        build_optimizer(settings.optimizer, settings.learning_rate, settings),
        pixel=PIXEL_LOSSES[settings.loss](settings.loss_weight),
        bands=BandEnergy(omega.bands_weight),
        same=SameOmega(omega.same_weight),
        other=OtherOmega(omega.other_weight, omega.margin),
        perceptual=recipe.perceptual and build_perceptual(recipe.perceptual),
        adversarial=adversarial and ADVERSARIAL_LOSSES[adversarial.loss](adversarial.weight),
        discriminator_optimizer=adversarial
        and build_optimizer(adversarial.optimizer, adversarial.learning_rate, settings),
        metrics=[PSNRY(1)],
    )
    return trainer


def as_batches(cameras: Sequence[Camera]) -> tf.data.Dataset:
    """The first two pictures of each camera as the trainer takes them, batches of up to 8."""
    pictures = [[camera.hq[0], camera.lq[0], camera.hq[1], camera.lq[1]] for camera in cameras]
    columns = tuple(np.stack(column) for column in zip(*pictures, strict=True))
    return (
        tf.data.Dataset.from_tensor_slices(columns)
        .batch(8)
        .map(lambda *images: tuple(tf.cast(image, tf.float32) / 255 for image in images))
    )


class Preview(keras.callbacks.Callback):
    """COLUMNS of some validation cameras after each epoch, at LR size times two."""

    def __init__(self, cameras: Sequence[Camera], folder: Path):
        super().__init__()
        self.cameras = cameras
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        network, rows = self.model.generator, []
        for camera in self.cameras:
            hq, lq = (tf.constant(images, tf.float32) / 255 for images in (camera.hq, camera.lq))
            omega = network.degnet([hq[:1], lq[:1]])
            noise = keras.random.normal((1, *lq.shape[1:3], noise_channels()), seed=0)
            made = [network.synnet([hq[1:2], omega, draw]) for draw in (noise, noise * 0)]
            made = [np.rint(np.clip(np.asarray(image)[0], 0, 1) * 255).astype("uint8") for image in made]
            images = [camera.hq[0], camera.lq[0], camera.hq[1], camera.lq[1], *made]
            side = 2 * lq.shape[1]
            rows.append(np.hstack([Image.fromarray(image).resize((side, side)) for image in images]))
        Image.fromarray(np.vstack(rows)).save(self.folder / f"step_{self.model.step:06d}.jpg", quality=90)
