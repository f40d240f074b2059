"""Muon for convolutions, and the learning-rate schedule of the recipes."""

import math

import keras
from keras import ops

DECAYS = ("cosine", "step")


@keras.saving.register_keras_serializable(package="keras_fsr")
class ConvMuon(keras.optimizers.Muon):
    """Muon whose orthogonalised step also updates convolution kernels, as matrices (height * width * in, out).

    Keras' Muon gives every variable that is not 2-D to AdamW, which in a convolutional network is all of them.
    Here kernels of 4-D take the Muon step; biases and the layers that read or write pixels (3 to 12 input
    channels, or a name in `exclude_layers`) take the Adam step. In short trials on the x4 face network it was
    1.0 to 1.3 dB above Adam after the same time (`docs/training.md`, with what that does not show).

    Source: Jordan et al., "Muon" (2024), which flattens convolutions the same way; step size after Liu et al.,
    "Muon is scalable for LLM training" (2025), so that Adam's learning rates fit.

    Args:
        learning_rate, clipnorm, exclude_layers, ...: as in `keras.optimizers.Muon`.
    """

    MAX_PIXEL_CHANNELS = 12

    def __init__(
        self,
        learning_rate=1e-3,
        exclude_layers=("conv_last",),
        weight_decay=None,
        adam_weight_decay=None,  # Keras' Muon has 0.004 here, whatever weight_decay says
        **kwargs,
    ):
        super().__init__(
            learning_rate=learning_rate,
            exclude_layers=list(exclude_layers),
            weight_decay=weight_decay,
            adam_weight_decay=adam_weight_decay,
            **kwargs,
        )

    def _should_use_adamw(self, variable) -> bool:
        shape = variable.shape
        if len(shape) != 4:
            return super()._should_use_adamw(variable)
        reads_pixels = shape[2] <= self.MAX_PIXEL_CHANNELS
        return reads_pixels or any(name in variable.path for name in self.exclude_layers)

    def _muon_update_step(self, gradient, variable, lr, m):
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        update = ops.add(gradient, self.momentum * m) if self.nesterov else m
        matrix = ops.reshape(update, (-1, variable.shape[-1]))
        matrix = self.lr_adjust(self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, lr * ops.reshape(matrix, variable.shape))


@keras.saving.register_keras_serializable(package="keras_fsr")
class WarmupHoldDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate by step: linear warm-up to the peak, hold, decay to `final` times the peak.

    Without a hold it is the usual cosine schedule; with one, a training can be made longer before its decay
    has begun without changing any step that was taken.

    Args:
        peak: highest learning rate.
        warmup_steps: steps from 0 to the peak.
        decay_steps: steps of the decay, which ends at `total_steps`.
        total_steps: length of the training.
        final: last learning rate as a share of the peak.
        shape: "cosine", or "step": the last rate from the start of the decay on.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int = 0,
        decay_steps: int = 0,
        final: float = 0.0,
        shape: str = "cosine",
    ):
        if shape not in DECAYS:
            raise ValueError(f"decay shape is {' or '.join(DECAYS)}, not {shape!r}")
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.final = final
        self.shape = shape

    def __call__(self, step):
        step = ops.cast(step, "float32")
        warmup = ops.minimum((step + 1) / max(self.warmup_steps, 1), 1.0)
        start = self.total_steps - self.decay_steps
        progress = ops.clip((step - start) / max(self.decay_steps, 1), 0.0, 1.0)
        height = 0.5 * (1 + ops.cos(math.pi * progress))
        if self.shape == "step":
            height = ops.cast(step < start, "float32")
        decay = self.final + (1 - self.final) * height
        return self.peak * warmup * decay

    def get_config(self):
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "final": self.final,
            "shape": self.shape,
        }


OPTIMIZERS = {
    "adam": lambda rate, clip: keras.optimizers.Adam(rate, beta_2=0.99, global_clipnorm=clip),
    "sgd": lambda rate, clip: keras.optimizers.SGD(rate, global_clipnorm=clip),
    "muon": lambda rate, clip: ConvMuon(rate, global_clipnorm=clip),
}
