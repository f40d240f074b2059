"""DegNet and SynNet as one network."""

import keras

from keras_fsr.degradations.learned.degnet import DegNet
from keras_fsr.degradations.learned.synnet import SynNet, noise_channels


@keras.saving.register_keras_serializable(package="keras_fsr")
class DegradationTransfer(keras.Model):
    """DegNet and SynNet as one network, which is one file.

    [example HQ, example LQ, HQ, noise] -> LQ: the degradation of the example, done to the HQ image. The parts are
    `degnet` and `synnet`; shapes are theirs.

    Args:
        scale: HQ side / LQ side.
        size: length of Omega.
        degnet, synnet: further options of the two.
    """

    def __init__(
        self, scale: int = 4, size: int = 64, degnet: dict | None = None, synnet: dict | None = None, **kwargs
    ):
        networks = {"degnet": DegNet(scale, size, **(degnet or {})), "synnet": SynNet(scale, size, **(synnet or {}))}
        example = [keras.Input((None, None, 3), name="example_hq"), keras.Input((None, None, 3), name="example_lq")]
        hq = keras.Input((None, None, 3), name="hq")
        noise = keras.Input((None, None, noise_channels()), name="noise")
        lq = networks["synnet"]([hq, networks["degnet"](example), noise])
        super().__init__([*example, hq, noise], lq, **kwargs)
        self.degnet, self.synnet = networks["degnet"], networks["synnet"]
        self.config = {"scale": scale, "size": size, "degnet": degnet, "synnet": synnet}

    def get_config(self):
        return {"name": self.name, **self.config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
