"""Several processes that take each training step together: data parallelism over `tf.distribute`'s collectives.

`tf.distribute.MultiWorkerMirroredStrategy` connects the processes (`TF_CONFIG`), watches over them and adds their
tensors. Variables stay ordinary ones, a copy in each process, one device a process: every worker applies the same
mean gradient to the same weights, so the copies stay equal to the last bit, and optimizers, weight averages, loss
scaling and checkpoints are those of a training in one process. (Under the strategy's scope Keras clips gradients
before it adds them, and a step cannot stand in a condition.)
"""

import json
import multiprocessing
import os
import socket
import zlib
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from keras_fsr.errors import TrainingError

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


class Workers:
    """A training in one process: nothing to add, nobody to agree with."""

    index = 0
    count = 1

    @property
    def chief(self) -> bool:
        """Whether this process writes the run folder."""
        return self.index == 0

    @property
    def share(self) -> dict[str, int]:
        """This worker's part of each batch, as arguments of `Patches.dataset`."""
        return {}

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The mean over the workers of each tensor; without gradient."""
        return list(tensors)

    def gather(self, tensor: tf.Tensor) -> tf.Tensor:
        """The workers' tensors (N, ...) one after the other, (N * count, ...)."""
        return tensor


class Cluster(Workers):
    """The workers that `TF_CONFIG` names, of which this process is one.

    Must be made before TensorFlow has run anything. Waits for the other workers.

    Raises:
        TrainingError: TF_CONFIG is missing or names no other worker, or this process has more than one device.
    """

    def __init__(self):
        self.index, self.count = task()
        gpus = tf.config.list_physical_devices("GPU")
        if len(gpus) > 1:
            raise TrainingError(
                f"a worker drives one GPU and sees {len(gpus)}; set CUDA_VISIBLE_DEVICES, and name a worker for each"
            )
        ring = tf.distribute.experimental.CommunicationImplementation.RING
        automatic = tf.distribute.experimental.CommunicationImplementation.AUTO
        options = tf.distribute.experimental.CommunicationOptions(implementation=automatic if gpus else ring)
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)

    @property
    def share(self) -> dict[str, int]:
        return {"worker": self.index, "workers": self.count}

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        # One message for all of them.
        flat = tf.concat([tf.reshape(tf.cast(tensor, tf.float32), (-1,)) for tensor in tensors], 0)
        parts = tf.split(self._sum(flat) / self.count, [tensor.shape.num_elements() for tensor in tensors])
        return [tf.cast(tf.reshape(part, t.shape), t.dtype) for part, t in zip(parts, tensors, strict=True)]

    def gather(self, tensor: tf.Tensor) -> tf.Tensor:
        """As in `Workers`; the gradient is that of the sum of all workers' losses."""

        @tf.custom_gradient
        def gathered(tensor):
            size = tf.shape(tensor)[0]
            rest = [[0, 0]] * (len(tensor.shape) - 1)
            padding = [[self.index * size, (self.count - 1 - self.index) * size], *rest]

            def gradient(upstream):
                return self._sum(upstream)[self.index * size : (self.index + 1) * size]

            return self._sum(tf.pad(tensor, padding)), gradient

        return gathered(tensor)

    def share_state(self, variables: Sequence[tf.Variable]) -> None:
        """Gives every worker the chief's values."""

        @tf.function
        def share():
            for dtype in sorted({variable.dtype.as_numpy_dtype for variable in variables}, key=str):
                alike = [variable for variable in variables if variable.dtype.as_numpy_dtype == dtype]
                flat = tf.concat([tf.reshape(variable, (-1,)) for variable in alike], 0)
                flat = self._sum(flat if self.chief else tf.zeros_like(flat))
                parts = tf.split(flat, [variable.shape.num_elements() for variable in alike])
                for variable, part in zip(alike, parts, strict=True):
                    variable.assign(tf.reshape(part, variable.shape))

        share()

    def agree(self, facts: Mapping[str, str]) -> None:
        """Refuses to train with a worker for which one of these is another.

        Raises:
            TrainingError: which worker, and which fact.
        """
        own = tf.constant([[zlib.crc32(value.encode()) for value in facts.values()]], tf.int64)
        table = tf.function(self.gather)(own).numpy()
        for worker, row in enumerate(table):
            for name, theirs, chiefs in zip(facts, row, table[0], strict=True):
                if theirs != chiefs:
                    raise TrainingError(
                        f"worker {worker} has another {name} than worker 0; give all workers the same"
                    )

    def wait(self) -> None:
        """Until every worker has come here."""
        tf.function(self._sum)(tf.zeros((1,)))

    def _sum(self, tensor: tf.Tensor) -> tf.Tensor:
        def add(value):
            # The copy has a device, which the strategy asks for.
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

        return self._strategy.run(tf.autograph.experimental.do_not_convert(add), args=(tensor,))


ALONE = Workers()


def task() -> tuple[int, int]:
    """This worker's number and how many there are, of TF_CONFIG.

    Raises:
        TrainingError: it is missing, is no JSON, or names fewer than two workers.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        count, index = len(config["cluster"]["worker"]), int(config["task"]["index"])
    except (ValueError, KeyError, TypeError):
        raise TrainingError(
            f"TF_CONFIG {text[:60]!r} names no cluster; see docs/scale.md, or leave out --strategy"
        ) from None
    if count < 2 or not 0 <= index < count:
        raise TrainingError(
            f"TF_CONFIG names {count} workers, this one by the index {index}; two are needed at least"
        )
    return index, count


def choose(strategy: str) -> Workers:
    """The workers of `--strategy`: those that TF_CONFIG names, where it is set, else this process alone.

    Raises:
        TrainingError: "multiworker" without TF_CONFIG; as of `Cluster`.
    """
    if strategy == "multiworker" or os.environ.get("TF_CONFIG"):
        return Cluster()
    return ALONE


def workers_to_start(strategy: str) -> int:
    """How many workers this process should start: one a GPU, where "mirrored" or "auto" finds several."""
    if strategy == "multiworker" or os.environ.get("TF_CONFIG"):
        return 0
    gpus = len(tf.config.list_physical_devices("GPU"))
    return gpus if gpus > 1 else 0


def start_workers(count: int, target: Callable, *arguments) -> int:
    """Calls a function in new processes, a cluster on this machine with a GPU each; returns the worst exit code.

    Where one fails the others end too: TensorFlow tells them within seconds.
    """
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    gpus = gpus if len(gpus) == count else [str(i) for i in range(count)]
    processes = [multiprocessing.get_context("spawn").Process(target=target, args=arguments) for _ in range(count)]
    before = dict(os.environ)
    try:
        for index, process in enumerate(processes):
            cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            # Inherited: TensorFlow reads them when it is imported.
            os.environ.update(TF_CONFIG=json.dumps(cluster), CUDA_VISIBLE_DEVICES=gpus[index])
            process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    for process in processes:
        process.join()
    return max(abs(process.exitcode) for process in processes)


def synchronise_norms(network: keras.Model, workers: Workers) -> None:
    """Lets the batch normalisations of a network see the whole batch of all workers."""

    def moments(inputs, axes):
        mean, variance = tf.nn.moments(tf.cast(inputs, tf.float32), axes)
        means, variances = tf.unstack(workers.gather(tf.stack([mean, variance])[None]), axis=1)
        mean = tf.reduce_mean(means, 0)
        variance = tf.reduce_mean(variances + tf.square(means - mean), 0)
        return tf.cast(mean, inputs.dtype), tf.cast(variance, inputs.dtype)

    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer._moments = lambda inputs, mask, axes=layer._reduction_axes: moments(inputs, axes)


class MeanOfWorkers(keras.callbacks.Callback):
    """Replaces each epoch's figures by their mean over the workers; the first callback, for the others read them."""

    def __init__(self, workers: Cluster):
        super().__init__()
        self.workers = workers

    def on_epoch_end(self, epoch, logs=None):
        names = sorted(logs)
        if names:
            means = tf.function(self.workers.mean)([tf.constant(logs[name], tf.float32) for name in names])
            logs.update({name: float(value) for name, value in zip(names, means, strict=True)})
