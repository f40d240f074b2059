"""What is fuzzed: for each kind of input its seeds, how it is damaged, and what the package is asked to do with it.

A target is given a file and an empty folder. It does its work, writes into that folder alone, and returns; or it
refuses by an error of `REFUSALS`. Whatever else happens is a fault of the package.
"""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import corpus
import mutate
import numpy as np
from PIL import Image

from keras_fsr.data.folders import FORMATS
from keras_fsr.inference import folder_runs

REFUSALS = folder_runs.CONTINUABLE
SCALE = 2  # of the stand-in


class Target(NamedTuple):
    """share: of 1000 inputs. seeds: name -> content. feed: (file, output folder) -> nothing, or a refusal."""

    share: int
    seeds: Callable[[], Mapping[str, bytes]]
    mutate: mutate.Mutator
    feed: Callable[[Path, Path], None]


class Repeat:
    """A network that repeats pixels: what is fuzzed lies around it."""

    scale, size, takes_bytes, threads = SCALE, None, False, 2

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image.repeat(SCALE, 0).repeat(SCALE, 1)

    def copies(self, most: int) -> list["Repeat"]:
        return [self]


@functools.cache
def stand_in():
    """A Predictor of `Repeat`."""
    from keras_fsr.inference import predictor

    with patch.object(predictor, "load_engine", lambda path, threads: Repeat()):
        return predictor.Predictor("face_x4_edge")


@functools.cache
def real():
    from keras_fsr.inference.predictor import Predictor

    return Predictor("face_x4_edge", threads=1)


def whole_image(path: Path) -> tuple[int, int]:
    """Width and height of an image that another reader can read to its end."""
    with patch.object(Image, "MAX_IMAGE_PIXELS", None), Image.open(path) as image:  # a result may be that large
        image.load()
        return image.size


def check_result(source: Path, result: Path, scale: int) -> None:
    """AssertionError unless a result is whole and as much larger than its source as it should be."""
    from keras_fsr.inference.images import read_image

    picture = read_image(source)
    assert whole_image(result) == (picture.width * scale, picture.height * scale), f"{result} is not whole"


def feed_image(path: Path, out: Path) -> None:
    """File to file, into the format that the name asks for."""
    stand_in().predict(path, out / path.name)
    check_result(path, out / path.name, SCALE)


def feed_real(path: Path, out: Path) -> None:
    real().predict(path, out / path.name)
    check_result(path, out / path.name, 4)


def feed_other_format(path: Path, out: Path) -> None:
    """Into each of the formats that results may have; metadata must fit all of them."""
    from keras_fsr.inference.images import read_image, write_image

    picture = read_image(path)
    for name in ("a.png", "a.jpg", "a.webp", "a.tif", "a.bmp"):
        if not (picture.transparent and name in ("a.jpg", "a.bmp")):
            write_image(out / name, picture)
            assert whole_image(out / name) == (picture.width, picture.height), f"{name} is not whole"


def feed_folder(path: Path, out: Path) -> None:
    """A folder of the file under several names, links and a pipe among them."""
    source = path.parent / "folder"
    sub = source / "x.png"
    sub.mkdir(parents=True)
    try:
        for name in (path.name, "é\u202e" * 20 + ".png", "line\nbreak.png"):
            shutil.copy(path, source / name)
        shutil.copy(path, sub / "again.webp")
        (source / "loop.png").symlink_to("loop.png")
        (sub / "up").symlink_to("..")
        os.mkfifo(source / "pipe.png")
        report = folder_runs.upscale_folder(stand_in(), source, out)
        assert len(report.written) + len(report.failed) == 4 + (path.suffix in FORMATS), report
        for result in report.written:
            check_result(source / result.relative_to(out), result, SCALE)
        for _, reason in report.failed:
            assert len(reason.splitlines()) == 1, reason
    finally:
        shutil.rmtree(source)


def feed_training(path: Path, out: Path) -> None:
    """Header and pixels, as a training reads them."""
    from keras_fsr.data.folders import image_size
    from keras_fsr.data.loading import decode

    size, pixels = image_size(path), decode(path)
    # A PNG may tell behind its pixels, which a look at its header does not reach, that it lies on its side.
    assert sorted(pixels.shape) == sorted((*size, 3)), path


def feed_evaluation(path: Path, out: Path) -> None:
    from keras_fsr.evaluation.protocol import load_pair

    load_pair(path, SCALE)


def feed_engine(path: Path, out: Path) -> None:
    """A model file that is loaded and, where it can be, run."""
    from keras_fsr.inference.engines import load_engine

    engine = load_engine(path, threads=1)
    image = np.zeros((*(engine.size or (13, 9)), 3), np.float32)
    assert engine(image).shape == (image.shape[0] * engine.scale, image.shape[1] * engine.scale, 3)


def feed_recipe(path: Path, out: Path) -> None:
    from keras_fsr.training.recipes import load_recipe, save_recipe

    recipe = load_recipe(path)
    assert (out / f"{recipe.name}.keras").parent == out, recipe.name
    save_recipe(recipe, out / "recipe.yaml")
    load_recipe(out / "recipe.yaml")


def feed_checkpoint(path: Path, out: Path) -> None:
    """One file of a run's saved state is the damaged one; the others are whole."""
    from keras_fsr.training import run

    state = path.parent / "state"
    state.mkdir()
    try:
        for name, content in checkpoint_files().items():
            (state / name).write_bytes(content)
        shutil.copy(path, state)
        run.restore(checkpoint(), path.parent)
    finally:
        shutil.rmtree(state)


@functools.cache
def trainer():
    from keras_fsr.training.building import build_trainer
    from keras_fsr.training.recipes import GeneratorRecipe, Recipe

    return build_trainer(Recipe("tiny", 2, GeneratorRecipe("edge", {"num_features": 4, "num_blocks": 1})))


def checkpoint():
    import tensorflow as tf

    from keras_fsr.training import run

    return tf.train.Checkpoint(**run.everything(trainer()))


@functools.cache
def checkpoint_files() -> Mapping[str, bytes]:
    """The files of a run's saved state, by name."""
    from keras_fsr.training import run

    with tempfile.TemporaryDirectory() as folder:
        run.restore(checkpoint(), Path(folder)).save()
        return {path.name: path.read_bytes() for path in sorted(Path(folder, "state").iterdir())}


def feed_bulk(path: Path, out: Path) -> None:
    """A shard, a Parquet file or a list, chunk by chunk as a worker does them."""
    from keras_fsr.inference import bulk_manifest
    from keras_fsr.inference.bulk_sources import find_source

    for name in ("a.png", "sub/b.png"):
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).write_bytes(corpus.images()["gray.png"])
    try:
        source, count = find_source(path, out), 0
        for chunk in source.chunks():
            rows = upscaled(chunk, out)
            bulk_manifest.add(out / "manifest.csv", rows)
            assert not [row for row in rows if len(row.error.splitlines()) > 1 or "Traceback" in row.error], rows
            for row in rows:
                assert row.error or (not Path(row.output).is_absolute() and ".." not in Path(row.output).parts), row
            count += len(rows)
        assert len(list(bulk_manifest.read(out / "manifest.csv"))) == count
    finally:
        (path.parent / "a.png").unlink()
        shutil.rmtree(path.parent / "sub")


def upscaled(chunk, out: Path) -> list:
    from keras_fsr.inference import bulk_worker

    with patch.object(bulk_worker, "load", lambda settings: stand_in()):
        return bulk_worker.upscale_chunk(bulk_worker.Settings(), chunk, str(out))


def feed_manifest(path: Path, out: Path) -> None:
    """The manifest of a former run."""
    from keras_fsr.inference import bulk_manifest

    shutil.copy(path, out / path.name)
    bulk_manifest.settle(out / path.name)
    bulk_manifest.add(out / path.name, [])


def feed_ratings(path: Path, out: Path) -> None:
    from keras_fsr.evaluation.ratings import show

    show([path], out / "table.csv")


def feed_records(path: Path, out: Path) -> None:
    """Records of degradations, replayed on a folder with the image that they name."""
    from keras_fsr.data.degraded_folder import replay_folder

    source = path.parent / "originals"
    source.mkdir()
    try:
        (source / "a.png").write_bytes(corpus.images()["rgb.png"])
        report = replay_folder(source, out, path)
        assert all(len(reason.splitlines()) == 1 for _, reason in report.failed), report
    finally:
        shutil.rmtree(source)


def feed_camera(path: Path, out: Path) -> None:
    from keras_fsr.degradations import presets

    camera = presets.load(path)
    image = np.resize(corpus.drawn(), (max(camera.scale, 29), max(camera.scale, 22), 3))
    camera.draw(np.random.default_rng(0), camera.scale)(image)


def feed_preset(path: Path, out: Path) -> None:
    from keras_fsr.degradations import presets

    presets.load(path).draw(np.random.default_rng(0), 4)(corpus.drawn())


def feed_video(path: Path, out: Path) -> None:
    folder_runs.upscale_file(stand_in(), path, out / path.name)


def preset_files() -> Mapping[str, bytes]:
    from keras_fsr.degradations import presets

    return {f"{name}.yaml": (presets.FOLDER / f"{name}.yaml").read_bytes() for name in presets.names()}


def recipe_files() -> Mapping[str, bytes]:
    return {name: content.encode() for name, content in corpus.RECIPES.items()}


@functools.cache
def videos() -> Mapping[str, bytes]:
    """Eight frames in MPEG-4, by OpenCV."""
    import cv2

    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.mp4", "a.avi"):
            writer = cv2.VideoWriter(f"{folder}/{name}", cv2.VideoWriter.fourcc(*"mp4v"), 25, (32, 24))
            for shift in range(8):
                writer.write(np.ascontiguousarray(np.roll(corpus.portrait(), shift, 1)[:24, :16].repeat(2, 1)))
            writer.release()
            files[name] = Path(folder, name).read_bytes()
    return files


TARGETS = {
    "image to image": Target(474, corpus.images, mutate.image, feed_image),
    "image to all formats": Target(120, corpus.images, mutate.image, feed_other_format),
    "image, face_x4_edge": Target(10, corpus.images, mutate.image, feed_real),
    "folder": Target(30, corpus.images, mutate.image, feed_folder),
    "image in training": Target(60, corpus.images, mutate.image, feed_training),
    "image in evaluation": Target(40, corpus.images, mutate.image, feed_evaluation),
    ".tflite": Target(60, lambda: {"a.tflite": corpus.shipped("face_x4_edge.tflite")}, mutate.tflite, feed_engine),
    ".keras": Target(20, corpus.keras_models, mutate.zipped, feed_engine),
    "recipe": Target(50, recipe_files, mutate.text, feed_recipe),
    "preset": Target(20, preset_files, mutate.text, feed_preset),
    "checkpoint": Target(10, checkpoint_files, mutate.damaged, feed_checkpoint),
    ".tar": Target(30, corpus.shards, mutate.shard, feed_bulk),
    ".parquet": Target(10, corpus.parquets, mutate.damaged, feed_bulk),
    "list": Target(8, lambda: {"a.txt": b"a.png\nsub/b.png\n"}, mutate.text, feed_bulk),
    "manifest": Target(6, corpus.manifests, mutate.text, feed_manifest),
    "ratings": Target(20, corpus.ratings, mutate.json_values, feed_ratings),
    "records": Target(20, corpus.records, mutate.json_values, feed_records),
    "camera": Target(10, corpus.cameras, mutate.zipped, feed_camera),
    "video": Target(2, videos, mutate.damaged, feed_video),
}
