"""Where the weights of LPIPS come from, and their two forms.

A backbone and its heads are two files, each either

- a NumPy archive: `features_<n>__kernel` in HWIO and `features_<n>__bias` with torchvision's layer numbers, or
  `lin0`, `lin1` ..., a weight for each channel of a tap; or
- the file that torchvision or LPIPS' authors publish, whose SHA-256 is compared; it is read without PyTorch.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_fsr.archives import load_npz
from keras_fsr.errors import ModelError, first_line
from keras_fsr.files import WEIGHTS_VARIABLE
from keras_fsr.losses.torch_weights import read_state
from keras_fsr.pretrained import digest

TORCHVISION = "https://download.pytorch.org/models/"
AUTHORS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"
KERAS_VGG = "vgg16_keras*.npz"


@dataclass(frozen=True)
class Published:
    """A file of weights that others publish."""

    address: str
    sha256: str
    archive: str  # name of the NumPy archive that may stand for it

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]


# torchvision's names carry the first 8 digits; all of them are in many public records of these files. Those of the
# heads are of the files in the wheel lpips 0.1.4 on PyPI.
FILES = {
    "squeeze": (
        Published(
            TORCHVISION + "squeezenet1_1-b8a52dc0.pth",
            "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
            "squeezenet1_1_torchvision.npz",
        ),
        Published(
            AUTHORS + "squeeze.pth",
            "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
            "lpips_v0.1_lin_squeeze.npz",
        ),
    ),
    "vgg": (
        Published(
            TORCHVISION + "vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            "vgg16_torchvision.npz",
        ),
        Published(
            AUTHORS + "vgg.pth",
            "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
            "lpips_v0.1_lin_vgg.npz",
        ),
    ),
    "alex": (
        Published(
            TORCHVISION + "alexnet-owt-7be5be79.pth",
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            "alexnet_torchvision.npz",
        ),
        Published(
            AUTHORS + "alex.pth",
            "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
            "lpips_v0.1_lin_alex.npz",
        ),
    ),
}
"""Backbone -> its file and that of its heads."""


def find_weights(backbone: str, folder: Path | str | None = None) -> tuple[Path, Path]:
    """The files of a backbone and of its heads.

    Args:
        folder: where both are; by default the folder that the environment variable KERAS_FSR_WEIGHTS names. Where
            that is not set either, the published files are downloaded into Keras' cache, once.

    Raises:
        ModelError: the folder lacks a file, or has another one of that name, or the download failed.
    """
    folder = folder or os.environ.get(WEIGHTS_VARIABLE)
    network, heads = FILES[backbone]
    if not folder:
        return _download(network, heads)
    return _find(network, Path(folder)), _find(heads, Path(folder))


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Kernels and biases, or heads, by the names of the NumPy archives; classifiers are left out.

    Raises:
        Exception: whatever a damaged file makes its reader raise.
    """
    if path.suffix != ".npz":
        state = read_state(path).items()
        return dict(_convert(name, array) for name, array in state if not name.startswith("classifier."))
    archive = load_npz(path)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it is no .npz archive")
    with archive:
        return {name: archive[name] for name in archive.files if not name.startswith("classifier_")}


def _find(file: Published, folder: Path) -> Path:
    if (folder / file.archive).is_file():
        return folder / file.archive
    path = folder / file.name
    if path.is_file():
        _check(path, file)
        return path
    if file is FILES["vgg"][0] and (others := sorted(folder.glob(KERAS_VGG))):
        raise ModelError(
            f"{others[0]}: is Keras' VGG16; the vgg heads of LPIPS were fitted on torchvision's, whose weights and "
            f"inputs are others; put {file.archive} or {file.name} from {file.address} beside it"
        )
    raise ModelError(
        f"{folder}: holds neither {file.archive} nor {file.name} of LPIPS; download {file.address} into it, or set "
        f"{WEIGHTS_VARIABLE} (or --weights) to the folder that has one of them"
    )


def _check(path: Path, file: Published) -> None:
    """Wrong numbers would go unseen: the heads of v0.0, for one, have the same names and shapes."""
    try:
        same = digest(path) == file.sha256
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if not same:
        raise ModelError(f"{path}: has another SHA-256 than {file.address}; download that file anew")


def _download(*files: Published) -> tuple[Path, ...]:
    try:
        return tuple(
            Path(
                keras.utils.get_file(
                    origin=file.address, file_hash=file.sha256, hash_algorithm="sha256", cache_subdir="lpips"
                )
            )
            for file in files
        )
    except Exception as error:  # whatever the network stack raises; ValueError: another SHA-256
        wanted = " and ".join(f"{file.archive} or {file.address}" for file in files)
        raise ModelError(
            f"the weights of LPIPS cannot be downloaded ({first_line(error)}); put {wanted} into a folder and set "
            f"{WEIGHTS_VARIABLE} (or --weights) to it"
        ) from None


def _convert(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """PyTorch's name and array of a convolution to ours: OIHW -> HWIO, or a head of (1, C, 1, 1) -> (C,)."""
    *layer, kind = name.split(".")
    if layer[0].startswith("lin"):
        return layer[0], array.ravel()
    if kind == "weight":
        return "_".join(layer) + "__kernel", array.transpose(2, 3, 1, 0)
    return "_".join(layer) + "__bias", array
