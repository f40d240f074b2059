"""What NIQE compares with: the features of pristine photographs, read from a file or folder, or downloaded."""

import hashlib
import http.client
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_fsr.archives import load_npz
from keras_fsr.errors import ModelError, first_line
from keras_fsr.files import WEIGHTS_VARIABLE, cache_folder, make_folder, whole_file

FEATURES = 36

# The authors' modelparameters.mat has no address of its own; this is BasicSR's copy of its two arrays. The digest is
# that of the file in the basicsr 1.4.2 and mmagic 1.2.0 of the Python Package Index.
ADDRESS = "https://raw.githubusercontent.com/XPixelGroup/BasicSR/v1.4.2/basicsr/metrics/niqe_pris_params.npz"
DIGEST = "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296"  # SHA-256
NAMES = ("niqe_pris_params.npz", "modelparameters.mat", "niqe_modelparameters.mat")
"""What a folder is searched for: the published prior by BasicSR's, the authors' and pyiqa's name."""

_TIMEOUT = 20  # seconds


@dataclass(frozen=True, eq=False)
class Prior:
    """Mean (36,) and covariance (36, 36) of the features of pristine photographs.

    Raises:
        ValueError: other shapes, or a covariance that cannot be one.
    """

    mean: np.ndarray
    covariance: np.ndarray

    def __post_init__(self):
        if self.mean.shape != (FEATURES,) or self.covariance.shape != (FEATURES, FEATURES):
            raise ValueError(f"shapes {self.mean.shape} and {self.covariance.shape}, not (36,) and (36, 36)")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("values that are not finite")
        variances = np.linalg.eigvalsh(self.covariance)
        if not np.allclose(self.covariance, self.covariance.T) or variances[0] <= 1e-12 * variances[-1]:
            raise ValueError("a covariance that is not symmetric and positive definite")

    def save(self, path: Path | str) -> None:
        """Writes an `.npz` with the names and shapes of the published one.

        Raises:
            OutputError: the operating system refuses.
        """
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, mu_pris_param=self.mean[None], cov_pris_param=self.covariance)


def load_prior(path: Path | str | None = None) -> Prior:
    """A prior from a file, or the published one from a folder (`NAMES`).

    Args:
        path: file or folder. None takes the folder named by the environment variable KERAS_FSR_WEIGHTS or, where that
            is not set, downloads the published prior into the user's cache.

    Raises:
        ModelError: no such file, no parameters of NIQE in it, or no connection.
        ModuleNotFoundError: a `.mat` file and no SciPy.
    """
    path = path or os.environ.get(WEIGHTS_VARIABLE)
    return read_prior(find_prior(Path(path)) if path else download_prior())


def find_prior(path: Path) -> Path:
    """The file itself, or the first of `NAMES` in a folder.

    Raises:
        ModelError: there is none.
    """
    for file in (path, *(path / name for name in NAMES)):
        if file.is_file():
            return file
    raise ModelError(f"{path}: holds no parameters of NIQE; put {NAMES[0]} there, from {ADDRESS}")


def download_prior() -> Path:
    """The published prior in the user's cache, put there unless it is there already.

    Raises:
        ModelError: no connection, or another file at the address.
        OutputError: the cache cannot be written.
    """
    remedy = f"put {NAMES[0]} into a folder and set {WEIGHTS_VARIABLE} to it"
    folder = cache_folder(remedy)
    path = folder / NAMES[0]
    if path.is_file() and is_published(path.read_bytes()):
        return path
    try:
        with urllib.request.urlopen(ADDRESS, timeout=_TIMEOUT) as answer:
            content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(
            f"NIQE's parameters cannot be downloaded from {ADDRESS} ({first_line(error)}); {remedy}"
        ) from error
    if not is_published(content):
        raise ModelError(f"{ADDRESS}: is no longer the file it was (its SHA-256 differs); {remedy}")
    make_folder(folder)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return path


def is_published(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == DIGEST


def read_prior(path: Path) -> Prior:
    """A prior from an `.npz` of BasicSR or `Prior.save`, or the authors' `.mat`.

    Raises:
        ModelError: it is neither.
        ModuleNotFoundError: a `.mat` file and no SciPy.
    """
    try:
        if path.suffix == ".mat":
            from scipy.io import loadmat

            arrays = loadmat(path)
            mean, covariance = arrays["mu_prisparam"], arrays["cov_prisparam"]
        else:
            with load_npz(path) as arrays:
                mean, covariance = arrays["mu_pris_param"], arrays["cov_pris_param"]
        return Prior(mean.astype(np.float64).reshape(-1), covariance.astype(np.float64))
    except ModuleNotFoundError:
        raise
    except Exception as error:  # zip, NumPy and SciPy each raise their own
        raise ModelError(f"{path}: holds no parameters of NIQE ({first_line(error)}); fetch it anew") from error
