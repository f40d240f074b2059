"""The running average of a network's weights."""

import keras
import tensorflow as tf


def average_weights(average: keras.Model, network: keras.Model, steps, decay: float) -> None:
    """Moves the weights of `average` towards those of `network`, by 1 - min(decay, (1 + steps) / (10 + steps)).

    Args:
        steps: steps taken so far (a number or tensor); the first ones move the average faster.
        decay: of the average; 0 copies the weights.
    """
    steps = tf.cast(steps, tf.float32)
    kept = tf.minimum(decay, (1.0 + steps) / (10.0 + steps))
    for mean, current in zip(average.weights, network.weights, strict=True):
        mean.assign_add((1.0 - kept) * (current - mean))
