"""The Trainer: a `keras.Model` around generator, discriminator and feature extractor."""

import keras
import tensorflow as tf

from keras_fsr.data.patches import Patches
from keras_fsr.errors import TrainingError
from keras_fsr.training.precision import copy_network, policy_for

NOT_FINITE = "loss or gradient is not finite"


class Trainer(keras.Model):
    """Trains a generator with `compile` and `fit`, as any Keras model.

    The generator that is handed in holds float32 weights averaged over the steps (EMA) at any time: it is what
    validation measures, what `predict` runs and what you save. The gradient steps are taken by `learner`, a copy
    that computes in the chosen precision.

    Args:
        generator: network (N, H, W, 3) -> (N, H * scale, W * scale, 3), images in [0, 1].
        discriminator, feature_extractor: of the adversarial stage, which this version does not have yet.
        ema_decay: decay of the weight average; it warms up as min(ema_decay, (1 + t) / (10 + t)). 0 switches
            averaging off.
        precision: "auto" (bfloat16 where the hardware has it), "bfloat16" or "float32".

    Raises:
        TrainingError: at construction for an unknown precision or the missing stage; in `fit` when a loss or
            gradient is not finite, with the step and, for `Patches`, the files of its batch. The weights are
            then those of the step before.

    Example:
        trainer = Trainer(RRDB(4, hardware=True, num_blocks=3))
        trainer.compile(optimizer=ConvMuon(1e-3), loss=L1(), metrics=[PSNRY(4)])
        trainer.fit(Patches(pairs, scale=4), validation_data=whole_images(val_pairs, 4), epochs=10)
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
        if discriminator is not None or feature_extractor is not None:
            raise TrainingError("this version trains the fidelity stage: pass a generator alone")
        self.generator = generator
        self.learner = copy_network(generator, policy_for(precision))
        self.ema_decay = ema_decay
        self.built = True

    def compile(self, optimizer, loss, metrics=None, jit_compile=False, **kwargs):
        """As `keras.Model.compile`. XLA is off: on CPU it trains these networks 2 to 12 times slower."""
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.learner.trainable_variables)

    @property
    def step(self) -> int:
        """Gradient steps taken so far."""
        return int(self.optimizer.iterations)

    def call(self, inputs, training=False):
        return self.generator(inputs, training=training)

    def fit(self, x=None, *args, steps_per_epoch: int | None = None, **kwargs):
        """As `keras.Model.fit`; `x` may be `Patches`, which are then sampled on from the current step."""
        patches = x if isinstance(x, Patches) else None
        if patches is not None:
            x = patches.dataset(first_step=self.step)
            steps_per_epoch = steps_per_epoch or patches.steps_per_epoch
        try:
            kwargs.setdefault("shuffle", False)  # streams come shuffled
            return super().fit(x, *args, steps_per_epoch=steps_per_epoch, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            if NOT_FINITE not in str(error):
                raise
            step = self.step
            batch = f" on {', '.join(patches.files(step))}" if patches is not None else ""
            raise TrainingError(
                f"{NOT_FINITE} at step {step}{batch}; check these images, or lower the learning rate"
            ) from None

    def train_step(self, data):
        lr, hr, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            sr = self.learner(lr, training=True)
            loss = self.compute_loss(lr, hr, sr)
        gradients = tape.gradient(loss, self.learner.trainable_variables)
        with tf.control_dependencies([assert_finite(loss, gradients)]):
            gradients = [tf.identity(gradient) for gradient in gradients]
            self.optimizer.apply(gradients, self.learner.trainable_variables)
            self._average_weights()
        self._loss_tracker.update_state(loss)
        return self.compute_metrics(lr, hr, sr)

    def test_step(self, data):
        lr, hr, _ = keras.utils.unpack_x_y_sample_weight(data)
        sr = self.generator(lr, training=False)
        self._loss_tracker.update_state(self.compute_loss(lr, hr, sr))
        return self.compute_metrics(lr, hr, sr)

    def _average_weights(self):
        step = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(self.ema_decay, (1.0 + step) / (10.0 + step))
        for average, current in zip(self.generator.weights, self.learner.weights, strict=True):
            average.assign_add((1.0 - decay) * (current - average))


def assert_finite(loss, gradients) -> tf.Operation:
    """Fails the step before anything has changed that depends on it: weights, averages, step counter."""
    finite = tf.math.is_finite(loss) & tf.math.is_finite(tf.linalg.global_norm(gradients))
    return tf.debugging.Assert(finite, [NOT_FINITE])
