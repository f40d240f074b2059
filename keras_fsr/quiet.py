"""Silence for libraries whose C++ writes to stderr whatever Python's settings say."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from keras_fsr.errors import FSRError


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
    """Imports TensorFlow, and Keras on it, without their start-up lines.

    Raises:
        FSRError: the environment names another backend of Keras.
        ModuleNotFoundError: they are missing.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise FSRError(f"KERAS_BACKEND={backend}: only tensorflow runs here; unset it, or set it to tensorflow")
    os.environ["KERAS_BACKEND"] = backend  # before what keras.json names
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()


def import_matplotlib() -> None:
    """Imports Matplotlib, whatever MPLBACKEND names: figures here go to files alone.

    Raises:
        ModuleNotFoundError: it is missing.
    """
    if sys.modules.get("matplotlib"):
        return
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib as mpl

    if backend:
        with suppress(ValueError):  # there is no such backend
            mpl.rcParams["backend"] = os.environ["MPLBACKEND"] = backend
