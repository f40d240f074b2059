"""Training time of RDS, branches in parallel against in sequence: the paper went from 4 h 34 to 3 h 22 (-26 %).

    python benchmarks/parallel.py [--blocks 3] [--inter-op 1 2]

One step is forward, backward and Adam on the same random batch. The two networks have the same layers and take
turns, so that a busy machine slows both alike; the medians are compared. TensorFlow fixes its threads when it
starts, so each number of inter-op threads (operations that run at once) has a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ORDERS = {"sequence": False, "parallel": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--growth", type=int, default=32)
    parser.add_argument("--normalization", default="none", choices=("none", "batch"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=32, help="side of the LR patches in pixels")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", default="float32", choices=("float32", "mixed_bfloat16"))
    parser.add_argument("--inter-op", type=int, nargs="+", default=[1, 2], metavar="THREADS")
    parser.add_argument("--intra-op", type=int, default=os.cpu_count(), metavar="THREADS")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)  # the child: measure with so many threads
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments)))
        return

    print(
        f"RDS x4, {arguments.blocks} blocks, {arguments.features} features, {arguments.normalization} normalization"
    )
    print(f"batch {arguments.batch} of {arguments.patch} pixels, {arguments.precision}, {os.cpu_count()} cores")
    print(f"{'inter-op':>8} {'intra-op':>8} {'sequence ms':>12} {'parallel ms':>12} {'parallel takes':>15}")
    for threads in arguments.inter_op:
        command = [sys.executable, __file__, *sys.argv[1:], "--measure", str(threads)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        medians = json.loads(output.splitlines()[-1])
        sequence, parallel = medians["sequence"] * 1000, medians["parallel"] * 1000
        change = f"{parallel / sequence - 1:+.1%}"
        print(f"{threads:8} {arguments.intra_op:8} {sequence:12.1f} {parallel:12.1f} {change:>15}", flush=True)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a training step by order."""
    import keras
    import numpy as np
    import tensorflow as tf

    from keras_fsr.generators.rds import RDS

    tf.config.threading.set_inter_op_parallelism_threads(arguments.measure)
    tf.config.threading.set_intra_op_parallelism_threads(arguments.intra_op)
    keras.config.set_dtype_policy(arguments.precision)
    networks = {}
    for order, parallel in ORDERS.items():
        networks[order] = RDS(
            4,
            num_features=arguments.features,
            growth_channels=arguments.growth,
            num_blocks=arguments.blocks,
            normalization=arguments.normalization,
            parallel=parallel,
        )
        networks[order].compile(optimizer=keras.optimizers.Adam(1e-4), loss="mean_absolute_error", jit_compile=False)
    sizes = {network.count_params() for network in networks.values()}
    assert len(sizes) == 1, "the orders are to be compared at equal size"

    draw = np.random.default_rng(0)
    lr, hr = (draw.random((arguments.batch, side, side, 3), dtype=np.float32) for side in sides(arguments.patch))
    seconds = {order: [] for order in networks}
    for turn in range(arguments.rounds + 2):
        for order, network in networks.items():
            started = time.perf_counter()
            network.train_on_batch(lr, hr)
            if turn >= 2:  # the first two trace and warm up
                seconds[order].append(time.perf_counter() - started)
    return {order: statistics.median(times) for order, times in seconds.items()}


def sides(patch: int) -> tuple[int, int]:
    return patch, 4 * patch


if __name__ == "__main__":
    main()
