"""RDS: ESRGAN's generator with its dense blocks side by side and a tail that refines at each scale.

Source: Al'naeimee and Lakizadeh, "A Method for Face Hallucination Based on Generative Adversarial Network by
Extending ESRGAN Architecture" (2024). The paper draws the network and gives no layer sizes; each of our choices
stands at the function it concerns. The sizes are those of ESRGAN, which the paper extends.
"""

import keras
from keras import layers

from keras_fsr.generators.rrdb import RESIDUAL_SCALE, activate, conv
from keras_fsr.layers import NearestUpsampling, ScaledResidual

NORMALIZATIONS = ("none", "batch")
BRANCHES = 3


@keras.saving.register_keras_serializable(package="keras_fsr")
class RDS(keras.Model):
    """RDS generator: (N, H, W, 3) RGB in [0, 1] -> (N, H * scale, W * scale, 3) RGB, nominally in [0, 1].

    16,680,387 parameters at x4 and 16,708,931 at x8, parallel or not; with `all_scales` 16,711,526.

    Layers bear the same names at both scales, so that `copy_common_weights` starts x8 from a trained x4 network.

    Args:
        scale: 4 or 8.
        num_features: channels of the trunk.
        growth_channels: channels that each dense convolution, and each refinement, adds.
        num_blocks: residual dense structures, three dense branches each.
        normalization: "none" (the paper's text) or "batch" (its figure: batch normalisation in the branches).
        parallel: the three branches read the same input, so that a runtime may compute them at once. False puts
            the same layers in sequence, as ESRGAN does; the paper's gain in time is measured against that.
        all_scales: at x8, the output is {"x4": image, "x8": image}, both from the same features.
        anchor: the network predicts what the nearest-neighbour enlargement of its input lacks (not in the paper).
    """

    def __init__(
        self,
        scale: int = 4,
        num_features: int = 64,
        growth_channels: int = 32,
        num_blocks: int = 23,
        normalization: str = "none",
        parallel: bool = True,
        all_scales: bool = False,
        anchor: bool = False,
        **kwargs,
    ):
        if scale not in (4, 8):
            raise ValueError(f"RDS scale is 4 or 8, not {scale}")
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"RDS normalization is one of {', '.join(NORMALIZATIONS)}, not {normalization!r}")
        if all_scales and scale != 8:
            raise ValueError("RDS has all_scales at scale 8 only: at 4 there is one image")

        inputs = keras.Input((None, None, 3))
        x = shallow = activate(conv(inputs, num_features, "conv_first"), "relu", "act_first")
        for i in range(num_blocks):
            x = residual_dense_structure(x, growth_channels, normalization, parallel, f"block{i}")
        x = layers.Add(name="trunk")([shallow, conv(x, num_features, "conv_trunk")])
        for i in (1, 2):
            x = NearestUpsampling(2, name=f"up{i}")(x)
            x = activate(conv(x, num_features, f"conv_up{i}"), "relu", f"act_up{i}")
        # The output stays float32 whatever the trunk computes in; an anchored network starts as its anchor.
        last = {"dtype": "float32"} | ({"kernel_initializer": "zeros"} if anchor else {})
        images = refine_each_scale(x, scale, growth_channels, all_scales, **last)
        if anchor:
            images = add_anchors(images, inputs, scale)
        super().__init__(inputs, images if all_scales else images[f"x{scale}"], **kwargs)

        self.scale = scale
        self.num_features = num_features
        self.growth_channels = growth_channels
        self.num_blocks = num_blocks
        self.normalization = normalization
        self.parallel = parallel
        self.all_scales = all_scales
        self.anchor = anchor

    def get_config(self):
        return {
            "name": self.name,
            "scale": self.scale,
            "num_features": self.num_features,
            "growth_channels": self.growth_channels,
            "num_blocks": self.num_blocks,
            "normalization": self.normalization,
            "parallel": self.parallel,
            "all_scales": self.all_scales,
            "anchor": self.anchor,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def copy_common_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Gives the layers of `target` the weights of those of the same name in `source`; returns their names.

    Raises:
        ValueError: two layers share a name and differ in shape; the layers before them are copied by then.
    """
    weights = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    common = [layer for layer in target.layers if layer.name in weights]
    for layer in common:
        layer.set_weights(weights[layer.name])
    return [layer.name for layer in common]


def residual_dense_structure(x, growth_channels: int, normalization: str, parallel: bool, name: str):
    """Three dense branches and a shortcut around them, in place of ESRGAN's three dense blocks in a row.

    The paper does not say how the branches are joined. Their residuals are added, which needs no layer that the
    sequence lacks, and is what ESRGAN's block does to first order: x + 0.2 * (x + 0.2 * (f1 + f2 + f3)).
    """
    names = [f"{name}_dense{i}" for i in range(1, BRANCHES + 1)]
    out = x
    if parallel:
        branches = [dense_branch(x, growth_channels, normalization, branch_name) for branch_name in names]
        joined = layers.Add(name=f"{name}_join")(branches)
        out = ScaledResidual(RESIDUAL_SCALE, name=f"{name}_joined")([x, joined])
    else:
        for branch_name in names:
            branch = dense_branch(out, growth_channels, normalization, branch_name)
            out = ScaledResidual(RESIDUAL_SCALE, name=f"{branch_name}_residual")([out, branch])
    return ScaledResidual(RESIDUAL_SCALE, name=f"{name}_residual")([x, out])


def dense_branch(x, growth_channels: int, normalization: str, name: str):
    """Four conv-(BN)-ReLU triples that each see all before them, and a convolution that fuses.

    The fusing convolution is not normalised: with unit variance no branch could start near zero.
    """
    # He's initialisation times 0.1, as in RRDB: deep trunks then train without BN.
    small = keras.initializers.VarianceScaling(2 * 0.1**2, mode="fan_in", distribution="truncated_normal")
    batch = normalization == "batch"
    features = x
    for i in range(1, 5):
        grown = conv(features, growth_channels, f"{name}_conv{i}", kernel_initializer=small, use_bias=not batch)
        if batch:
            grown = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm{i}")(grown)
        grown = activate(grown, "relu", f"{name}_act{i}")
        features = layers.Concatenate(name=f"{name}_concat{i}")([features, grown])
    return conv(features, x.shape[-1], f"{name}_conv5", kernel_initializer=small)


def refine_each_scale(x, scale: int, growth_channels: int, all_scales: bool, **last) -> dict:
    """The images by scale, {"x4": ..., "x8": ...}, from features at x4; only the largest unless `all_scales`.

    The paper keeps the earlier features at each resolution and adds new ones; how many, it does not say. Here a
    convolution adds `growth_channels` to all there are, and x8 goes on from the enlarged features of x4.
    """
    images = {}
    for times in (4, 8) if scale == 8 else (4,):
        if times == 8:
            x = NearestUpsampling(2, name="up3")(x)
        new = activate(conv(x, growth_channels, f"refine{times}"), "relu", f"act_refine{times}")
        x = layers.Concatenate(name=f"refined{times}")([x, new])
        if all_scales or times == scale:
            images[f"x{times}"] = conv(x, 3, f"image{times}", **last)
    return images


def add_anchors(images: dict, inputs, scale: int) -> dict:
    """Adds to each image the nearest-neighbour enlargement of the input, which grows by factors of two."""
    anchored = {}
    enlarged = inputs
    for i in range(1, scale.bit_length()):
        enlarged = NearestUpsampling(2, name=f"anchor{i}", dtype="float32")(enlarged)
        key = f"x{2**i}"
        if key in images:
            anchored[key] = layers.Add(name=f"anchored_{key}", dtype="float32")([images[key], enlarged])
    return anchored
