"""Training of DegNet and SynNet on pictures of hidden cameras (paper D's first half)."""

import keras
import tensorflow as tf

from keras_fsr.data.degraded import SameDegradation
from keras_fsr.degradations.learned.losses import BandEnergy, OtherOmega, SameOmega
from keras_fsr.degradations.learned.network import DegradationTransfer
from keras_fsr.degradations.learned.synnet import noise_channels
from keras_fsr.errors import TrainingError
from keras_fsr.layers import advance_spectral_norms
from keras_fsr.losses.adversarial import AdversarialLoss
from keras_fsr.losses.perceptual import Perceptual
from keras_fsr.losses.pixel import L1
from keras_fsr.training.averaging import average_weights
from keras_fsr.training.precision import copy_network, policy_for
from keras_fsr.training.trainer import NOT_FINITE, assert_finite


class DegradationTrainer(keras.Model):
    """Trains a `DegradationTransfer` with `compile` and `fit`, as any Keras model.

    One picture of a camera (A) tells Omega, another (B) is degraded by it: so Omega cannot keep what is in A. With
    probability `swap` it is A's Omega that degrades B, else B's own. SynNet runs twice: without noise, where a pixel
    loss asks for the expected image, and with noise, where band energies, style and the discriminator ask for images
    that look like the camera's.

    As in `keras_fsr.training.trainer.Trainer` the network handed in is the running average of the weights
    (`generator`), and `learner` takes the steps in the chosen precision.

    Args:
        network: what to train.
        discriminator: network (HQ, LQ, Omega) -> logits, or None.
        feature_extractor: network (N, H, W, 3) -> feature maps, or None.
        swap: probability that the other picture's Omega is used.
        ema_decay, precision: as of the `Trainer`; no float16.
        seed: of the noise.
    """

    def __init__(
        self,
        network: DegradationTransfer,
        discriminator: keras.Model | None = None,
        feature_extractor: keras.Model | None = None,
        swap: float = 0.8,
        ema_decay: float = 0.999,
        precision: str = "auto",
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = policy_for(precision)
        if policy == "mixed_float16":
            raise TrainingError("degradation networks train in bfloat16 or float32, not in float16")
        self.generator = network
        self.learner = copy_network(network, policy)
        self.discriminator = discriminator and copy_network(discriminator, policy)
        self.feature_extractor = feature_extractor and copy_network(feature_extractor, policy)
        self.swap = swap
        self.ema_decay = ema_decay
        self.precision = policy
        self.noise_seed = seed
        self.steps_taken = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps_taken")
        self.built = True

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        pixel: keras.losses.Loss | None = None,
        bands: BandEnergy | None = None,
        same: SameOmega | None = None,
        other: OtherOmega | None = None,
        perceptual: Perceptual | None = None,
        adversarial: AdversarialLoss | None = None,
        discriminator_optimizer: keras.optimizers.Optimizer | None = None,
        metrics=None,
        **kwargs,
    ):
        """The losses, each with its weight; `metrics` compare the true LQ image with one that is synthesised."""
        if (self.feature_extractor is None) != (perceptual is None):
            raise TrainingError("a perceptual loss and a feature_extractor need each other")
        if len({part is None for part in (self.discriminator, adversarial, discriminator_optimizer)}) > 1:
            raise TrainingError("a discriminator, an adversarial loss and a discriminator_optimizer need each other")
        kwargs.setdefault("jit_compile", False)
        super().compile(optimizer=optimizer, loss=None, metrics=metrics, **kwargs)
        self.pixel, self.bands = pixel or L1(1.0), bands or BandEnergy(0.01)
        self.same, self.other = same or SameOmega(0.01), other or OtherOmega(0.01)
        self.perceptual, self.adversarial = perceptual, adversarial
        self.discriminator_optimizer = discriminator_optimizer
        self.optimizer.build(self.learner.trainable_variables)
        if self.discriminator is not None:
            self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        terms = [self.pixel, self.bands, self.same, self.other, *filter(None, (perceptual, adversarial))]
        names = [term.name for term in terms] + (["d_loss", "d_real", "d_fake"] if adversarial else [])
        self._trackers = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return int(self.steps_taken)

    def fit(self, x=None, *args, steps_per_epoch: int | None = None, **kwargs):
        """As `keras.Model.fit`; `x` may be a `SameDegradation`, which is then sampled on from the current step."""
        if isinstance(x, SameDegradation):
            x = x.dataset(first_step=self.step)
        kwargs.setdefault("shuffle", False)
        try:
            return super().fit(x, *args, steps_per_epoch=steps_per_epoch, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            if NOT_FINITE not in str(error):
                raise
            raise TrainingError(f"{NOT_FINITE} at step {self.step}; lower the learning rate") from None

    def train_step(self, data):
        hq_a, lq_a, hq_b, lq_b = data
        if self.discriminator is not None:
            advance_spectral_norms(self.discriminator)
        with tf.GradientTape(persistent=True) as tape:
            omega_a, omega_b = tf.split(
                self.learner.degnet([tf.concat([hq_a, hq_b], 0), tf.concat([lq_a, lq_b], 0)], training=True), 2
            )
            omega = tf.where(self._swapped(tf.shape(hq_b)[0]), omega_a, omega_b)
            expected, drawn = self._synthesize(self.learner, hq_b, omega, tf.shape(lq_b), self.steps_taken)
            terms = self._terms(lq_b, expected, drawn, omega_a, omega_b)
            if self.discriminator is not None:
                fixed = tf.stop_gradient(omega)
                real, fake = (self.discriminator([hq_b, lq, fixed], training=True) for lq in (lq_b, drawn))
                terms[self.adversarial.name] = self.adversarial(real, fake)
                d_loss = self.adversarial.discriminator(real, fake)
            loss = sum(terms.values(), tf.constant(0.0))
        gradients = tape.gradient(loss, self.learner.trainable_variables)
        checks = [assert_finite(loss, gradients)]
        if self.discriminator is not None:
            d_gradients = tape.gradient(d_loss, self.discriminator.trainable_variables)
            checks.append(assert_finite(d_loss, d_gradients))
        with tf.control_dependencies(checks):
            self.optimizer.apply([tf.identity(g) for g in gradients], self.learner.trainable_variables)
            if self.discriminator is not None:
                d_gradients = [tf.identity(g) for g in d_gradients]
                self.discriminator_optimizer.apply(d_gradients, self.discriminator.trainable_variables)
                terms |= {"d_loss": d_loss, "d_real": tf.reduce_mean(real), "d_fake": tf.reduce_mean(fake)}
            average_weights(self.generator, self.learner, self.optimizer.iterations, self.ema_decay)
            self.steps_taken.assign_add(1)
        return self._results(loss, terms, lq_b, drawn)

    def test_step(self, data):
        hq_a, lq_a, hq_b, lq_b = data
        omega_a, omega_b = self.generator.degnet([hq_a, lq_a]), self.generator.degnet([hq_b, lq_b])
        expected, drawn = self._synthesize(self.generator, hq_b, omega_a, tf.shape(lq_b), tf.constant(0, tf.int64))
        terms = self._terms(lq_b, expected, drawn, omega_a, omega_b)
        results = self._results(sum(terms.values(), tf.constant(0.0)), terms, lq_b, drawn)
        unmeasured = {*self._trackers} - {*terms}
        return {name: value for name, value in results.items() if name not in unmeasured}

    def _swapped(self, count):
        draws = tf.random.stateless_uniform((count, 1), [self.noise_seed, self.steps_taken])
        return draws < self.swap

    def _synthesize(self, network, hq, omega, shape, seed):
        """The expected image and one with noise, of one call."""
        noise = tf.random.stateless_normal((*tf.unstack(shape)[:3], noise_channels()), [self.noise_seed + 1, seed])
        twice = [tf.concat([hq, hq], 0), tf.concat([omega, omega], 0), tf.concat([tf.zeros_like(noise), noise], 0)]
        return tf.split(network.synnet(twice, training=True), 2)

    def _terms(self, lq, expected, drawn, omega_a, omega_b) -> dict[str, tf.Tensor]:
        terms = {
            self.pixel.name: self.pixel(lq, expected),
            self.bands.name: self.bands(lq, drawn),
            self.same.name: self.same(omega_a, omega_b),
            self.other.name: self.other(omega_a, tf.roll(omega_b, 1, 0)),
        }
        if self.feature_extractor is not None:
            target, features = (keras.tree.flatten(self.feature_extractor(images)) for images in (lq, drawn))
            terms[self.perceptual.name] = self.perceptual([tf.stop_gradient(tap) for tap in target], features)
        return terms

    def _results(self, loss, terms, lq, drawn) -> dict[str, tf.Tensor]:
        self._loss_tracker.update_state(loss)
        for name, value in terms.items():
            self._trackers[name].update_state(value)
        return self.compute_metrics(None, lq, drawn)
