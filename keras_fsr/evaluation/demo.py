"""The demonstration: a portrait reduced by 4, enlarged again, and what that did to it."""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_fsr.evaluation import protocol, sheet
from keras_fsr.files import make_folder, whole_file
from keras_fsr.metrics.fidelity import fidelity

SCALE = 4
FACE = np.s_[0:256, 96:352]  # head and shoulders in scikit-image's 512x512 astronaut (NASA, public domain)


def run(upscale: protocol.Upscaler, name: str, folder: Path) -> None:
    """Writes input.png, output.png and sheet.png into a folder and prints PSNR and SSIM beside bicubic's.

    Raises:
        OutputError: the folder cannot be written.
        ModelError: the model does not enlarge by 4.
    """
    from skimage.data import astronaut  # comes with the extra `demo`

    original = np.ascontiguousarray(astronaut()[FACE])
    reduced = protocol.reduce_image(original, SCALE)
    methods = {"bicubic": protocol.baselines(SCALE)["bicubic"], name: upscale}
    results = {label: protocol.upscale_checked(label, method, reduced, SCALE) for label, method in methods.items()}
    figures = {label: fidelity(image, original, SCALE) for label, image in results.items()}
    make_folder(folder)
    for file, image in (("input.png", reduced), ("output.png", results[name])):
        with whole_file(folder / file) as temporary:
            Image.fromarray(image).save(temporary)
    captions = [
        "64x64",
        *(f"{f['psnr_y']:.2f} dB, SSIM {f['ssim_y']:.3f}" for f in figures.values()),
        "256x256",
    ]
    sheet.contact_sheet(
        [(captions, [reduced, *results.values(), original])],
        ["input", *results, "original"],
        folder / "sheet.png",
    )
    print(protocol.format_table(figures))
    print(f"written: {folder}/sheet.png (before, bicubic, {name}, original), input.png, output.png")
