"""Export to ONNX: the file does what the Keras model does at any size, by few plain operators."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.deploy import onnx_file
from keras_fsr.deploy.onnx_file import export_onnx, trtexec
from keras_fsr.errors import ModelError, OutputError
from keras_fsr.generators.edge import Edge
from keras_fsr.generators.rrdb import RRDB

SCRIPT = Path(__file__).parents[2] / "export/to_onnx.py"
# All are in TensorRT's list of ONNX operators.
PLAIN = {"Conv", "Relu", "Concat", "Add", "Mul", "Min", "Max", "Transpose", "DepthToSpace", "SpaceToDepth"}
SMALL = {"num_features": 16, "growth_channels": 8, "num_blocks": 1, "hardware": True, "activation": "relu"}
NETWORKS = {  # how it is made, and its DepthToSpace nodes
    "edge": (lambda: Edge(4, num_features=16, num_blocks=1), 1),
    "edge_wide": (lambda: Edge(8, num_features=16, num_blocks=1, reparameterized=True), 1),
    "rrdb_x2": (lambda: RRDB(2, anchor=True, **SMALL), 2),
}


def make(name: str):
    import keras

    keras.utils.set_random_seed(0)
    network = NETWORKS[name][0]()
    for weight in network.get_layer("conv_last").weights:  # zeros in a new network
        weight.assign(np.random.default_rng(0).normal(0, 0.05, weight.shape))
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_file_equals_keras_at_a_size_of_its_own(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = make(name)
    report = export_onnx(network, tmp_path / "m.onnx")
    images = np.random.default_rng(1).random((3, 18, 34, 3), np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    (found,) = session.run(["sr"], {"lr": images})
    np.testing.assert_allclose(found, network(images), atol=1e-5)
    assert np.ptp(found) > 0.5
    assert report.difference < 1e-5
    assert report.operators["DepthToSpace"] == NETWORKS[name][1]
    assert set(report.operators) <= PLAIN


def test_report_says_what_the_file_holds(tmp_path):
    onnx = pytest.importorskip("onnx")
    report = export_onnx(make("edge"), tmp_path / "m.onnx")
    proto = onnx.load(report.path)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == report.opset == 15
    assert report.size == report.path.stat().st_size
    assert report.operators.total() == len(proto.graph.node)
    for value, name in zip((*proto.graph.input, *proto.graph.output), ("lr", "sr"), strict=True):
        dimensions = value.type.tensor_type.shape.dim
        assert value.name == name
        assert [d.dim_param or d.dim_value for d in dimensions] == ["batch", f"{name}_height", f"{name}_width", 3]
    first, second = str(report).splitlines()
    assert f"{report.size / 1e6:.1f} MB, opset 15" in first
    assert "4 Conv, " in second
    assert "1 DepthToSpace" in second


@pytest.mark.parametrize("factor", [1.01, np.nan])
def test_file_that_differs_is_refused_and_not_left(factor, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    network, convert = make("edge"), onnx_file.convert

    def convert_another(generator, path):
        another = make("edge")
        another.get_layer("conv_last").bias.assign(factor * generator.get_layer("conv_last").bias)
        convert(another, path)

    monkeypatch.setattr(onnx_file, "convert", convert_another)
    with pytest.raises(ModelError, match="from Keras, over 0.0001"):
        export_onnx(network, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_worst_of_both_sizes_counts(images, sign):
    class Session:
        def run(self, names, inputs):
            return [inputs["lr"] + sign * 0.25 * (len(inputs["lr"]) == images)]

    assert onnx_file.difference(lambda x: x, Session()) == pytest.approx(0.25)


def test_what_cannot_be_exported_is_told_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    network = make("edge")
    with pytest.raises(ModelError, match="m.bin: .* ends in .onnx"):
        export_onnx(network, tmp_path / "m.bin")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/m.onnx: cannot be written"):
        export_onnx(network, tmp_path / "file" / "m.onnx")

    def fail(*_):
        raise NotImplementedError("no such operator\nin opset 15")

    monkeypatch.setattr(onnx_file, "convert", fail)
    with pytest.raises(ModelError, match=r"cannot be expressed in ONNX \(no such operator\)$"):
        export_onnx(network, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError) as missing:
        export_onnx("face_x4", tmp_path / "m.onnx")
    assert missing.value.name == "onnx"


def test_trtexec_gets_a_profile_of_shapes():
    old, new = trtexec("out/m.onnx").split("# TensorRT 11")
    shapes = "--minShapes=lr:1x16x16x3 --optShapes=lr:1x64x64x3 --maxShapes=lr:1x512x512x3"
    assert f"trtexec --onnx=out/m.onnx --saveEngine=out/m.engine {shapes} --fp16" in old
    assert "modelopt.onnx.autocast --onnx_path out/m.onnx --output_path out/m_fp16.onnx --keep_io_types" in new
    assert new.endswith(f"trtexec --onnx=out/m_fp16.onnx --saveEngine=out/m.engine {shapes}")


def run_script(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["to_onnx.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return stopped.value.code


def test_script_writes_and_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    make("edge").save(tmp_path / "m.keras")
    out = tmp_path / "m.onnx"
    assert run_script(monkeypatch, "--model", tmp_path / "m.keras", "-o", out, "--trtexec") == 0
    printed = capsys.readouterr().out
    assert f"{out}: 0.1 MB, opset 15" in printed
    assert f"trtexec --onnx={out}" in printed
    assert out.is_file()


def test_script_tells_errors_in_one_line(tmp_path, monkeypatch, capsys):
    assert run_script(monkeypatch, "--model", "face_x4", "-o", tmp_path / "m.pb") == 2
    assert "ends in .onnx" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run_script(monkeypatch, "--model", "face_x4", "-o", tmp_path / "m.onnx") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs onnx; install the extra" in line
