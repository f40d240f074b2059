"""Where the weights of the face detector YuNet come from: a folder of yours, or OpenCV's zoo, once."""

import http.client
import os
import urllib.request
from pathlib import Path

from keras_fsr.errors import ModelError, first_line
from keras_fsr.files import WEIGHTS_VARIABLE, cache_folder, make_folder, whole_file
from keras_fsr.pretrained import digest

# The file of May 2026 (MIT), 229,738 bytes; it is that of March 2023 for any size of input. The digest is in public
# records of it.
NAME = "face_detection_yunet_2026may.onnx"
ADDRESS = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/" + NAME
SHA256 = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
PATTERNS = (NAME, "face_detection_yunet_*[0-9][a-z][a-z][a-z].onnx", "*yunet*.onnx")
"""What a folder is searched for, in this order: float32 of any year goes before the int8 forms."""

_TIMEOUT = 20  # seconds


def find_yunet() -> Path:
    """YuNet's file, from the folder that KERAS_FSR_WEIGHTS names or, where that is not set, the user's cache.

    It is downloaded into the cache once, and its SHA-256 compared whenever it is taken from there.

    Raises:
        ModelError: none in that folder, no connection, or another file at the address.
        OutputError: the cache cannot be written.
    """
    folder = os.environ.get(WEIGHTS_VARIABLE)
    if not folder:
        return _download()
    for pattern in PATTERNS:
        for file in sorted(Path(folder).glob(pattern), reverse=True):
            return file
    raise ModelError(f"{folder}: holds no weights of YuNet; put {NAME} there, from {ADDRESS}")


def _download() -> Path:
    remedy = f"put {NAME} into a folder and set {WEIGHTS_VARIABLE} (or --weights) to it"
    folder = cache_folder(remedy)
    path = folder / NAME
    if path.is_file() and digest(path) == SHA256:
        return path
    try:
        with urllib.request.urlopen(ADDRESS, timeout=_TIMEOUT) as answer:
            content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(f"YuNet cannot be downloaded from {ADDRESS} ({first_line(error)}); {remedy}") from error
    make_folder(folder)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
        if digest(temporary) != SHA256:
            raise ModelError(f"{ADDRESS}: is no longer the file it was (its SHA-256 differs); {remedy}")
    return path
