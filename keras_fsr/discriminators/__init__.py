"""Discriminators: image in, logits out (no sigmoid: it is in the loss). One network a file."""

import importlib

# name in recipes -> (module, class)
_DISCRIMINATORS = {
    "compact": ("compact", "CompactDiscriminator"),
    "skip": ("skip", "SkipDiscriminator"),
    "unet": ("unet", "UNetDiscriminator"),
    "vgg": ("vgg", "VGGDiscriminator"),
}


def names() -> list[str]:
    """Names of the discriminators, as recipes use them."""
    return sorted(_DISCRIMINATORS)


def get(name: str) -> type:
    """The class of a discriminator by its name (KeyError if there is none); imports Keras."""
    module, kind = _DISCRIMINATORS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), kind)
