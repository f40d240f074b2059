"""SynNet in LiteRT: one thread a call, as many calls at once as there are threads, and no TensorFlow."""

import threading
from pathlib import Path

import numpy as np

from keras_fsr.errors import ModelError, first_line
from keras_fsr.files import whole_file
from keras_fsr.quiet import quiet

NOISE_CHANNELS = 12  # of SynNet's noise; a test holds it to `synnet.noise_channels`


class SynNetEngine:
    """Runs a SynNet on one image of any size.

    TensorFlow would take threads from the very pool that waits for patches; here each thread has its interpreter.

    Args:
        content: the TFLite model.
        name: what errors call it.

    Raises:
        ModelError: the content is no SynNet.
    """

    def __init__(self, content: bytes, name: str):
        self._content = content
        self._name = name
        self._local = threading.local()
        self._interpreter()

    def __call__(self, hq: np.ndarray, omega: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """HQ (H * scale, W * scale, 3) in [0, 1], Omega (size,), noise (H, W, channels) -> LQ (H, W, 3), float32.

        Raises:
            ModelError: the Omega is of another size than the network's.
        """
        interpreter, places = self._interpreter()
        try:
            for place, value in zip(places, (hq, omega, noise), strict=True):
                interpreter.resize_tensor_input(place, (1, *value.shape), strict=True)
            interpreter.allocate_tensors()
            for place, value in zip(places, (hq, omega, noise), strict=True):
                interpreter.set_tensor(place, value[None].astype(np.float32, copy=False))
            interpreter.invoke()
            return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{self._name}: cannot degrade {hq.shape} by {omega.shape} ({first_line(error)})"
            ) from None

    def _interpreter(self):
        """This thread's interpreter, and where its three inputs go."""
        if not hasattr(self._local, "ready"):
            from ai_edge_litert.interpreter import Interpreter

            try:
                with quiet():
                    interpreter = Interpreter(model_content=self._content, num_threads=1)
                    inputs = interpreter.get_input_details()
                    places = {tuple(entry["shape_signature"][1:]): entry["index"] for entry in inputs}
                    omega = next(shape for shape in places if len(shape) == 1)
                    order = [places[-1, -1, 3], places[omega], places[-1, -1, NOISE_CHANNELS]]
            except (ValueError, RuntimeError, KeyError, StopIteration) as error:
                raise ModelError(f"{self._name}: is no SynNet ({first_line(error)})") from None
            self._local.ready = interpreter, order
        return self._local.ready


def convert(synnet) -> bytes:
    """A Keras SynNet as a TFLite model for any size, weights in float16; imports TensorFlow."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = export_synnet(synnet, Path(folder) / "synnet.tflite")
        return path.read_bytes()


def export_synnet(synnet, path: Path) -> Path:
    """Writes what `convert` makes."""
    import io
    from contextlib import redirect_stdout

    import keras
    import tensorflow as tf

    shapes = [(1, *shape[1:]) for shape in synnet.input_shape]
    signature = [[keras.InputSpec(shape=shape, dtype="float32") for shape in shapes]]
    target = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS], "supported_types": [tf.float16]}
    with whole_file(path) as temporary, quiet(), redirect_stdout(io.StringIO()):
        synnet.export(
            temporary,
            format="litert",
            input_signature=signature,
            verbose=False,
            optimizations=[tf.lite.Optimize.DEFAULT],
            target_spec=target,
        )
    return path
