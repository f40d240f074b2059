"""Small faces in large photos: how many are found, how much better they get, whether a seam shows.

    python benchmarks/faces.py --data FACES [--weights WEIGHTS] [--split test|val] [--count 40] [--out FILE.json]

FACES has the subfolders `val/512` and `test/512`; thresholds were chosen on the first, figures are of the second.
WEIGHTS has YuNet and LPIPS' squeeze (by default they are downloaded). A photo is a picture of scikit-image that shows
no face, enlarged to 1920x1080, in which one image of a face is blended, reduced to 24 to 96 pixels a side; the face
itself, the box of the set's own detector, has 0.625 of that side. Then come Gaussian noise of 1 to 6 levels and JPEG
of quality 50 to 95. Both splits have scenes of their own.
"""

import argparse
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from keras_fsr.inference.detection import Face, HaarDetector, YuNetDetector
from keras_fsr.inference.faces import FacePredictor

SIDES = (24, 32, 48, 64, 96)  # pixels of a face's image in the photo
SCALE = 4
BOX = 0.625  # of a face in its image, centred
WIDTH, HEIGHT = 1920, 1080
SCENES = {
    "val": ("rocket", "brick", "retina", "chelsea", "grass"),
    "test": ("coffee", "stereo_motorcycle", "hubble_deep_field", "gravel", "immunohistochemistry"),
}
MODELS = ("face_x4", "face_x4_gan", "face_x4_real")
FOUND = 0.4  # intersection over union with the true box from which on a face counts as found
BORDER = 16  # pixels around the pasted image that are composed with it

BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True, eq=False)
class Photo:
    """side: pixels of the pasted image; pixels: (1080, 1920, 3) uint8; face: where it truly is; scene: its name.

    reference: (4 side, 4 side, 3) uint8, what was pasted before it was reduced, at (left, top) of the photo.
    """

    side: int
    pixels: np.ndarray
    face: Face
    scene: str
    reference: np.ndarray
    left: int
    top: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with val/512 and test/512")
    parser.add_argument("--weights", type=Path, help="folder of YuNet and LPIPS")
    parser.add_argument("--split", choices=SCENES, default="test")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.weights:
        from keras_fsr.commands.shared import use_weights

        use_weights(arguments.weights)
    detectors = {"haar": HaarDetector(), "yunet": YuNetDetector()}
    faces = arguments.data / arguments.split / "512"
    rows, lines = measure(photos(faces, arguments.split, arguments.count), detectors), []
    result = {"split": arguments.split, "detectors": {}, "models": {}, "photos": rows}
    for name, detector in detectors.items():
        figures = detection_figures(rows, name) | {"false alarms without faces": false_alarms(detector)}
        result["detectors"][name] = figures
        lines.append(f"{name}: {json.dumps(figures)}")
    for name in ("bicubic", *MODELS):
        result["models"][name] = figures = {detector: model_figures(rows, detector, name) for detector in detectors}
        lines.append(f"{name}: {json.dumps(figures)}")
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def photos(folder: Path, split: str, count: int) -> Iterator[Photo]:
    """Photos with a face each, by size in turn, of the images in a folder; the same ones every time."""
    files = sorted(folder.glob("*.jpg"))
    order = np.random.default_rng(len(files)).permutation(len(files))
    for index in range(count):
        rng = np.random.default_rng([index, len(split)])
        name = SCENES[split][index // len(SIDES) % len(SCENES[split])]
        with Image.open(files[order[index % len(files)]]) as face:
            yield compose(face.convert("RGB"), name, SIDES[index % len(SIDES)], rng)


def compose(face: Image.Image, name: str, side: int, rng: np.random.Generator) -> Photo:
    """A scene with a face's image at a random place, `side` pixels large, then noise and JPEG."""
    pixels = scene(name, rng)
    left, top = (int(rng.integers(BORDER, length - side - BORDER)) for length in (WIDTH, HEIGHT))
    around = np.s_[top - BORDER : top + side + BORDER, left - BORDER : left + side + BORDER]
    inner = np.s_[BORDER * SCALE : -BORDER * SCALE, BORDER * SCALE : -BORDER * SCALE]
    small = Image.fromarray(pixels[around])
    large = np.asarray(small.resize((small.width * SCALE, small.height * SCALE), BICUBIC)).astype(np.float32)
    weight = blend(side * SCALE)
    large[inner] += weight * (np.asarray(face.resize((side * SCALE, side * SCALE), BICUBIC)) - large[inner])
    large = np.rint(large).astype(np.uint8)
    pixels[around] = np.asarray(Image.fromarray(large).resize(small.size, BICUBIC))
    edge = side * (1 - BOX) / 2
    truth = Face(left + edge, top + edge, side * BOX, side * BOX)
    return Photo(side, spoil(pixels, rng), truth, name, large[inner], left, top)


def scene(name: str, rng: np.random.Generator) -> np.ndarray:
    """(1080, 1920, 3) uint8: a random part of a picture of scikit-image, enlarged."""
    image = picture(name)
    factor = max(WIDTH / image.width, HEIGHT / image.height) * rng.uniform(1, 1.4)
    image = image.resize((round(image.width * factor + 1), round(image.height * factor + 1)), BICUBIC)
    left, top = int(rng.integers(image.width - WIDTH + 1)), int(rng.integers(image.height - HEIGHT + 1))
    return np.array(image.crop((left, top, left + WIDTH, top + HEIGHT)))


def picture(name: str) -> Image.Image:
    import skimage.data

    pixels = getattr(skimage.data, name)()
    return Image.fromarray(pixels[0] if isinstance(pixels, tuple) else pixels).convert("RGB")


def blend(side: int) -> np.ndarray:
    """(side, side, 1) float32 weights of the pasted image: a square with round corners that fades at its edge."""
    along = np.abs((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1)
    rest = np.clip((1 - (along[:, None] ** 4 + along[None] ** 4) ** 0.25) / 0.25, 0, 1)
    return (rest * rest * (3 - 2 * rest))[..., None]


def spoil(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = np.float32(rng.uniform(1, 6)) * rng.standard_normal(pixels.shape, np.float32)
    file = io.BytesIO()
    noisy = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(file, "JPEG", quality=int(rng.integers(50, 96)))
    return np.array(Image.open(file).convert("RGB"))


def measure(shown: Iterator[Photo], detectors: dict[str, Callable]) -> list[dict]:
    """A record of each photo: what every detector found, and what every model made of it."""
    from keras_fsr.metrics.lpips import LPIPS

    lpips = LPIPS()
    predictors = {name: FacePredictor(name) for name in MODELS}
    rows = []
    for photo in shown:
        row = {"side": photo.side, "scene": photo.scene}
        for detector, find in detectors.items():
            found = find(photo.pixels)
            hits = [face for face in found if overlap(face, photo.face) >= FOUND]
            row[detector] = {"hit": bool(hits), "false": len(found) - len(hits), "lpips": {}, "seam": {}}
            for name, predictor in ({"bicubic": predictors[MODELS[0]]} | predictors).items():
                enlarged, faces = enlarge(predictor, photo, [] if name == "bicubic" else found)
                row[detector]["lpips"][name] = distance(lpips, photo, enlarged)
                if hits and name != "bicubic":
                    row[detector]["seam"][name] = seam(predictor, enlarged, faces)
            row[detector]["outside"] = outside(predictors["face_x4_real"], photo.pixels, found)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def window(photo: Photo) -> tuple[slice, slice]:
    """The part of a photo that is enlarged for the figures: the pasted image, and as much around it."""
    return tuple(
        slice(max(start - photo.side, 0), start + 2 * photo.side) for start in (photo.top, photo.left)
    )  # beyond the photo's end a slice stops by itself


def enlarge(predictor: FacePredictor, photo: Photo, found: Sequence[Face]) -> tuple[np.ndarray, list[Face]]:
    """The enlarged window, and the faces in it."""
    rows, columns = window(photo)
    pixels = np.ascontiguousarray(photo.pixels[rows, columns])
    faces = [face.placed(1, -columns.start, -rows.start) for face in found if overlap(face, photo.face) > 0]
    return predictor.enlarge(pixels, faces), faces


def distance(lpips: Callable, photo: Photo, enlarged: np.ndarray) -> float:
    """LPIPS of the face's box."""
    rows, columns = window(photo)
    top, left = (photo.top - rows.start) * SCALE, (photo.left - columns.start) * SCALE
    made = enlarged[top : top + photo.side * SCALE, left : left + photo.side * SCALE]
    edge = round(photo.side * SCALE * (1 - BOX) / 2)
    pair = [part[edge:-edge, edge:-edge].astype(np.float32)[None] / 255 for part in (photo.reference, made)]
    return float(np.asarray(lpips(*pair))[0])


def seam(predictor: FacePredictor, enlarged: np.ndarray, faces: Sequence[Face]) -> float:
    """Mean slope across the mask's border over that within, both in the direction away from the face's centre."""
    face = faces[0]
    region = predictor.region(face, (enlarged.shape[0] // SCALE, enlarged.shape[1] // SCALE))
    mask = predictor.mask(face, (enlarged.shape[0] // SCALE, enlarged.shape[1] // SCALE))
    gray = enlarged[region.scaled(SCALE).slices].astype(np.float32).mean(axis=2)
    down, right = np.gradient(gray)
    y = np.arange(gray.shape[0]) - ((face.top + face.height / 2 - region.top) * SCALE - 0.5)
    x = np.arange(gray.shape[1]) - ((face.left + face.width / 2 - region.left) * SCALE - 0.5)
    slope = np.abs(down * y[:, None] + right * x[None]) / np.maximum(np.hypot(y[:, None], x[None]), 1)
    return float(slope[(mask > 0) & (mask < 1)].mean() / slope[mask == 1].mean())


def outside(predictor: FacePredictor, pixels: np.ndarray, found: Sequence[Face]) -> int:
    """The largest difference from the background's enlargement in a whole photo where no mask reaches, in levels."""
    difference = cv2.absdiff(predictor.enlarge(pixels, found), predictor.enlarge(pixels, []))
    for face in found:
        region = predictor.region(face, pixels.shape).scaled(SCALE)
        difference[region.slices][predictor.mask(face, pixels.shape) > 0] = 0
    return int(difference.max())


def overlap(a: Face, b: Face) -> float:
    """Intersection over union."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    shared = max(width, 0) * max(height, 0)
    return shared / (a.width * a.height + b.width * b.height - shared)


def detection_figures(rows: Sequence[dict], detector: str) -> dict:
    hits = sum(row[detector]["hit"] for row in rows)
    alarms = sum(row[detector]["false"] for row in rows)
    by_side = {side: [row[detector]["hit"] for row in rows if row["side"] == side] for side in SIDES}
    return {
        "recall": {side: round(float(np.mean(hit)), 3) for side, hit in by_side.items() if hit},
        "recall from 32": round(float(np.mean([row[detector]["hit"] for row in rows if row["side"] >= 32])), 3),
        "precision": round(hits / max(hits + alarms, 1), 3),
        "false alarms": alarms,
        "outside": max(row[detector]["outside"] for row in rows),
    }


def model_figures(rows: Sequence[dict], detector: str, model: str) -> dict:
    values = [row[detector]["lpips"][model] for row in rows]
    ratio = np.mean(values) / np.mean([row[detector]["lpips"]["bicubic"] for row in rows])
    seams = [row[detector]["seam"][model] for row in rows if model in row[detector]["seam"]]
    figures = {"lpips": round(float(np.mean(values)), 4), "of bicubic": round(float(ratio), 3)}
    return figures | ({"seam mean": round(float(np.mean(seams)), 2), "seam max": max(seams)} if seams else {})


def false_alarms(detector: Callable) -> dict[str, int]:
    """Faces found in scikit-image's pictures that show none, in their own size."""
    return {name: len(detector(np.array(picture(name)))) for names in SCENES.values() for name in names}


if __name__ == "__main__":
    main()
