"""VGG-style discriminators: convolutions that halve the image, then dense layers to one logit.

Sources: Wang et al., "ESRGAN" (2018), with the layer sizes of the authors' released training code; Al'naeimee and
Lakizadeh, "A Method for Face Hallucination Based on Generative Adversarial Network by Extending ESRGAN
Architecture" (2024).
"""

import keras
from keras import layers

FORMS = {"esrgan": 32, "grouped": 16}
"""The forms and the number that divides their image size."""


@keras.saving.register_keras_serializable(package="keras_fsr")
class VGGDiscriminator(keras.Model):
    """VGG-style discriminator: (N, image_size, image_size, 3) RGB in [0, 1] -> (N, 1) logits.

    "esrgan": pairs of a 3x3 convolution and a 4x4 one of stride 2, 64-128-256-512-512 channels, all but the first
    with batch normalisation, LeakyReLU 0.2; dense 100; dense 1. 14,499,401 trainable parameters at 128. While
    the side that is left is even and at least 8, a further pair of 512 halves it: at 256 that makes the authors'
    larger network, 21,055,049.

    "grouped": the face hallucination paper's. It lists an input convolution, two groups of conv-activation-BN
    triples, four phases of conv-BN, flatten and dense, without sizes. Here the groups are pairs as above of 64
    and 128 channels, the phases pairs of 256 and 512; LeakyReLU follows each phase, for without any the four would
    be one linear map. 7,194,113 trainable parameters at 128.

    Args:
        image_size: side of the images in pixels: a multiple of 32 ("esrgan") or 16 ("grouped").
        num_features: channels of the first layer; the others follow it, up to 8 times as many.
        form: "esrgan" or "grouped".
    """

    def __init__(self, image_size: int = 128, num_features: int = 64, form: str = "esrgan", **kwargs):
        if form not in FORMS:
            raise ValueError(f"VGGDiscriminator form is one of {', '.join(FORMS)}, not {form!r}")
        if image_size < FORMS[form] or image_size % FORMS[form]:
            raise ValueError(f"image_size of the {form} form is a multiple of {FORMS[form]}, not {image_size}")

        inputs = keras.Input((image_size, image_size, 3))
        x = layers.Conv2D(num_features, 3, padding="same", name="conv0_0")(inputs)
        x = layers.LeakyReLU(negative_slope=0.2, name="act0_0")(x)
        x = esrgan_body(x, num_features) if form == "esrgan" else grouped_body(x, num_features)
        x = layers.Flatten(name="flatten")(x)
        if form == "esrgan":
            x = layers.Dense(100, name="dense1")(x)
            x = layers.LeakyReLU(negative_slope=0.2, name="act_dense1")(x)
        super().__init__(inputs, layers.Dense(1, name="logit", dtype="float32")(x), **kwargs)

        self.image_size = image_size
        self.num_features = num_features
        self.form = form

    def get_config(self):
        return {
            "name": self.name,
            "image_size": self.image_size,
            "num_features": self.num_features,
            "form": self.form,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def esrgan_body(x, num_features: int):
    x = halving(x, num_features, "conv0_1", lrelu_after_norm)
    stage = 1
    while stage <= 4 or (x.shape[1] % 2 == 0 and x.shape[1] >= 8):
        filters = num_features * min(2**stage, 8)
        x = keeping(x, filters, f"conv{stage}_0", lrelu_after_norm)
        x = halving(x, filters, f"conv{stage}_1", lrelu_after_norm)
        stage += 1
    return x


def grouped_body(x, num_features: int):
    for stage in range(4):
        after = lrelu_before_norm if stage < 2 else lrelu_after_norm
        x = keeping(x, num_features * 2**stage, f"conv{stage}_1", after)
        x = halving(x, num_features * 2**stage, f"conv{stage}_2", after)
    return x


def keeping(x, filters: int, name: str, after):
    """3x3 convolution that keeps the size, and what comes `after` it: a function of (x, name)."""
    return after(layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x), name)


def halving(x, filters: int, name: str, after):
    """4x4 convolution that halves the size, and what comes `after` it.

    At even sizes "same" pads one pixel at each side, as the authors' framework does.
    """
    return after(layers.Conv2D(filters, 4, strides=2, padding="same", use_bias=False, name=name)(x), name)


def lrelu_after_norm(x, name: str):
    return layers.LeakyReLU(negative_slope=0.2, name=f"{name}_act")(normalise(x, name))


def lrelu_before_norm(x, name: str):
    return normalise(layers.LeakyReLU(negative_slope=0.2, name=f"{name}_act")(x), name)


def normalise(x, name: str):
    """Batch normalisation with the constants of the authors' framework."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
