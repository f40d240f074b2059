"""Verification: what it measures, what it refuses."""

import dataclasses
import json

import numpy as np
import pytest

from keras_fsr.deploy import verify
from keras_fsr.deploy.tflite import export_tflite
from keras_fsr.errors import ModelError
from keras_fsr.generators.edge import Edge
from keras_fsr.metrics.fidelity import psnr, rgb_to_y

REPORT = verify.Report(
    file="face.tflite",
    quantization="int8",
    size=294_520,
    operations={"CONV_2D": 9, "ADD": 1},
    partitions=1,
    images="faces (3 of up to 64x64 LR pixels)",
    largest_difference=0.0189,
    mean_difference=0.00218,
    psnr_y_keras=31.25,
    psnr_y_file=31.125,
    psnr_y_loss=0.125,
    milliseconds={"1": 7.65, "2": 6.5},
    timed="64x64 pixels",
)


def pair(seed: int, height: int = 20, width: int = 28):
    rng = np.random.default_rng(seed)
    lr = rng.integers(0, 256, (height, width, 3), np.uint8)
    noise = rng.integers(-20, 21, (height * 4, width * 4, 3))
    return lr, np.clip(lr.repeat(4, 0).repeat(4, 1) + noise, 0, 255).astype(np.uint8)


def test_table_says_it_all():
    assert str(REPORT).splitlines() == [
        "file        face.tflite, 294.5 kB, int8",
        "operations  9 CONV_2D, 1 ADD",
        "XNNPACK     1 partition",
        "compared on faces (3 of up to 64x64 LR pixels)",
        "difference  largest 1.89e-02, mean 2.18e-03 of 1",
        "PSNR-Y      31.125 dB, Keras 31.250 dB, loss +0.125 dB",
        "latency     7.7 ms with 1, 6.5 ms with 2 threads, 64x64 pixels",
    ]
    assert "XNNPACK     3 partitions" in str(dataclasses.replace(REPORT, partitions=3))


# Each mode's figure at its tolerance and just above; the others may be anything.
@pytest.mark.parametrize(
    ("mode", "figure", "most"),
    [
        ("none", "largest_difference", 1e-4),
        ("float16", "largest_difference", 2e-3),
        ("dynamic", "psnr_y_loss", 0.05),
        ("int8", "psnr_y_loss", 0.5),
        ("qat", "psnr_y_loss", 0.15),
    ],
)
def test_tolerance_of_a_mode(mode, figure, most):
    loose = dataclasses.replace(REPORT, quantization=mode, largest_difference=9.0, psnr_y_loss=9.0)
    verify.check(dataclasses.replace(loose, **{figure: most}))
    for value in (most * 1.01, float("nan")):
        with pytest.raises(
            ModelError, match=rf"^face.tflite: .* from its Keras model on faces .* that {mode} may; nothing"
        ):
            verify.check(dataclasses.replace(loose, **{figure: value}))


def test_refusal_tells_the_figure():
    with pytest.raises(ModelError, match="loses 0.625 dB PSNR-Y from .*, more than the 0.5 that int8 may"):
        verify.check(dataclasses.replace(REPORT, psnr_y_loss=0.625))
    with pytest.raises(ModelError, match=r"differs by 1.9e-02 from .*, more than the 0.002 that float16 may"):
        verify.check(dataclasses.replace(REPORT, quantization="float16"))


def test_figures_are_those_of_the_images(tmp_path):
    """The file repeats pixels; the model that it is compared with adds 0.1 and 0.02."""
    path = export_tflite(Edge(4, num_features=8, num_blocks=1), tmp_path / "m.tflite", "none")
    pairs = [pair(0), pair(1)]
    added = iter((0.1, 0.02))

    def model(images, training):
        assert not training
        return images.repeat(4, axis=1).repeat(4, axis=2) + next(added)

    report = verify.verify(model, path, "final.tflite", "dynamic", pairs, "noise")
    assert report.file == "final.tflite"
    assert report.images == "noise (2 of up to 64x64 LR pixels)"
    assert report.largest_difference == pytest.approx(0.1, abs=1e-6)
    # White pixels stay what they are.
    assert 0.05 < report.mean_difference < 0.06
    repeated = [lr.repeat(4, 0).repeat(4, 1) for lr, _ in pairs]
    expected = np.mean([psnr(rgb_to_y(sr), rgb_to_y(hr), 4) for sr, (_, hr) in zip(repeated, pairs, strict=True)])
    assert report.psnr_y_file == pytest.approx(expected)
    assert report.psnr_y_loss == report.psnr_y_keras - report.psnr_y_file < 0
    assert report.size == path.stat().st_size
    assert report.partitions == 1
    assert sorted(report.milliseconds) == sorted({"1", str(verify.available_cores())})
    assert all(ms > 0 for ms in report.milliseconds.values())
    assert report.timed == "64x64 pixels"


def test_perfect_model_loses_nothing(tmp_path):
    network = Edge(4, num_features=8, num_blocks=1)
    path = export_tflite(network, tmp_path / "m.tflite", "none")
    lr, _ = pair(0)
    report = verify.verify(network, path, path, "none", [(lr, lr.repeat(4, 0).repeat(4, 1))], "itself")
    assert report.psnr_y_keras == np.inf
    assert report.psnr_y_loss == 0


def test_pair_is_cut_to_what_a_file_takes():
    class Engine:
        size, scale = (16, 20), 4

    lr, hr = verify.cut(*pair(0, 22, 30), Engine)
    assert (lr.shape, hr.shape) == ((16, 20, 3), (64, 80, 3))
    Engine.size = None
    lr, hr = verify.cut(*pair(0, 22, 30), Engine)
    assert (lr.shape, hr.shape) == ((20, 28, 3), (80, 112, 3))
    np.testing.assert_array_equal(lr, pair(0, 22, 30)[0][:20, :28])


def test_report_is_json_beside_the_file(tmp_path):
    verify.write_report(REPORT, tmp_path / "face.tflite")
    (path,) = tmp_path.iterdir()
    assert path.name == "face.tflite.report.json"
    assert json.loads(path.read_text()) == dataclasses.asdict(REPORT)
