"""Which arithmetic a training runs in: mixed bfloat16 where the hardware has it, float32 elsewhere."""

import keras
import tensorflow as tf

from keras_fsr.errors import TrainingError
from keras_fsr.machine import BFLOAT16_FLAGS, cpu_flags

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def policy_for(precision: str) -> str:
    """The Keras dtype policy for "auto", "bfloat16", "float16" or "float32".

    Raises:
        TrainingError: another name was given.
    """
    if precision == "auto":
        precision = "bfloat16" if hardware_has_bfloat16() else "float32"
    if precision not in POLICIES:
        raise TrainingError(f"precision {precision!r} is unknown; use auto, {', '.join(POLICIES)}")
    return POLICIES[precision]


def hardware_has_bfloat16() -> bool:
    """Whether the first GPU, or the CPU where there is none, multiplies bfloat16 natively."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return capability >= (8, 0)
    return bool(BFLOAT16_FLAGS & cpu_flags())


def copy_network(network: keras.Model, policy: str = "float32") -> keras.Model:
    """The same network with the same weights, built anew to compute in a policy; weights stay float32.

    Layers that name their own dtype (those that put out pixels) keep it.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        copy = network.__class__.from_config(network.get_config())
    finally:
        keras.config.set_dtype_policy(before)
    copy.set_weights(network.get_weights())
    return copy
