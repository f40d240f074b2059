"""What the reduced VGG16 saves: parameters, arithmetic and time of the perceptual loss in one training step.

    python benchmarks/extractor.py [--batch 8] [--size 128] [--rounds 7] [--precision auto]

Times the features of original and generated images and the gradient to the latter. All variants are timed in
turn, round by round, so that the ratios of one run hold whatever else the machine does. Prints a Markdown table.
"""

import argparse
import statistics
import time

import keras
import tensorflow as tf

from keras_fsr.extractors.vgg16 import VGG
from keras_fsr.losses.perceptual import Perceptual
from keras_fsr.training.precision import copy_network, policy_for

VARIANTS = {
    "VGG19, all 16 convolutions": {"depth": 19, "cut": "block5_conv4"},
    "VGG16, all 13 convolutions": {"cut": "block5_conv3"},
    "VGG16 to block4_conv3": {"cut": "block4_conv3"},
    "VGG16 to block3_conv3 (default)": {"cut": "block3_conv3"},
    "VGG16 to block2_conv2": {"cut": "block2_conv2"},
    "VGG16 to block3_conv3, half width": {"cut": "block3_conv3", "width": 0.5},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128, help="side of the HR patches (128)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()

    images = [
        tf.random.stateless_uniform((arguments.batch, arguments.size, arguments.size, 3), (i, 0)) for i in (0, 1)
    ]
    networks = {
        name: copy_network(VGG(**options), policy_for(arguments.precision)) for name, options in VARIANTS.items()
    }
    steps = {name: make_step(network) for name, network in networks.items()}
    for step in steps.values():
        step(*images)
    seconds = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step(*images).numpy()
            seconds[name].append(time.perf_counter() - start)

    full = statistics.median(seconds["VGG16, all 13 convolutions"])
    policy = policy_for(arguments.precision)
    print(f"{arguments.batch} patches of {arguments.size} pixels, {policy}, TensorFlow {tf.__version__}\n")
    print("| extractor | parameters | GFLOP an image | ms a step | of full VGG16 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, network in networks.items():
        middle = statistics.median(seconds[name])
        flops = 2 * multiplications(network, arguments.size) / 1e9
        print(f"| {name} | {network.count_params():,} | {flops:.1f} | {middle * 1000:.0f} | {middle / full:.0%} |")


def make_step(network: keras.Model):
    """Gradient of the perceptual loss with regard to the generated images."""
    loss = Perceptual({network.cut: 1.0})

    @tf.function
    def step(original, generated):
        with tf.GradientTape() as tape:
            tape.watch(generated)
            maps = [keras.tree.flatten(network(images)) for images in (original, generated)]
            value = loss(*maps)
        return tf.reduce_sum(tape.gradient(value, generated))

    return step


def multiplications(network: keras.Model, size: int) -> int:
    """Multiply-adds of one forward pass of one image."""
    total, side = 0, size
    for layer in network.layers:
        if isinstance(layer, keras.layers.MaxPooling2D):
            side //= 2
        elif isinstance(layer, keras.layers.Conv2D):
            total += side**2 * layer.kernel.shape[0] * layer.kernel.shape[1] * layer.kernel.shape[2] * layer.filters
    return total


if __name__ == "__main__":
    main()
