"""The Trainer's adversarial stage: who learns from what, what is logged and refused, what a bad step leaves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.discriminators.skip import SkipDiscriminator
from keras_fsr.discriminators.unet import UNetDiscriminator
from keras_fsr.discriminators.vgg import VGGDiscriminator
from keras_fsr.errors import TrainingError
from keras_fsr.extractors.vgg16 import build_vgg
from keras_fsr.generators.rrdb import RRDB
from keras_fsr.layers import SpectralConv2D, advance_spectral_norms
from keras_fsr.losses.adversarial import BCE, LSGAN, Hinge, RelativisticAverage
from keras_fsr.losses.grid import GridPenalty
from keras_fsr.losses.perceptual import Perceptual, TotalVariation
from keras_fsr.losses.pixel import L1, MSE
from keras_fsr.metrics.streaming import PSNRY
from keras_fsr.training.precision import copy_network
from keras_fsr.training.trainer import Trainer

SCALE = 2
TAPS = {"block1_conv1": 0.5, "block1_conv2": 1.0}


def images(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A batch of four (LR, HR)."""
    draw = np.random.default_rng(seed)
    return draw.random((4, 8, 8, 3), dtype=np.float32), draw.random((4, 16, 16, 3), dtype=np.float32)


def stream(lr: np.ndarray, hr: np.ndarray) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors((lr, hr)).repeat()


def generator() -> RRDB:
    return RRDB(SCALE, num_features=8, growth_channels=4, num_blocks=1, hardware=True, anchor=True)


def judge(kind: str) -> keras.Model:
    if kind == "vgg":
        return VGGDiscriminator(16, num_features=4, form="grouped")
    return UNetDiscriminator(4) if kind == "unet" else SkipDiscriminator(4)


def extractor():
    return build_vgg("random", cut="block1_conv2", taps=list(TAPS), width=2 / 64)


def gan(kind="unet", perceptual=False, precision="float32", ema_decay=0.999, **options) -> Trainer:
    """A trainer with a discriminator, the same weights at each call."""
    keras.utils.set_random_seed(0)
    trainer = Trainer(
        generator(), judge(kind), extractor() if perceptual else None, precision=precision, ema_decay=ema_decay
    )
    defaults = {
        "optimizer": keras.optimizers.Adam(1e-3),
        "loss": L1(),
        "metrics": [PSNRY(SCALE)],
        "adversarial": RelativisticAverage(0.1),
        "discriminator_optimizer": keras.optimizers.Adam(1e-3),
    }
    if perceptual:
        defaults["perceptual"] = Perceptual(TAPS, 0.01)
    trainer.compile(**defaults | options)
    return trainer


def take(trainer: Trainer, steps: int = 1, data=None, **options) -> dict[str, list[float]]:
    return trainer.fit(stream(*(data or images())), epochs=1, steps_per_epoch=steps, verbose=0, **options).history


def equal(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def trainable(network) -> list[np.ndarray]:
    return [np.array(w) for w in network.trainable_weights]


# Who learns from what


@pytest.mark.parametrize("kind", ["unet", "skip"])
def test_both_networks_learn(kind):
    # Not relativistic: only differences of logits count there, so that the last bias has no gradient.
    trainer = gan(kind, adversarial=BCE(0.1))
    parts = (trainer.learner, trainer.generator, trainer.discriminator)
    before = [trainable(part) for part in parts]
    take(trainer, 2)
    for part, old in zip(parts, before, strict=True):
        assert all(not np.array_equal(a, b) for a, b in zip(trainable(part), old, strict=True))
    assert trainer.step == 2


def test_the_discriminator_that_is_handed_in_is_copied():
    keras.utils.set_random_seed(0)
    network = UNetDiscriminator(4)
    trainer = Trainer(generator(), network, precision="bfloat16")
    assert trainer.discriminator is not network
    assert equal(trainer.discriminator.get_weights(), network.get_weights())
    assert trainer.discriminator.get_layer("down1").compute_dtype == "bfloat16"
    assert all(w.dtype == "float32" for w in trainer.discriminator.weights)


def test_without_adversarial_weight_the_generator_learns_as_if_alone():
    together = gan(adversarial=RelativisticAverage(0.0))
    keras.utils.set_random_seed(0)
    alone = Trainer(generator(), precision="float32")
    alone.compile(optimizer=keras.optimizers.Adam(1e-3), loss=L1())
    judged = trainable(together.discriminator)
    take(together, 3)
    take(alone, 3)
    for network in ("learner", "generator"):
        for a, b in zip(getattr(together, network).get_weights(), getattr(alone, network).get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert not equal(trainable(together.discriminator), judged), "it learns all the same"


def test_the_generators_losses_do_not_reach_the_discriminator():
    one = gan(loss=L1(), adversarial=RelativisticAverage(0.1))
    other = gan(loss=MSE(100.0), adversarial=RelativisticAverage(7.0))
    # The first step: from the second on the fake images differ.
    take(one)
    take(other)
    assert not equal(trainable(one.learner), trainable(other.learner))
    for a, b in zip(one.discriminator.get_weights(), other.discriminator.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "adversarial"),
    [("unet", LSGAN), ("unet", Hinge), ("unet", RelativisticAverage), ("skip", BCE), ("skip", RelativisticAverage)],
)
def test_first_gradients_are_those_of_the_classic_alternation(kind, adversarial):
    # Plain gradient descent at rate 1, so that what changes is the gradient.
    adversarial = adversarial(0.5)
    trainer = gan(
        kind,
        perceptual=True,
        optimizer=keras.optimizers.SGD(1.0),
        adversarial=adversarial,
        discriminator_optimizer=keras.optimizers.SGD(1.0),
    )
    learner, discriminator = copy_network(trainer.learner), copy_network(trainer.discriminator)
    lr, hr = images()

    # By hand: the discriminator's step on detached images, the generator's with a pass of its own.
    advance_spectral_norms(discriminator)
    detached = tf.stop_gradient(learner(lr, training=True))
    with tf.GradientTape() as tape:
        real, fake = discriminator(hr, training=True), discriminator(detached, training=True)
        d_loss = adversarial.discriminator(real, fake)
    d_gradients = tape.gradient(d_loss, discriminator.trainable_variables)
    with tf.GradientTape() as tape:
        sr = learner(lr, training=True)
        features, targets = trainer.feature_extractor(sr), trainer.feature_extractor(hr)
        terms = {
            "l1": L1()(hr, sr),
            "perceptual": Perceptual(TAPS, 0.01)(targets, features),
            "adversarial": 0.5
            * adversarial.generator(discriminator(hr, training=True), discriminator(sr, training=True)),
        }
        loss = sum(terms.values())
    gradients = tape.gradient(loss, learner.trainable_variables)

    before = trainable(trainer.learner), trainable(trainer.discriminator)
    history = take(trainer)
    after = trainable(trainer.learner), trainable(trainer.discriminator)
    for old, new, expected in zip(before, after, (gradients, d_gradients), strict=True):
        for a, b, gradient in zip(old, new, expected, strict=True):
            scale = np.abs(gradient).max()
            np.testing.assert_allclose(a - b, gradient, rtol=0, atol=1e-3 * scale + 1e-6)
    expected = {**terms, "loss": loss, "d_loss": d_loss}
    expected |= {"d_real": tf.reduce_mean(real), "d_fake": tf.reduce_mean(fake)}
    for name, value in expected.items():
        assert history[name] == [pytest.approx(float(value), rel=1e-4, abs=1e-6)], name


def test_u_advances_once_a_step():
    # Its kernels stay, so that each step is the same power iteration.
    trainer = gan(discriminator_optimizer=keras.optimizers.SGD(0.0))
    layers = [layer for layer in trainer.discriminator.layers if isinstance(layer, SpectralConv2D)]
    for layer in layers:  # far from settled
        layer.u.assign(np.eye(layer.filters, dtype="float32")[0])
    copy = copy_network(trainer.discriminator)
    for _ in range(3):
        advance_spectral_norms(copy)
    take(trainer, 3)
    for layer in layers:
        np.testing.assert_allclose(layer.u, copy.get_layer(layer.name).u, atol=1e-5)
    trainer.evaluate(*images(), verbose=0)
    np.testing.assert_allclose(layers[0].u, copy.get_layer(layers[0].name).u, atol=1e-5)


def test_the_generator_waits_until_the_discriminator_is_warm():
    trainer = gan(discriminator_warmup=3)
    learner, average, judged = (n.get_weights() for n in (trainer.learner, trainer.generator, trainer.discriminator))
    take(trainer, 3)
    assert trainer.step == 3
    assert int(trainer.optimizer.iterations) == 0
    assert int(trainer.discriminator_optimizer.iterations) == 3
    assert equal(trainer.learner.get_weights(), learner)
    assert equal(trainer.generator.get_weights(), average)
    assert not equal(trainer.discriminator.get_weights(), judged)

    take(trainer)
    assert int(trainer.optimizer.iterations) == 1
    assert not equal(trainer.learner.get_weights(), learner)
    assert not equal(trainer.generator.get_weights(), average)


def test_generator_holds_the_average_of_the_learner():
    trainer = gan(ema_decay=0.5)
    start = trainer.learner.get_weights()
    take(trainer)
    decay = 2 / 11  # of the first step
    learned, averages = trainer.learner.get_weights(), trainer.generator.get_weights()
    for before, now, average in zip(start, learned, averages, strict=True):
        np.testing.assert_allclose(average, decay * before + (1 - decay) * now, atol=1e-6)


# Logs


def test_every_term_is_logged_by_its_name_and_validation_has_no_discriminator():
    trainer = gan(perceptual=True, loss=[L1(0.5), TotalVariation(0.1)])
    lr, hr = images(1)
    history = take(trainer, 2, validation_data=(lr, hr))
    terms = {"l1", "total_variation", "perceptual"}
    trained = terms | {"loss", "psnr_y", "adversarial", "d_loss", "d_real", "d_fake"}
    measured = {f"val_{name}" for name in terms | {"loss", "psnr_y"}}
    assert history.keys() == trained | measured
    total = sum(history[name][0] for name in (*terms, "adversarial"))
    assert history["loss"][0] == pytest.approx(total, rel=1e-5)

    sr = trainer.generator(lr)
    assert history["val_l1"] == [pytest.approx(0.5 * np.abs(hr - sr).mean(), rel=1e-4)]
    total = sum(history[f"val_{name}"][0] for name in terms)
    assert history["val_loss"][0] == pytest.approx(total, rel=1e-5)


def test_a_loss_alone_is_not_logged_twice():
    keras.utils.set_random_seed(0)
    trainer = Trainer(generator(), precision="float32")
    trainer.compile(optimizer="adam", loss=L1())
    assert take(trainer).keys() == {"loss"}


def test_a_perceptual_loss_alone_is_logged_by_its_name():
    # It is what recipes with `monitor: val_perceptual` choose the best epoch by.
    keras.utils.set_random_seed(0)
    trainer = Trainer(generator(), feature_extractor=extractor(), precision="float32")
    trainer.compile(optimizer="adam", loss=[], perceptual=Perceptual(TAPS))
    history = take(trainer, validation_data=images())
    assert {"perceptual", "val_perceptual"} <= history.keys()


def test_a_second_compile_logs_its_own_terms_alone():
    trainer = gan(loss=[L1(), TotalVariation()])
    take(trainer)
    trainer.compile(
        optimizer="sgd",
        loss=MSE(),
        metrics=[PSNRY(SCALE, name="psnr")],
        adversarial=BCE(name="gan"),
        discriminator_optimizer=keras.optimizers.SGD(1e-3),
    )
    assert take(trainer).keys() == {"loss", "mse", "gan", "d_loss", "d_real", "d_fake", "psnr"}


# Refusals


PIXELS = (L1(), "mae", keras.losses.MeanSquaredError())
ADVERSARIAL = {"adversarial": BCE(), "discriminator_optimizer": "sgd"}


def compiled(with_discriminator=False, with_extractor=False, **options) -> Trainer:
    trainer = Trainer(
        generator(),
        UNetDiscriminator(4) if with_discriminator else None,
        extractor() if with_extractor else None,
        precision="float32",
    )
    if isinstance(options.get("discriminator_optimizer"), str):
        options["discriminator_optimizer"] = keras.optimizers.get(options["discriminator_optimizer"])
    trainer.compile(**{"optimizer": "sgd", "loss": L1()} | options)
    return trainer


@pytest.mark.parametrize(
    ("networks", "options", "message"),
    [
        ({"with_extractor": True}, {}, "feature_extractor is given, but no perceptual"),
        ({}, {"perceptual": Perceptual(TAPS)}, "perceptual is given, but no feature_extractor"),
        ({"with_discriminator": True}, {}, "discriminator is given, but no adversarial"),
        ({}, ADVERSARIAL, "adversarial is given, but no discriminator"),
        (
            {"with_discriminator": True},
            {"adversarial": BCE()},
            "discriminator is given, but no discriminator_optimizer",
        ),
        ({}, {"discriminator_optimizer": "sgd"}, "discriminator_optimizer is given, but no discriminator"),
    ],
)
def test_network_without_its_loss_and_loss_without_its_network_are_refused(networks, options, message):
    with pytest.raises(TrainingError, match=message) as caught:
        compiled(**networks, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", [[], [TotalVariation()], [GridPenalty(2)]], ids=["none", "variation", "grid"])
def test_a_gan_without_a_pixel_loss_is_refused_unless_it_is_wanted(loss):
    with pytest.raises(TrainingError, match="pass without_pixels=True"):
        compiled(with_discriminator=True, loss=loss, **ADVERSARIAL)
    compiled(with_discriminator=True, loss=loss, without_pixels=True, **ADVERSARIAL)


@pytest.mark.parametrize("loss", PIXELS, ids=["ours", "by name", "of Keras"])
def test_any_pixel_loss_holds_a_gan(loss):
    assert np.isfinite(take(compiled(with_discriminator=True, loss=loss, **ADVERSARIAL))["loss"]).all()


# Precisions


@pytest.mark.parametrize(("precision", "warmup"), [("bfloat16", 0), ("float16", 1)])
def test_half_precision_trains_and_stays_finite(precision, warmup):
    trainer = gan(perceptual=True, precision=precision, discriminator_warmup=warmup)
    before = trainable(trainer.learner), trainable(trainer.discriminator)
    history = take(trainer, 3)
    assert all(np.isfinite(values).all() for values in history.values())
    for network, old in zip((trainer.learner, trainer.discriminator), before, strict=True):
        assert all(np.isfinite(w).all() for w in network.get_weights())
        assert not equal(trainable(network), old)
    scales = precision == "float16"
    for optimizer in (trainer.optimizer, trainer.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == scales


@pytest.mark.parametrize("overflows", ["optimizer", "discriminator_optimizer"])
def test_a_step_whose_scaled_gradients_overflow_is_skipped(overflows):
    trainer = gan(precision="float16")
    networks = {"optimizer": trainer.learner, "discriminator_optimizer": trainer.discriminator}
    before = {name: trainable(network) for name, network in networks.items()}
    average = trainer.generator.get_weights()
    optimizer = getattr(trainer, overflows)
    optimizer.dynamic_scale.assign(1e38)
    take(trainer)
    for name, network in networks.items():
        assert equal(trainable(network), before[name]) == (name == overflows)
    assert equal(trainer.generator.get_weights(), average) == (overflows == "optimizer")
    assert float(optimizer.dynamic_scale) == pytest.approx(0.5e38)
    assert trainer.step == 1

    take(trainer, 140)  # halved until it fits
    assert float(optimizer.dynamic_scale) < 1e30
    assert not equal(trainable(networks[overflows]), before[overflows])
    assert all(np.isfinite(w).all() for network in networks.values() for w in network.get_weights())


# Bad steps


def broken_images(which: str) -> tuple[np.ndarray, np.ndarray]:
    lr, hr = images()
    (lr if which == "lr" else hr)[1, 3, 3] = np.nan
    return lr, hr


@pytest.mark.parametrize(("kind", "broken"), [("unet", "lr"), ("skip", "hr")])
def test_a_bad_batch_stops_the_training_and_harms_neither_network(kind, broken):
    trainer = gan(kind)
    take(trainer, 2)
    networks = (trainer.learner, trainer.generator, trainer.discriminator)
    before = [trainable(network) for network in networks]
    with pytest.raises(TrainingError, match="not finite at step 2"):
        take(trainer, data=broken_images(broken))
    for network, old in zip(networks, before, strict=True):
        assert equal(trainable(network), old)
    assert trainer.step == int(trainer.optimizer.iterations) == int(trainer.discriminator_optimizer.iterations) == 2


def test_a_bad_batch_leaves_the_statistics_of_the_discriminator_finite():
    trainer = gan("vgg")
    with pytest.raises(TrainingError, match="not finite"):
        take(trainer, data=broken_images("hr"))
    assert all(np.isfinite(w).all() for w in trainer.discriminator.get_weights())


@pytest.mark.parametrize("broken", ["lr", "hr"])
def test_a_bad_batch_is_named_with_a_feature_extractor_too(broken):
    trainer = gan(perceptual=True)
    with pytest.raises(TrainingError, match="not finite at step 0"):
        take(trainer, data=broken_images(broken))


def test_a_discriminator_that_overflows_stops_the_training():
    trainer = gan()
    trainer.discriminator.get_layer("logits").bias.assign([np.inf])
    before = trainable(trainer.learner)
    with pytest.raises(TrainingError, match="not finite at step 0"):
        take(trainer)
    assert equal(trainable(trainer.learner), before)
