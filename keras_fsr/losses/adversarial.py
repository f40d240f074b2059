"""Adversarial losses on logits: what the generator and what the discriminator pays.

Each is a `keras.losses.Loss` of (logits of real images, logits of generated ones) whose value is the generator's
part, times its weight; `discriminator` gives the other side's, which carries no weight. Logits have any shape
(N, ...): one an image, or one a pixel.
"""

import keras
from keras import ops

from keras_fsr.losses.pixel import WeightedLoss

_register = keras.saving.register_keras_serializable(package="keras_fsr")


class AdversarialLoss(WeightedLoss):
    """Base: `generator` and `discriminator` return scalars for logits of equal shapes."""

    def __init__(self, weight: float = 1.0, name: str = "adversarial", **kwargs):
        super().__init__(weight, name, **kwargs)

    def call(self, y_true, y_pred):
        return self.weight * self.generator(y_true, y_pred)

    def generator(self, real, fake):
        raise NotImplementedError

    def discriminator(self, real, fake):
        raise NotImplementedError


@_register
class BCE(AdversarialLoss):
    """Binary cross-entropy, non-saturating (Goodfellow et al., 2014, section 3).

    D: (-log s(real) - log(1 - s(fake))) / 2, G: -log s(fake), with s the sigmoid.
    """

    def generator(self, real, fake):
        return cross_entropy(fake, 1.0)

    def discriminator(self, real, fake):
        return 0.5 * (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0))


@_register
class LSGAN(AdversarialLoss):
    """Least squares (Mao et al., 2017, equation 9): D: ((real - 1)**2 + fake**2) / 2, G: (fake - 1)**2 / 2."""

    def generator(self, real, fake):
        return 0.5 * ops.mean(ops.square(fake - 1.0))

    def discriminator(self, real, fake):
        return 0.5 * (ops.mean(ops.square(real - 1.0)) + ops.mean(ops.square(fake)))


@_register
class Hinge(AdversarialLoss):
    """Hinge (Lim and Ye, "Geometric GAN", 2017): D: (max(0, 1 - real) + max(0, 1 + fake)) / 2, G: -fake."""

    def generator(self, real, fake):
        return -ops.mean(fake)

    def discriminator(self, real, fake):
        return 0.5 * (ops.mean(ops.relu(1.0 - real)) + ops.mean(ops.relu(1.0 + fake)))


@_register
class RelativisticAverage(AdversarialLoss):
    """Is a real image more real than the average generated one (ESRGAN, Wang et al., 2018, equations 1 and 2)?

    With r = real - mean(fake) and f = fake - mean(real): D: (-log s(r) - log(1 - s(f))) / 2, and G the same with
    the labels exchanged, so that the generator is measured against real images in both terms. The averages run over
    the whole batch; gradients pass through them, as in the paper's formulas (its released code holds them).
    """

    def generator(self, real, fake):
        return 0.5 * (cross_entropy(real - ops.mean(fake), 0.0) + cross_entropy(fake - ops.mean(real), 1.0))

    def discriminator(self, real, fake):
        return 0.5 * (cross_entropy(real - ops.mean(fake), 1.0) + cross_entropy(fake - ops.mean(real), 0.0))


def cross_entropy(logits, label: float):
    """Mean of -log s(logits) for label 1 and of -log(1 - s(logits)) for label 0, without overflow."""
    return ops.mean(ops.softplus(logits) - label * logits)


ADVERSARIAL_LOSSES = {"bce": BCE, "hinge": Hinge, "lsgan": LSGAN, "relativistic": RelativisticAverage}
