"""Silence for libraries whose C++ writes to stderr whatever Python's settings say."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Sends file descriptor 2 nowhere for a while: TensorFlow's and LiteRT's start-up lines would bury the one
    line that a user should read. Exceptions pass.
    """
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras without their start-up lines; ModuleNotFoundError where they are missing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()
