"""The seeds of the fuzzing: small files of every kind that the package reads, whole and right, made when needed."""

import functools
import io
import json
import math
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin
from skimage.data import astronaut

SIDES = 29, 22  # height and width in pixels of most seeds: odd and unequal

RECIPES = {
    "plain.yaml": "name: mine\nscale: 2\n",
    "full.yaml": (
        "name: mine\nscale: 4\ngenerator: {name: rrdb, options: {filters: 8, blocks: 1}}\n"
        "data: {batch_size: 4, patch_size: 16, hr_scales: [0.5, 0.75], flip: 0.5}\n"
        "degradation: {presets: {camera: 1.0, real_esrgan: 2}, copies: 0}\n"
        "training: {steps: 1000, steps_per_epoch: 100, learning_rate: 1.0e-3, seed: 3}\n"
        "perceptual: {taps: {block3_conv3: 1.0}, weight: 0.5}\n"
        "adversarial: {discriminator: unet, options: {filters: 8}, warmup_steps: 10}\n"
        "budget: {training.steps: 100, data.batch_size: 2}\n"
    ),
    "transfer.yaml": "name: cameras\nhidden: {cameras: 4, size: 16}\nnetworks: {size: 8}\nomega: {margin: 0.5}\n",
}


@functools.cache
def portrait() -> np.ndarray:
    """(29, 22, 3) uint8: a face."""
    return np.asarray(Image.fromarray(astronaut()[:256, 96:352]).resize(SIDES[::-1]))


def drawn(dtype=np.uint8, channels: int = 3) -> np.ndarray:
    """(29, 22, channels): a ramp with noise over the whole range."""
    ramp = np.linspace(0, 1, math.prod(SIDES) * channels).reshape(*SIDES, channels)
    levels = np.random.default_rng(5).normal(ramp, 0.1).clip(0, 1) * np.iinfo(dtype).max
    return levels.astype(dtype)


def icc_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block() -> Image.Exif:
    """Strings, numbers, a GPS folder, and an orientation on its side."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0110], exif[0x0112], exif[0x011A] = "a portrait", "camera", 6, 72.0
    exif.get_ifd(0x8769)[0x829A] = 0.01  # exposure time
    exif.get_ifd(0x8769)[0xA002] = SIDES[1]
    exif.get_ifd(0x8825)[2] = (51.0, 30.0, 0.5)  # latitude
    return exif


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@functools.cache
def images() -> Mapping[str, bytes]:
    """File name -> content, of the formats and kinds of pixel that are read, and of some that are refused."""
    rgb, frames = Image.fromarray(portrait()), [Image.fromarray(drawn())] * 2
    rgba = Image.fromarray(drawn(channels=4))
    gray, bits = rgb.convert("L"), rgb.convert("1")
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a portrait " * 30, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>", zip=True)
    told = {"exif": exif_block(), "icc_profile": icc_profile()}
    files = {
        "rgb.png": saved(rgb, "PNG", pnginfo=text, **told),
        "rgba.png": saved(rgba, "PNG"),
        "gray.png": saved(gray, "PNG", transparency=7),
        "bits.png": saved(bits, "PNG"),
        "palette.png": saved(rgb.quantize(16), "PNG", transparency=bytes(range(0, 160, 10))),
        "animated.png": saved(rgb, "PNG", save_all=True, append_images=frames),
        "deep.png": cv2.imencode(".png", drawn(np.uint16))[1].tobytes(),
        "deep_gray.png": saved(Image.fromarray(drawn(np.uint16)[..., 0]), "PNG"),
        "rgb.jpg": saved(rgb, "JPEG", **told),
        "gray.jpg": saved(gray, "JPEG"),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG", quality=70),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True, restart_marker_blocks=2),
        "lossy.webp": saved(rgb, "WEBP", quality=60, **told),
        "lossless.webp": saved(rgba, "WEBP", lossless=True),
        "animated.webp": saved(rgb, "WEBP", save_all=True, append_images=frames),
        "rgb.bmp": saved(rgb, "BMP"),
        "palette.bmp": saved(rgb.quantize(16), "BMP"),
        "bits.bmp": saved(bits, "BMP"),
        "palette.gif": saved(rgb, "GIF"),
        "animated.gif": saved(rgb, "GIF", save_all=True, append_images=frames),
        "wrong.png": saved(rgb, "JPEG"),
        "wrong.jpg": saved(rgb, "TIFF"),
    }
    return files | tiffs(rgb, gray, bits, told)


def tiffs(rgb: Image.Image, gray: Image.Image, bits: Image.Image, told: dict) -> dict[str, bytes]:
    deep = cv2.imencode(".tiff", drawn(np.uint16))[1].tobytes()
    return {
        "rgb.tif": saved(rgb, "TIFF", **told),
        "lzw.tif": saved(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tif": saved(Image.fromarray(drawn(channels=4)), "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": saved(rgb, "TIFF", compression="jpeg"),
        "bits.tif": saved(bits, "TIFF", compression="group4"),
        "gray.tif": saved(gray, "TIFF", compression="packbits"),
        "cmyk.tif": saved(rgb.convert("CMYK"), "TIFF"),
        "lab.tif": saved(ImageCms.profileToProfile(rgb, *lab_profiles(), outputMode="LAB"), "TIFF"),
        "float.tif": saved(Image.fromarray(drawn()[..., 0].astype(np.float32)), "TIFF"),
        "planar.tif": tiff(drawn().transpose(2, 0, 1), planarconfig="separate"),
        "tiled.tif": tiff(drawn(), tile=(16, 16)),
        "big.tif": tiff(drawn(), bigtiff=True),
        "pages.tif": saved(rgb, "TIFF", save_all=True, append_images=[gray]),
        "deep.tif": deep,
        "deep_gray.tif": saved(Image.fromarray(drawn(np.uint16)[..., 0]), "TIFF"),
    }


def tiff(pixels: np.ndarray, **options) -> bytes:
    """A TIFF of kinds that Pillow does not write."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", **options)
    return file.getvalue()


def lab_profiles() -> tuple:
    return ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")


@functools.cache
def shards() -> Mapping[str, bytes]:
    """WebDataset shards in the three dialects of tar."""
    members = {"a.png": images()["rgba.png"], "a.json": b"{}", "sub/b.jpg": images()["gray.jpg"], "c.txt": b"c"}
    return {f"{form}.tar": tar_file(members, form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, 2)}


def tar_file(members: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return file.getvalue()


@functools.cache
def parquets() -> Mapping[str, bytes]:
    """Encoded images, records with them, and paths."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = images()["rgba.png"]
    columns = {
        "bytes.parquet": pa.array([content, content]),
        "records.parquet": pa.array([{"bytes": content, "path": "a"}, {"bytes": None, "path": "b"}]),
        "paths.parquet": pa.array(["a.png", "sub/b.png"]),
    }
    files = {}
    for name, column in columns.items():
        file = io.BytesIO()
        pq.write_table(pa.table({"image": column}), file)
        files[name] = file.getvalue()
    return files


def manifests() -> Mapping[str, bytes]:
    """What a bulk run has done, in CSV and JSON lines."""
    from keras_fsr.inference import bulk_manifest
    from keras_fsr.inference.bulk_worker import Row

    rows = [Row("/in/a.png", "a.png", "m:0", "0" * 64, 9.5, ""), Row("/in/b.png", "", "m:0", "", 1.0, "is bad")]
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("manifest.csv", "manifest.jsonl"):
            bulk_manifest.add(Path(folder, name), rows)
            files[name] = Path(folder, name).read_bytes()
    return files


def ratings() -> Mapping[str, bytes]:
    """What the page of a study of opinion saves."""
    trials = [
        {"image": "a.png", "model": model, "left": "reference", "reference": 80, "processed": 60, "milliseconds": 9}
        for model in ("bicubic", "mine", None)
    ]
    session = {
        "version": 1,
        "study": "faces",
        "observer": "one",
        "notes": "",
        "seed": 3,
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:05+00:00",
        "window": {"width": 800, "height": 600, "pixel_ratio": 1, "zoom": 1},
        "planned": len(trials),
        "trials": trials,
    }
    return {"one.json": json.dumps(session, indent=1).encode()}


def records() -> Mapping[str, bytes]:
    """How images were degraded: a step of every kind."""
    from keras_fsr.degradations.classical import (
        JPEG,
        Blur,
        Chain,
        Colour,
        Decimate,
        GaussianNoise,
        PoissonNoise,
        Resize,
        Sinc,
    )

    steps = (Blur("iso", 7, 1.0, 1.0), Sinc(7, 2.0), GaussianNoise(5.0, True, 3), PoissonNoise(1.0, False, 4))
    steps += (Resize(0.75, "area"), Colour(), JPEG(70), Resize(0.5, "antialiased"))
    whole = {"model": "x", "scale": 2, "seed": 0}
    lines = [
        {"file": "a.png", "lr": "a.png", **whole, "steps": Chain(steps).to_json()},
        {"file": "a.png", "lr": "b.png", **whole, "steps": Chain((Decimate(2, 0.7),)).to_json()},
    ]
    return {"degradations.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode()}


def cameras() -> Mapping[str, bytes]:
    """A learned degradation's `.npz`."""
    file = io.BytesIO()
    np.savez_compressed(file, omegas=np.zeros((2, 64), np.float32), network="degradation_x4", scale=4)
    return {"cameras.npz": file.getvalue()}


@functools.cache
def shipped(name: str) -> bytes:
    from keras_fsr import pretrained

    return (pretrained.FOLDER / name).read_bytes()


def constants_of(model, content: bytes) -> list[np.ndarray]:
    """The bytes of the buffers of a `.tflite` file, which lie in its tables or behind them."""
    return [
        np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        if buffer.offset > 1
        else np.array(() if buffer.data is None else buffer.data, np.uint8)
        for buffer in model.buffers
    ]


@functools.cache
def keras_models() -> Mapping[str, bytes]:
    """Two small untrained generators, one of layers and one of the package's own classes."""
    import keras

    from keras_fsr import generators

    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    plain = keras.Model(inputs, keras.layers.UpSampling2D(2)(keras.layers.Conv2D(3, 1)(x)))
    networks = {"plain.keras": plain, "edge.keras": generators.get("edge")(scale=2, num_features=4, num_blocks=1)}
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, network in networks.items():
            network.save(Path(folder, name))
            files[name] = Path(folder, name).read_bytes()
    return files


def zip_file(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
