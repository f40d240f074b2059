"""Skip discriminator: ESRGAN's convolutions with ReLU, and jump connections that join their scales.

Source: Li, "Improved ESRGAN" with the PieAPP loss. The paper gives the ReLU and the jump connections; where they
start and how they join is ours.
"""

import keras
from keras import layers

from keras_fsr.discriminators.vgg import halving, keeping, normalise

STAGES = 4


@keras.saving.register_keras_serializable(package="keras_fsr")
class SkipDiscriminator(keras.Model):
    """Skip discriminator: (N, H, W, 3) RGB in [0, 1], any size -> (N, 1) logits; 7,667,785 trainable parameters.

    Four stages of ESRGAN's discriminator (3x3, then 4x4 of stride 2; 64-128-256-512 channels; batch normalisation
    except in the first layer) with ReLU for LeakyReLU. The output of each stage jumps to the last: it is averaged
    down to a sixteenth of the image's side, so that textures of every scale weigh in, and all four are joined by
    a 1x1 convolution to 512 channels. A mean over the image, dense 100 and dense 1 follow, so that any size goes.

    Args:
        num_features: channels of the first stage; the others double it.
    """

    def __init__(self, num_features: int = 64, **kwargs):
        inputs = keras.Input((None, None, 3))
        x = layers.Conv2D(num_features, 3, padding="same", activation="relu", name="conv0_0")(inputs)
        scales = []
        for stage in range(STAGES):
            filters = num_features * 2**stage
            if stage:
                x = keeping(x, filters, f"conv{stage}_0", relu_after_norm)
            x = halving(x, filters, f"conv{stage}_1", relu_after_norm)
            scales.append(x)

        joined = scales[-1]
        for stage, features in enumerate(scales[:-1]):
            # "same" rounds odd sizes up, here as in the convolutions, so the sizes agree.
            times = 2 ** (STAGES - 1 - stage)
            jump = layers.AveragePooling2D(times, padding="same", name=f"jump{stage}")(features)
            joined = layers.Concatenate(name=f"concat{stage}")([joined, jump])
        joined = layers.Conv2D(x.shape[-1], 1, activation="relu", name="join")(joined)

        pooled = layers.GlobalAveragePooling2D(name="pool")(joined)
        hidden = layers.Dense(100, activation="relu", name="dense1")(pooled)
        super().__init__(inputs, layers.Dense(1, name="logit", dtype="float32")(hidden), **kwargs)
        self.num_features = num_features

    def get_config(self):
        return {"name": self.name, "num_features": self.num_features}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def relu_after_norm(x, name: str):
    return layers.ReLU(name=f"{name}_act")(normalise(x, name))
