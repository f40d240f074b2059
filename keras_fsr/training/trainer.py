"""The Trainer: a `keras.Model` around generator, discriminator and feature extractor."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_fsr.data.patches import Patches
from keras_fsr.errors import DivergenceError, TrainingError
from keras_fsr.layers import advance_spectral_norms
from keras_fsr.losses.adversarial import AdversarialLoss
from keras_fsr.losses.perceptual import Perceptual
from keras_fsr.training.averaging import average_weights
from keras_fsr.training.distribute import ALONE, Workers, synchronise_norms
from keras_fsr.training.precision import copy_network, policy_for

NOT_FINITE = "loss or gradient is not finite"
STOPS = {  # what the graph says when it stops a step -> what the user reads
    NOT_FINITE: NOT_FINITE,
    "takes RGB in [0, 1]": "original or generated images are far outside [0, 1]",
}


class Trainer(keras.Model):
    """Trains a generator with `compile` and `fit`, as any Keras model.

    With a generator alone it is the fidelity stage. A feature extractor adds the perceptual loss, a discriminator
    the adversarial stage, whose steps train both networks.

    The generator that is handed in holds float32 weights averaged over the steps (EMA) at any time: it is what
    validation measures, what `predict` runs and what you save. The gradient steps are taken by `learner`, a copy
    that computes in the chosen precision, as do the copies of the other two networks. A discriminator's weights
    stay in `discriminator`.

    Args:
        generator: network (N, H, W, 3) -> (N, H * scale, W * scale, 3), images in [0, 1].
        discriminator: network (N, H, W, 3) -> logits, e.g. `keras_fsr.discriminators.unet.UNetDiscriminator`.
        feature_extractor: network (N, H, W, 3) -> list of feature maps, e.g. `keras_fsr.extractors.vgg16.VGG`.
        ema_decay: decay of the weight average; it warms up as min(ema_decay, (1 + t) / (10 + t)). 0 switches
            averaging off.
        precision: "auto" (bfloat16 where the hardware has it), "bfloat16", "float16" (with loss scaling) or
            "float32".

    Raises:
        TrainingError: at construction for an unknown precision; in `compile` for losses that do not fit the
            networks; in `fit` when a loss or gradient is not finite, with the step and, for `Patches`, the files
            of its batch. The weights are then those of the step before.

    Example:
        trainer = Trainer(RRDB(4, hardware=True, num_blocks=3))
        trainer.compile(optimizer=ConvMuon(1e-3), loss=L1(), metrics=[PSNRY(4)])
        trainer.fit(Patches(pairs, scale=4), validation_data=whole_images(val_pairs, 4), epochs=10)

        trainer = Trainer(generator, UNetDiscriminator(), build_vgg())
        trainer.compile(
            optimizer=Adam(1e-4), loss=L1(0.01), perceptual=Perceptual({"block3_conv3": 1.0}),
            adversarial=RelativisticAverage(0.005), discriminator_optimizer=Adam(1e-4),
        )
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model | None = None,
        feature_extractor: keras.Model | None = None,
        ema_decay: float = 0.999,
        precision: str = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = policy_for(precision)
        self.generator = generator
        self.learner = copy_network(generator, policy)
        self.discriminator = discriminator and copy_network(discriminator, policy)
        self.feature_extractor = feature_extractor and copy_network(feature_extractor, policy)
        self.ema_decay = ema_decay
        self.precision = policy
        self.scale_losses = policy == "mixed_float16"
        self.steps_taken = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps_taken")
        self.workers = ALONE
        self.built = True

    def join(self, workers: Workers) -> None:
        """Takes all further steps together with other processes, each on its share of the batch.

        Batch normalisations and adversarial losses see the whole batch; other losses are means over the shares.
        """
        self.workers = workers
        for network in filter(None, (self.learner, self.discriminator)):
            synchronise_norms(network, workers)

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        loss: keras.losses.Loss | Sequence[keras.losses.Loss] | str,
        metrics=None,
        perceptual: Perceptual | None = None,
        adversarial: AdversarialLoss | None = None,
        discriminator_optimizer: keras.optimizers.Optimizer | None = None,
        discriminator_warmup: int = 0,
        without_pixels: bool = False,
        jit_compile: bool = False,
        **kwargs,
    ):
        """As `keras.Model.compile`, with the losses of the adversarial stage.

        Args:
            loss: one or several losses of (original, generated image); each is logged by its name.
            perceptual: loss of the extractor's features; given if and only if there is an extractor.
            adversarial: loss of the discriminator's logits; given if and only if there is a discriminator.
            discriminator_warmup: first steps in which the discriminator alone learns.
            without_pixels: allow an adversarial stage without a pixel loss, which starts from noise and drifts
                in colour unless the generator is trained already.
            jit_compile: XLA; off, as on CPU it trains these networks 2 to 12 times slower.
        """
        losses = [as_loss(term) for term in (loss if isinstance(loss, list | tuple) else [loss])]
        check_stage(self, losses, perceptual, adversarial, discriminator_optimizer, without_pixels)
        optimizer = keras.optimizers.get(optimizer)
        if self.scale_losses:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            discriminator_optimizer = discriminator_optimizer and keras.optimizers.LossScaleOptimizer(
                discriminator_optimizer
            )
        super().compile(optimizer=optimizer, loss=None, metrics=metrics, jit_compile=jit_compile, **kwargs)
        self.losses_of_images = losses
        self.perceptual = perceptual
        self.adversarial = adversarial
        self.discriminator_optimizer = discriminator_optimizer
        self.discriminator_warmup = discriminator_warmup
        self.optimizer.build(self.learner.trainable_variables)
        if self.discriminator is not None:
            self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self._trackers = {name: keras.metrics.Mean(name=name) for name in self._logged_names()}

    def _logged_names(self) -> list[str]:
        terms = [*self.losses_of_images, *filter(None, (self.perceptual, self.adversarial))]
        names = [term.name for term in terms] if len(terms) > 1 or self.perceptual else []
        return [*names, *(("d_loss", "d_real", "d_fake") if self.adversarial else ())]

    @property
    def step(self) -> int:
        """Steps taken so far, a discriminator's warm-up included."""
        return int(self.steps_taken)

    @property
    def metrics(self):
        # Keras puts the trackers of a second `compile` beside those of the first.
        stale = [m for m in self._metrics if m not in self._trackers.values()] if self.compiled else []
        return [metric for metric in super().metrics if metric not in stale]

    def call(self, inputs, training=False):
        return self.generator(inputs, training=training)

    def fit(self, x=None, *args, steps_per_epoch: int | None = None, **kwargs):
        """As `keras.Model.fit`; `x` may be `Patches`, which are then sampled on from the current step."""
        patches = x if isinstance(x, Patches) else None
        if patches is not None:
            x = patches.dataset(first_step=self.step, **self.workers.share)
            steps_per_epoch = steps_per_epoch or patches.steps_per_epoch
        try:
            kwargs.setdefault("shuffle", False)  # streams come shuffled
            return super().fit(x, *args, steps_per_epoch=steps_per_epoch, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            message = next((said for found, said in STOPS.items() if found in str(error)), None)
            if message is None:
                raise
            step = self.step
            batch = f" on {', '.join(patches.files(step))}" if patches is not None else ""
            raise DivergenceError(
                f"{message} at step {step}{batch}; check these images, or lower the learning rate"
            ) from None

    def train_step(self, data):
        lr, hr, _ = keras.utils.unpack_x_y_sample_weight(data)
        # Checked before a discriminator's batch statistics could take in what is not finite.
        with tf.control_dependencies([assert_finite(tf.reduce_sum(lr) + tf.reduce_sum(hr), [])]):
            lr, hr = tf.identity(lr), tf.identity(hr)
        if self.discriminator is not None:
            advance_spectral_norms(self.discriminator)
        # Both networks learn from one forward pass: neither has changed between their steps.
        with tf.GradientTape(persistent=True) as tape:
            sr = self.learner(lr, training=True)
            terms = self._image_terms(hr, sr)
            if self.discriminator is not None:
                real, fake = (self.workers.gather(self.discriminator(images, training=True)) for images in (hr, sr))
                terms[self.adversarial.name] = self.adversarial(real, fake)
                d_loss = self.adversarial.discriminator(real, fake)
                scaled_d_loss = self._scaled(d_loss, self.discriminator_optimizer)
            loss = sum(terms.values(), tf.constant(0.0))
            scaled_loss = self._scaled(loss, self.optimizer)

        gradients = self.workers.mean(tape.gradient(scaled_loss, self.learner.trainable_variables))
        checks = [self._assert_finite(loss, gradients)]
        if self.discriminator is not None:
            d_gradients = self.workers.mean(tape.gradient(scaled_d_loss, self.discriminator.trainable_variables))
            checks.append(self._assert_finite(d_loss, d_gradients))
        with tf.control_dependencies(checks):
            self._apply(gradients)
            if self.discriminator is not None:
                d_gradients = [tf.identity(gradient) for gradient in d_gradients]
                self.discriminator_optimizer.apply(d_gradients, self.discriminator.trainable_variables)
                self._track({"d_loss": d_loss, "d_real": tf.reduce_mean(real), "d_fake": tf.reduce_mean(fake)})
            self.steps_taken.assign_add(1)
        self._loss_tracker.update_state(loss)
        self._track(terms)
        return self.compute_metrics(lr, hr, sr)

    def test_step(self, data):
        lr, hr, _ = keras.utils.unpack_x_y_sample_weight(data)
        sr = self.generator(lr, training=False)
        terms = self._image_terms(hr, sr)
        self._loss_tracker.update_state(sum(terms.values(), tf.constant(0.0)))
        self._track(terms)
        results = self.compute_metrics(lr, hr, sr)
        unmeasured = {*self._trackers} - {*terms}
        return {name: value for name, value in results.items() if name not in unmeasured}

    def _image_terms(self, hr, sr) -> dict[str, tf.Tensor]:
        """Every loss of the generator but the adversarial one, by its name, weight included."""
        terms = {loss.name: loss(hr, sr) for loss in self.losses_of_images}
        if self.feature_extractor is not None:
            target, features = (keras.tree.flatten(self.feature_extractor(images)) for images in (hr, sr))
            terms[self.perceptual.name] = self.perceptual([tf.stop_gradient(tap) for tap in target], features)
        return terms

    def _track(self, values: dict[str, tf.Tensor]) -> None:
        for name, value in values.items():
            if name in self._trackers:
                self._trackers[name].update_state(value)

    def _scaled(self, loss, optimizer):
        return optimizer.scale_loss(loss) if self.scale_losses else loss

    def _assert_finite(self, loss, gradients) -> tf.Operation:
        # Scaled gradients may overflow: the optimizer then skips the step and lowers its scale.
        return assert_finite(loss, [] if self.scale_losses else gradients)

    def _apply(self, gradients) -> None:
        """The generator's step, once the discriminator is warm."""

        def step():
            inside = [tf.identity(gradient) for gradient in gradients]
            self.optimizer.apply(inside, self.learner.trainable_variables)
            average_weights(self.generator, self.learner, self.optimizer.iterations, self.ema_decay)

        if self.discriminator_warmup:
            tf.cond(self.steps_taken >= self.discriminator_warmup, step, lambda: None)
        else:
            step()


class FunctionLoss(keras.losses.Loss):
    """What Keras makes of a loss that is named by a string: a function of two batches."""

    def __init__(self, function):
        super().__init__(name=function.__name__)
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def as_loss(term) -> keras.losses.Loss:
    """A loss object of what `compile` was given: one itself, a function, or a Keras name such as "mae"."""
    term = keras.losses.get(term)
    return term if isinstance(term, keras.losses.Loss) else FunctionLoss(term)


def compares_pixels(term: keras.losses.Loss) -> bool:
    return getattr(term, "compares_pixels", True)


def check_stage(trainer: Trainer, losses, perceptual, adversarial, discriminator_optimizer, without_pixels) -> None:
    """Refuses networks without losses or the reverse, two losses of one name, and a GAN that nothing holds."""
    names = [term.name for term in (*losses, *filter(None, (perceptual, adversarial)))]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise TrainingError(f"two losses are called {twice[0]!r}; give one another name=")
    for network, loss, words in (
        (trainer.feature_extractor, perceptual, ("feature_extractor", "perceptual")),
        (trainer.discriminator, adversarial, ("discriminator", "adversarial")),
        (trainer.discriminator, discriminator_optimizer, ("discriminator", "discriminator_optimizer")),
    ):
        if (network is None) != (loss is None):
            missing, given = words if network is None else reversed(words)
            raise TrainingError(f"{given} is given, but no {missing}: the one needs the other")
    if adversarial is not None and not without_pixels and not any(compares_pixels(term) for term in losses):
        raise TrainingError(
            "an adversarial stage without a pixel loss starts from noise and drifts in colour; "
            "add one, or pass without_pixels=True"
        )


def assert_finite(loss, gradients) -> tf.Operation:
    """Fails the step before anything has changed that depends on it: weights, averages, step counter."""
    finite = tf.math.is_finite(loss)
    if gradients:
        finite &= tf.math.is_finite(tf.linalg.global_norm(gradients))
    return tf.debugging.Assert(finite, [NOT_FINITE])
