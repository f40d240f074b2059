"""Outputs of other people's x4 models, as PNG files that `keras-fsr evaluate --results NAME=DIR` measures.

    python3 -m venv peers-venv
    peers-venv/bin/pip install "opencv-contrib-python-headless==4.12.*" ncnn numpy pillow
    PYTHONPATH=. peers-venv/bin/python benchmarks/peers.py --peers ../shared/peers --data FACES --out OUT

In a virtual environment of its own: OpenCV's contrib wheel and the one this project installs are both `cv2`.
The models are read from --peers (README.md there): ESPCN_x4.pb, FSRCNN_x4.pb, LapSRN_x4.pb,
upscayl-lite-4x.param and .bin. A peer whose files are missing is left out, saying so. The LR is the
protocol's, or that of --lr-data.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from keras_fsr.data.folders import pair_images
from keras_fsr.errors import FSRError, ModelError
from keras_fsr.evaluation.protocol import Upscaler, load_rgb, reduce_image, upscale_checked
from keras_fsr.files import make_folder, whole_file

SCALE = 4
REMEDY = 'pip install "opencv-contrib-python-headless==4.12.*" ncnn numpy pillow, in a virtual environment of its own'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' model files")
    parser.add_argument("--data", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets a folder of images for each peer")
    parser.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="some of the peers")
    arguments = parser.parse_args()
    try:
        for name in arguments.only:
            run(name, arguments.peers, arguments.data, arguments.out / name, arguments.lr_data)
    except FSRError as error:
        print(f"peers: error: {error}", file=sys.stderr)
        return 2
    return 0


def run(name: str, peers: Path, data: Path, out: Path, lr_data: Path | None = None) -> None:
    """Enlarges the LR images of a folder by one peer; a peer without its files is left out."""
    files, load = PEERS[name]
    missing = [file for file in files if not (peers / file).is_file()]
    if missing:
        print(f"{name}: left out, {peers} has no {', '.join(missing)}")
        return
    upscaler = load(*(peers / file for file in files))
    pairs = pair_images(data, lr_data)
    for pair in pairs:
        lr = load_rgb(pair.lr) if pair.lr else reduce_image(load_rgb(pair.hr), SCALE)
        sr = upscale_checked(name, upscaler, lr, SCALE)
        target = out / pair.hr.relative_to(data).with_suffix(".png")
        make_folder(target.parent)
        with whole_file(target) as temporary:
            Image.fromarray(sr).save(temporary)
    print(f"{name}: {len(pairs)} images in {out}")


def opencv(algorithm: str) -> Callable[[Path], Upscaler]:
    """A model of OpenCV's `dnn_superres`, which takes and gives BGR and enlarges the chroma by bicubic."""

    def load(path: Path) -> Upscaler:
        import cv2

        if not hasattr(cv2, "dnn_superres"):
            raise ModelError(f"this OpenCV ({cv2.__version__}) has no dnn_superres; {REMEDY}")
        network = cv2.dnn_superres.DnnSuperResImpl_create()
        network.readModel(str(path))
        network.setModel(algorithm, SCALE)
        return lambda lr: np.ascontiguousarray(network.upsample(np.ascontiguousarray(lr[..., ::-1]))[..., ::-1])

    return load


def ncnn_network(param: Path, weights: Path) -> Upscaler:
    """A network of the ncnn framework with input `data` and output `output`, RGB in 0..1."""
    try:
        import ncnn
    except ModuleNotFoundError as error:
        raise ModelError(f"ncnn is not installed; {REMEDY}") from error

    network = ncnn.Net()
    network.opt.num_threads = 2
    if network.load_param(str(param)) or network.load_model(str(weights)):
        raise ModelError(f"{param}: ncnn cannot load it; fetch the file anew")

    def upscale(lr: np.ndarray) -> np.ndarray:
        extractor = network.create_extractor()
        planes = np.ascontiguousarray(lr.transpose(2, 0, 1), np.float32) / 255.0
        extractor.input("data", ncnn.Mat(planes).clone())  # without a copy the Mat outlives the array it points to
        _, output = extractor.extract("output")
        return np.rint(np.array(output).transpose(1, 2, 0).clip(0.0, 1.0) * 255.0).astype(np.uint8)

    return upscale


PEERS = {
    "ESPCN": (["ESPCN_x4.pb"], opencv("espcn")),
    "FSRCNN": (["FSRCNN_x4.pb"], opencv("fsrcnn")),
    "LapSRN": (["LapSRN_x4.pb"], opencv("lapsrn")),
    "Upscayl-Lite": (["upscayl-lite-4x.param", "upscayl-lite-4x.bin"], ncnn_network),
}
"""Name -> its files and what makes an upscaler of them."""


if __name__ == "__main__":
    sys.exit(main())
