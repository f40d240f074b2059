"""How near the learned degradation comes to hidden cameras, beside simpler answers.

    python benchmarks/transfer.py --data FACES/val/256 --weights WEIGHTS [--network FILE.keras] --report OUT

Each camera is a random chain of `--preset` that no network has seen; one pair of it is the example, and other people
are degraded as the example was. The truth is what the camera makes of them. Distances to it, on images of 64x64
pixels: PSNR (higher is nearer), LPIPS (SqueezeNet), and the difference of the noise residuals' spectra in dB.

Candidates:
    learned                DegNet's Omega of the example, SynNet, with noise
    learned, expected      the same without noise
    bicubic                Pillow's reduction
    second order           a random draw of real-esrgan
    best single stage      the isotropic blur, resize and JPEG that fit the example best (PSNR), and then the noise
                           that fits it best (residual spectrum), by grid search
    ... without its noise
    same camera again      the true chain with other noise: what no answer can beat on average

Writes OUT/transfer.md, .csv and .jpg: a sheet of the public-domain portrait of scikit-image.
"""

import argparse
import csv
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_fsr.data.degraded import Camera, take_pictures
from keras_fsr.data.folders import list_images
from keras_fsr.degradations import presets
from keras_fsr.degradations.classical import JPEG, Blur, Chain, GaussianNoise, Resize
from keras_fsr.degradations.learned.transfer import NETWORK, fit_degradation
from keras_fsr.errors import FSRError
from keras_fsr.evaluation.choosing import make_lpips
from keras_fsr.evaluation.sheet import contact_sheet
from keras_fsr.files import make_folder, whole_file
from keras_fsr.metrics.noise import residual_distance

SCALE, SIZE = 4, 64
SEED = 20_000_003  # of cameras that neither training nor validation draws
PICTURES = 4  # of each camera: the example and three to degrade
SIGMAS = (0.3, 0.6, 0.9, 1.2, 1.6, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
QUALITIES = (None, 90, 75, 60, 45, 30)
NOISE = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0)
SHEET_CAMERAS = 8
FIGURES = {"psnr": ("PSNR, dB", ".2f"), "lpips": ("LPIPS", ".4f"), "residual": ("residual, dB", ".2f")}
Degrade = Callable[[np.ndarray, int], np.ndarray]
"""HQ image, seed -> LQ image."""


def main() -> int:
    arguments = parse()
    files = list_images(arguments.data)
    preset = presets.load(arguments.preset)
    try:
        rows, sheet = all_rows(preset, files, arguments.network, arguments.cameras, make_lpips(arguments.weights))
        text = report(rows, omega_figures(preset, files, arguments.network), arguments)
        if arguments.report:
            write(arguments.report, text, rows, sheet)
    except FSRError as error:
        print(f"transfer: error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def all_rows(preset, files: list[Path], network: str, cameras: int, lpips: Callable) -> tuple[list[dict], list]:
    """The figures of all cameras, and the rows of the sheet."""
    rows, sheet = [], []
    for index in range(cameras):
        camera = take_pictures(preset, files, index, SCALE, SIZE, PICTURES, SEED)
        candidates = make_candidates(camera, network, index)
        rows += measure(camera, candidates, index, lpips)
        if index < SHEET_CAMERAS:
            sheet.append(portrait_row(camera, candidates, index))
        if sys.stderr.isatty():
            print(f"\r{index + 1} of {cameras} cameras", end="", file=sys.stderr)
    return rows, sheet


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="HQ images of people no network has seen")
    parser.add_argument("--weights", type=Path, required=True, help="folder of LPIPS' weights")
    parser.add_argument("--network", default=NETWORK, help=f"shipped degradation model or .keras file ({NETWORK})")
    parser.add_argument("--preset", default="camera", help="what draws the cameras (camera)")
    parser.add_argument("--cameras", type=int, default=50, help="hidden degradations (50)")
    parser.add_argument("--report", type=Path, help="folder for the table and the sheet")
    return parser.parse_args()


def make_candidates(camera: Camera, network: str, index: int) -> dict[str, Degrade]:
    """What degrades like the camera's first pair, or without looking at it."""
    example = camera.hq[0], camera.lq[0]
    learned = fit_degradation([example], network)
    second_order = presets.load("real-esrgan").draw(np.random.default_rng([SEED + 1, index]), SCALE)
    bicubic = Chain((Resize(1 / SCALE, "antialiased"),))
    reduced, noise, end = best_single_stage(*example)
    return {
        "learned": learned.apply,
        "learned, expected": lambda hq, seed: learned.apply(hq, None),
        "bicubic": lambda hq, seed: bicubic(hq),
        "second order": lambda hq, seed: second_order.reseeded(seed)(hq),
        "best single stage": lambda hq, seed: Chain((*reduced, *noise, *end)).reseeded(seed)(hq),
        "best single stage, without its noise": lambda hq, seed: Chain((*reduced, *end))(hq),
        "same camera again": lambda hq, seed: camera.chain.reseeded(seed)(hq),
    }


def best_single_stage(hq: np.ndarray, lq: np.ndarray) -> tuple[tuple, tuple, tuple]:
    """Steps in three parts: blur and resize, noise, JPEG. The first and last have the highest PSNR without noise; the
    noise is then the nearest in residual."""
    fits = []
    for sigma, mode in itertools.product((None, *SIGMAS), ("area", "bilinear", "bicubic", "antialiased")):
        blur = () if sigma is None else (Blur("iso", 21, sigma, sigma),)
        reduced = (*blur, Resize(1 / SCALE, mode))
        small = Chain(reduced)(hq)
        for quality in QUALITIES:
            end = () if quality is None else (JPEG(quality),)
            fits.append((psnr(Chain(end)(small), lq), (reduced, end)))
    reduced, end = max(fits, key=lambda fit: fit[0])[1]
    noises = [()] + [(GaussianNoise(sigma, gray, 0),) for sigma in NOISE[1:] for gray in (False, True)]
    noise = min(noises, key=lambda noise: residual_distance(Chain((*reduced, *noise, *end))(hq), lq))
    return reduced, noise, end


def measure(camera: Camera, candidates: dict[str, Degrade], index: int, lpips: Callable) -> list[dict]:
    """A row for each candidate and each picture but the example."""
    colour = any(type(step).__name__ == "Colour" for step in camera.chain.steps)
    rows = []
    for picture in range(1, PICTURES):
        for name, degrade in candidates.items():
            made, true = degrade(camera.hq[picture], 1000 * index + picture), camera.lq[picture]
            figures = {
                "psnr": psnr(made, true),
                "lpips": lpips(true, made),
                "residual": residual_distance(made, true),
            }
            rows.append({"camera": index, "colour": colour, "picture": picture, "candidate": name} | figures)
    return rows


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    """In dB over RGB; 80 where they are equal, which a mean can bear."""
    error = np.square(image.astype(np.float64) - other).mean()
    return min(10 * np.log10(255**2 / error), 80.0) if error else 80.0


def omega_figures(preset, files: list[Path], network: str, cameras: int = 200) -> dict[str, float]:
    """How well Omega tells same from different degradation, over as many pairs of either."""
    omegas = np.stack(
        [
            fit_degradation(list(zip(camera.hq, camera.lq, strict=True)), network).omegas
            for camera in (take_pictures(preset, files, i, SCALE, SIZE, 2, SEED + 2) for i in range(cameras))
        ]
    )
    same = np.abs(omegas[:, 0] - omegas[:, 1]).mean(axis=-1)
    other = np.abs(omegas[:, 0] - np.roll(omegas[:, 1], 1, axis=0)).mean(axis=-1)
    return {
        "auc": float(np.mean(same[:, None] < other[None, :])),
        "same": float(same.mean()),
        "other": float(other.mean()),
        "pairs": cameras,
    }


def report(rows: list[dict], omega: dict[str, float], arguments: argparse.Namespace) -> str:
    """The table as Markdown: all cameras, and those that leave the colours alone."""
    names = list(dict.fromkeys(row["candidate"] for row in rows))
    groups = {"all cameras": rows, "cameras that change no colours": [row for row in rows if not row["colour"]]}
    lines = ["# The learned degradation on hidden cameras", ""]
    for title, group in groups.items():
        count = len({row["camera"] for row in group})
        lines += [f"## {title[0].upper() + title[1:]} ({count})", ""]
        lines.append(
            "| | "
            + " | ".join(head for head, _ in FIGURES.values())
            + " | learned is nearer (PSNR, LPIPS, residual) |"
        )
        lines.append("| --- |" + " --- |" * (len(FIGURES) + 1))
        for name in names:
            cells = [format(mean(group, name, key), form) for key, (_, form) in FIGURES.items()]
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {wins(group, name)} |")
        lines.append("")
    return "\n".join(
        [
            *lines,
            f"Distances to what the camera makes of {PICTURES - 1} other people each; the last column is the share "
            "of the cameras where `learned` is nearer than the row, by the mean of its pictures.",
            "",
            f"Omega: of {omega['pairs']} pairs of one degradation and as many of two, the same are nearer with a "
            f"probability (AUC) of {omega['auc']:.3f}; mean distance {omega['same']:.3f} and {omega['other']:.3f}: "
            f"other content moves Omega {omega['same'] / omega['other']:.0%} as far as another degradation does.",
            "",
            f"`python benchmarks/transfer.py --data FACES/val/256 --weights WEIGHTS --preset {arguments.preset} "
            f"--cameras {arguments.cameras}`",
        ]
    )


def mean(rows: list[dict], name: str, key: str) -> float:
    return float(np.mean([row[key] for row in rows if row["candidate"] == name]))


def wins(rows: list[dict], name: str) -> str:
    """Shares of the cameras where the learned degradation is nearer than a candidate."""
    if name == "learned":
        return ""
    cameras = sorted({row["camera"] for row in rows})
    shares = []
    for key in FIGURES:
        sign = 1 if key == "psnr" else -1
        ahead = [
            sign * (mean(of(rows, camera), "learned", key) - mean(of(rows, camera), name, key)) > 0
            for camera in cameras
        ]
        shares.append(f"{np.mean(ahead):.0%}")
    return ", ".join(shares)


def of(rows: list[dict], camera: int) -> list[dict]:
    return [row for row in rows if row["camera"] == camera]


def portrait_row(camera: Camera, candidates: dict[str, Degrade], index: int) -> tuple[str, list[np.ndarray]]:
    """The public-domain portrait as the camera takes it and as the candidates say it does."""
    from skimage.data import astronaut

    hq = np.ascontiguousarray(astronaut()[0:256, 96:352])
    shown = ("learned", "bicubic", "best single stage")
    return "", [hq, camera.chain(hq), *(candidates[name](hq, index) for name in shown)]


def write(folder: Path, text: str, rows: list[dict], sheet: list) -> None:
    make_folder(folder)
    with whole_file(folder / "transfer.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    with whole_file(folder / "transfer.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    heads = ["HQ", "true LQ", "learned", "bicubic", "best single stage"]
    image = contact_sheet(sheet, heads, None, 160)
    with whole_file(folder / "transfer.jpg") as temporary:
        image.save(temporary, quality=85)


if __name__ == "__main__":
    sys.exit(main())
