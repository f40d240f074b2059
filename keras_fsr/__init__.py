"""keras_fsr: face super-resolution in Keras 3, from training to the phone.

Importing the package imports neither TensorFlow nor Keras: the names below are loaded when first used.
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "EDSR": "generators.baselines",
    "Edge": "generators.edge",
    "FSRError": "errors",
    "FacePredictor": "inference.faces",
    "Patches": "data.patches",
    "Perceptual": "losses.perceptual",
    "Predictor": "inference.predictor",
    "RDS": "generators.rds",
    "RRDB": "generators.rrdb",
    "RelativisticAverage": "losses.adversarial",
    "ResidualShuffle": "generators.residual_shuffle",
    "SRCNN": "generators.baselines",
    "SRResNet": "generators.baselines",
    "Trainer": "training.trainer",
    "UNetDiscriminator": "discriminators.unet",
    "VDSR": "generators.baselines",
    "VGG": "extractors.vgg16",
    "VGGDiscriminator": "discriminators.vgg",
    "build_vgg": "extractors.vgg16",
    "pair_images": "data.folders",
    "whole_images": "data.validation",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return sorted(__all__)
