"""The Trainer as a notebook uses it: compile, fit, predict."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_fsr.data.folders import pair_images
from keras_fsr.data.patches import Patches
from keras_fsr.data.validation import whole_images
from keras_fsr.errors import TrainingError
from keras_fsr.generators.rrdb import RRDB
from keras_fsr.losses.pixel import L1
from keras_fsr.metrics.streaming import PSNRY
from keras_fsr.training import precision
from keras_fsr.training.trainer import Trainer

SCALE = 2


def tiny():
    return RRDB(SCALE, num_features=8, growth_channels=4, num_blocks=1, hardware=True, anchor=True)


def compiled(**options):
    keras.utils.set_random_seed(0)
    trainer = Trainer(tiny(), **{"precision": "float32", **options})
    trainer.compile(optimizer=keras.optimizers.Adam(1e-3), loss=L1(), metrics=[PSNRY(SCALE)])
    return trainer


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for i in range(4):
        coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return pair_images(folder)


@pytest.fixture(scope="module")
def patches(pairs):
    return Patches(pairs, SCALE, batch_size=4, patch_size=8)


def test_fit_lowers_the_loss_and_reports_validation(pairs, patches):
    trainer = compiled()
    history = trainer.fit(
        patches, validation_data=whole_images(pairs, SCALE), epochs=6, steps_per_epoch=10, verbose=0
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_psnr_y"][-1] > history["val_psnr_y"][0]
    assert trainer.step == 60


def test_fit_takes_any_tf_dataset():
    draw = tf.random.stateless_uniform((8, 8, 8, 3), (0, 0))
    stream = tf.data.Dataset.from_tensor_slices((draw, tf.repeat(tf.repeat(draw, 2, 1), 2, 2))).batch(4)
    trainer = compiled()
    trainer.fit(stream, epochs=2, verbose=0)
    assert trainer.step == 4


def test_a_second_fit_goes_on_in_the_stream(patches):
    once, twice = compiled(), compiled()
    once.fit(patches, epochs=1, steps_per_epoch=6, verbose=0)
    twice.fit(patches, epochs=1, steps_per_epoch=3, verbose=0)
    twice.fit(patches, epochs=1, steps_per_epoch=3, verbose=0)
    for a, b in zip(once.learner.get_weights(), twice.learner.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_generator_holds_the_average_of_the_learner(patches):
    trainer = compiled(ema_decay=0.5)
    start = [w.copy() for w in trainer.learner.get_weights()]
    trainer.fit(patches, epochs=1, steps_per_epoch=1, verbose=0)
    # The decay of the first step is min(0.5, (1 + 1) / (10 + 1)).
    decay = 2 / 11
    for before, now, average in zip(
        start, trainer.learner.get_weights(), trainer.generator.get_weights(), strict=True
    ):
        np.testing.assert_allclose(average, decay * before + (1 - decay) * now, atol=1e-6)


def test_without_averaging_the_generator_follows_the_learner(patches):
    trainer = compiled(ema_decay=0.0)
    trainer.fit(patches, epochs=1, steps_per_epoch=2, verbose=0)
    for a, b in zip(trainer.learner.get_weights(), trainer.generator.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_a_bad_batch_stops_the_training_with_its_files_named_and_weights_unharmed(pairs, patches, monkeypatch):
    trainer = compiled()
    trainer.fit(patches, epochs=1, steps_per_epoch=2, verbose=0)
    before = trainer.learner.get_weights()

    good = Patches.dataset

    def poisoned(self, first_step=0):
        def poison(step, batch):
            lr, hr = batch
            return lr, tf.where(tf.equal(step, 1), float("nan"), hr)

        return good(self, first_step).enumerate().map(poison)

    monkeypatch.setattr(Patches, "dataset", poisoned)
    with pytest.raises(TrainingError, match="not finite at step 3") as caught:
        trainer.fit(patches, epochs=1, steps_per_epoch=4, verbose=0)
    for name in patches.files(3):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    after = trainer.learner.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)), "step 2 was good"


def test_bfloat16_learner_keeps_float32_weights_and_output():
    trainer = compiled(precision="bfloat16")
    assert trainer.learner.get_layer("conv_trunk").compute_dtype == "bfloat16"
    assert trainer.generator.get_layer("conv_trunk").compute_dtype == "float32"
    assert all(w.dtype == "float32" for w in trainer.learner.weights)
    assert trainer.learner(np.zeros((1, 8, 8, 3), "float32")).dtype == tf.float32


def test_building_a_learner_leaves_the_global_policy_alone():
    before = keras.config.dtype_policy().name
    compiled(precision="bfloat16")
    assert keras.config.dtype_policy().name == before


def test_auto_precision_follows_the_hardware(monkeypatch):
    monkeypatch.setattr(precision, "hardware_has_bfloat16", lambda: True)
    assert precision.policy_for("auto") == "mixed_bfloat16"
    monkeypatch.setattr(precision, "hardware_has_bfloat16", lambda: False)
    assert precision.policy_for("auto") == "float32"


def test_unknown_precision_is_refused():
    with pytest.raises(TrainingError, match="float8"):
        Trainer(tiny(), precision="float8")


def test_predict_runs_the_generator():
    trainer = compiled()
    image = np.random.default_rng(0).random((1, 8, 8, 3), dtype=np.float32)
    np.testing.assert_allclose(trainer.predict(image, verbose=0), trainer.generator(image), atol=1e-6)


def test_train_on_batch_takes_a_step(patches):
    trainer = compiled()
    trainer.train_on_batch(*next(iter(patches.dataset())))
    assert trainer.step == 1
