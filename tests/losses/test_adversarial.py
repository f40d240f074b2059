"""Adversarial losses by hand and by their formulas, their gradients, and what the weight touches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.losses.adversarial import ADVERSARIAL_LOSSES, BCE, LSGAN, Hinge, RelativisticAverage

REAL = np.array([[0.5], [3.0]], "float32")
FAKE = np.array([[-2.0], [1.0]], "float32")

# What generator and discriminator pay, by hand. With s the sigmoid, -log s(x) = softplus(-x), and
# softplus(-3.75, -3.5, -3, -2, -1, -0.75, -0.5) = 0.023245, 0.029750, 0.048587, 0.126928, 0.313262, 0.386871,
# 0.474077; softplus(x) = x + softplus(-x).
VALUES = pytest.mark.parametrize(
    ("loss", "generator", "discriminator"),
    [
        # G: (2.126928 + 0.313262) / 2. D: ((0.474077 + 0.048587) / 2 + (0.126928 + 1.313262) / 2) / 2.
        (BCE, 1.220095, 0.490714),
        # G: ((-3)**2 + 0**2) / 2 / 2. D: (((-0.5)**2 + 2**2) / 2 + ((-2)**2 + 1**2) / 2) / 2.
        (LSGAN, 2.25, 2.3125),
        # G: -(-2 + 1) / 2. D: ((0.5 + 0) / 2 + (0 + 2) / 2) / 2.
        (Hinge, 0.5, 0.625),
        # Means 1.75 and -0.5, so r = 1, 3.5 and f = -3.75, -0.75.
        # D: ((0.313262 + 0.029750) / 2 + (0.023245 + 0.386871) / 2) / 2.
        # G: ((1.313262 + 3.529750) / 2 + (3.773245 + 1.136871) / 2) / 2.
        (RelativisticAverage, 2.438282, 0.188282),
    ],
)
EACH = pytest.mark.parametrize("loss", [BCE, LSGAN, Hinge, RelativisticAverage])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# The formulas as the papers write them: (generator, discriminator) of real and fake logits.
def bce(real, fake):
    return -np.log(sigmoid(fake)).mean(), (-np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()) / 2


def lsgan(real, fake):
    return ((fake - 1) ** 2).mean() / 2, ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2


def hinge(real, fake):
    return -fake.mean(), (np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()) / 2


def relativistic(real, fake):
    of_real, of_fake = sigmoid(real - fake.mean()), sigmoid(fake - real.mean())
    generator = -np.log(1 - of_real).mean() - np.log(of_fake).mean()
    discriminator = -np.log(of_real).mean() - np.log(1 - of_fake).mean()
    return generator / 2, discriminator / 2


FORMULAS = {BCE: bce, LSGAN: lsgan, Hinge: hinge, RelativisticAverage: relativistic}


@VALUES
def test_values_by_hand(loss, generator, discriminator):
    assert float(loss()(REAL, FAKE)) == pytest.approx(generator, abs=2e-6)
    assert float(loss().discriminator(REAL, FAKE)) == pytest.approx(discriminator, abs=2e-6)


@EACH
@pytest.mark.parametrize("shape", [(5, 1), (2, 4, 6, 1)], ids=["one an image", "one a pixel"])
def test_values_by_the_formula(loss, shape):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(1, 2, shape).astype("float32"), rng.normal(-1, 2, shape).astype("float32")
    generator, discriminator = FORMULAS[loss](real.astype("float64"), fake.astype("float64"))
    assert float(loss()(real, fake)) == pytest.approx(generator, rel=1e-5)
    assert float(loss().discriminator(real, fake)) == pytest.approx(discriminator, rel=1e-5)


@VALUES
def test_weight_is_the_generators_alone(loss, generator, discriminator):
    weighted = loss(weight=0.005)
    assert float(weighted(REAL, FAKE)) == pytest.approx(0.005 * generator, rel=1e-5)
    assert float(weighted.discriminator(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-5)
    assert float(loss(weight=0.0)(REAL, FAKE)) == 0


@VALUES
def test_loss_survives_its_config(loss, generator, discriminator):
    original = loss(weight=0.5, name="mine")
    copy = keras.losses.deserialize(keras.losses.serialize(original))
    assert type(copy) is loss
    assert copy.get_config() == original.get_config()
    assert copy.get_config().items() >= {"weight": 0.5, "name": "mine"}.items()
    assert float(copy(REAL, FAKE)) == pytest.approx(0.5 * generator, rel=1e-5)


def gradients(part, real, fake):
    real, fake = tf.constant(real), tf.constant(fake)
    with tf.GradientTape() as tape:
        tape.watch([real, fake])
        value = part(real, fake)
    return float(value), *(np.asarray(g) for g in tape.gradient(value, [real, fake], unconnected_gradients="zero"))


def gap(real, fake) -> float:
    return float(np.mean(real) - np.mean(fake))


@EACH
def test_the_discriminators_step_parts_and_the_generators_brings_together(loss):
    real, fake = np.array([[0.1], [0.3]], "float32"), np.array([[0.05], [0.15]], "float32")
    _, of_real, of_fake = gradients(loss().discriminator, real, fake)
    assert of_real.max() < 0 < of_fake.min()
    assert gap(real - 0.1 * of_real, fake - 0.1 * of_fake) > gap(real, fake)

    _, of_real, of_fake = gradients(loss(), real, fake)
    assert of_fake.max() < 0
    assert of_real.min() >= 0
    assert gap(real - 0.1 * of_real, fake - 0.1 * of_fake) < gap(real, fake)


def test_real_images_teach_the_generator_in_the_relativistic_loss_alone():
    for loss in FORMULAS:
        _, of_real, _ = gradients(loss(), REAL, FAKE)
        assert (np.abs(of_real).min() > 0) == (loss is RelativisticAverage)


@EACH
@pytest.mark.parametrize(("real", "fake"), [(100.0, -100.0), (-100.0, 100.0)])
def test_extreme_logits_overflow_nothing(loss, real, fake):
    real, fake = np.full((2, 1), real, "float32"), np.full((2, 1), fake, "float32")
    for part in (loss(), loss().discriminator):
        for value in gradients(part, real, fake):
            assert np.isfinite(value).all()


@pytest.mark.parametrize(
    ("loss", "generator", "discriminator"),
    # Where the discriminator is as wrong as can be: log(1 - s(100)) has no value in float32, -100 is it.
    [
        (BCE, 0.0, 100.0),
        (LSGAN, 0.5 * 99**2, 0.5 * (101**2 + 100**2)),
        (Hinge, -100.0, 101.0),
        (RelativisticAverage, 0.0, 200.0),
    ],
)
def test_extreme_values_by_hand(loss, generator, discriminator):
    real, fake = np.full((2, 1), -100, "float32"), np.full((2, 1), 100, "float32")
    assert float(loss()(real, fake)) == pytest.approx(generator, abs=1e-6)
    assert float(loss().discriminator(real, fake)) == pytest.approx(discriminator, rel=1e-6)


def test_recipes_find_the_losses_by_name():
    named = {"bce": BCE, "hinge": Hinge, "lsgan": LSGAN, "relativistic": RelativisticAverage}
    assert named == ADVERSARIAL_LOSSES
