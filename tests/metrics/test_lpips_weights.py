"""Which files LPIPS takes its weights from, how it reads PyTorch's, and its downloads, from a server made here."""

import dataclasses
import functools
import hashlib
import pickle
import struct
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_fsr.errors import ModelError
from keras_fsr.files import WEIGHTS_VARIABLE
from keras_fsr.losses.torch_weights import MAGIC, VERSION
from keras_fsr.metrics import lpips_weights as module
from keras_fsr.metrics.lpips import BACKBONES, LPIPS
from keras_fsr.metrics.lpips_weights import FILES, find_weights, read_weights

each_backbone = pytest.mark.parametrize("backbone", FILES)

# An AlexNet of few channels, as PyTorch would save it: OIHW, and a classifier that LPIPS has no use for.
RNG = np.random.default_rng(5)
SHAPES = {0: (4, 3, 11, 11), 3: (6, 4, 5, 5), 6: (8, 6, 3, 3), 8: (5, 8, 3, 3), 10: (5, 5, 3, 3)}
STATE = {f"features.{n}.weight": RNG.normal(0, 0.1, shape).astype("<f4") for n, shape in SHAPES.items()}
STATE |= {f"features.{n}.bias": RNG.normal(0, 0.1, shape[0]).astype("<f4") for n, shape in SHAPES.items()}
STATE |= {"features.11.expand1x1.weight": RNG.normal(0, 1, (5, 2, 1, 1)).astype("<f4")}  # a name of SqueezeNet's
STATE |= {"classifier.1.weight": np.ones((2, 5), "<f4"), "classifier.1.bias": np.ones(2, "<f4")}
HEADS = {f"lin{i}.model.1.weight": RNG.random((1, n, 1, 1), "<f4") for i, n in enumerate((4, 6, 8, 5, 5))}


def state_pickle(state: dict[str, np.ndarray], parameters: bool) -> bytes:
    """What PyTorch writes for a state dict of tensors, or of parameters, key i for the i-th storage."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def tuple_of(*values: int) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    empty = b"ccollections\nOrderedDict\n)R"
    code = b"\x80\x02" + empty + b"("
    for i, (name, array) in enumerate(state.items()):
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(i)) + text("cpu")
        storage += b"J" + struct.pack("<i", array.size) + b"tQ"
        strides = (stride // 4 for stride in array.strides)
        tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + tuple_of(*array.shape)
        tensor += tuple_of(*strides) + b"\x89" + empty + b"tR"
        if parameters:
            tensor = b"ctorch._utils\n_rebuild_parameter\n(" + tensor + b"\x88" + empty + b"tR"
        code += text(name) + tensor
    return code + b"u."


def write_zip(path: Path, state: dict[str, np.ndarray], parameters: bool = False) -> None:
    """The layout since PyTorch 1.6, as of torchvision's SqueezeNet and AlexNet."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state_pickle(state, parameters))
        for i, array in enumerate(state.values()):
            archive.writestr(f"archive/data/{i}", array.tobytes())


def write_stream(path: Path, state: dict[str, np.ndarray], parameters: bool = False) -> None:
    """The layout before, as of torchvision's VGG16 and of the heads."""
    parts = [MAGIC, VERSION, {"little_endian": True}]
    raw = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in state.values())
    keys = pickle.dumps([str(i) for i in range(len(state))], protocol=2)
    code = state_pickle(state, parameters)
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts) + code + keys + raw)


def ours() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """STATE and HEADS by the names and axes of the NumPy archives."""
    kernels = {f"features_{n}__kernel": STATE[f"features.{n}.weight"].transpose(2, 3, 1, 0) for n in SHAPES}
    biases = {f"features_{n}__bias": STATE[f"features.{n}.bias"] for n in SHAPES}
    kernels["features_11_expand1x1__kernel"] = STATE["features.11.expand1x1.weight"].transpose(2, 3, 1, 0)
    return kernels | biases, {name.split(".")[0]: head.ravel() for name, head in HEADS.items()}


@pytest.fixture
def archives(tmp_path) -> Path:
    """A folder of the NumPy archives."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, arrays in zip(("alexnet_torchvision.npz", "lpips_v0.1_lin_alex.npz"), ours(), strict=True):
        np.savez(folder / name, **arrays)
    return folder


@pytest.fixture
def originals(tmp_path, monkeypatch) -> Path:
    """A folder of PyTorch's files, whose checksums are made the published ones."""
    folder = tmp_path / "originals"
    folder.mkdir()
    write_zip(folder / "alexnet-owt-7be5be79.pth", STATE)
    write_stream(folder / "alex.pth", HEADS)
    publish(monkeypatch, folder)
    return folder


@pytest.fixture
def no_download(monkeypatch):
    monkeypatch.setattr(keras.utils, "get_file", lambda *a, **k: pytest.fail("something is downloaded"))


def publish(monkeypatch, folder: Path, address: str | None = None) -> None:
    """Makes the AlexNet files in a folder those that are published, perhaps at another address."""
    files = []
    for file in FILES["alex"]:
        digest = hashlib.sha256((folder / file.name).read_bytes()).hexdigest()
        files.append(
            dataclasses.replace(file, sha256=digest, address=f"{address}/{file.name}" if address else file.address)
        )
    monkeypatch.setitem(FILES, "alex", tuple(files))


def images() -> np.ndarray:
    return np.random.default_rng(1).random((2, 1, 40, 40, 3), dtype=np.float32)


def test_every_backbone_has_its_files():
    # Golden: the names and checksums are torchvision's and LPIPS' own; of squeeze.pth, vgg.pth and alex.pth in the
    # wheel lpips 0.1.4 they were computed.
    assert FILES.keys() == BACKBONES.keys()
    for network, heads in FILES.values():
        assert network.name.removesuffix(".pth").endswith("-" + network.sha256[:8])
        assert len(network.sha256) == len(heads.sha256) == 64
    assert [FILES[name][1].sha256[:8] for name in ("squeeze", "vgg", "alex")] == ["4a5350f2", "a78928a0", "df73285e"]
    assert FILES["vgg"][0].address == "https://download.pytorch.org/models/vgg16-397923af.pth"
    assert FILES["vgg"][1].address.endswith("richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth")


@each_backbone
def test_a_folder_may_hold_either_form_of_each_file(tmp_path, monkeypatch, no_download, backbone):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    network, heads = FILES[backbone]
    monkeypatch.setitem(
        FILES,
        backbone,
        tuple(dataclasses.replace(file, sha256=hashlib.sha256(b"content").hexdigest()) for file in (network, heads)),
    )
    (tmp_path / network.name).write_bytes(b"content")
    (tmp_path / heads.archive).touch()
    assert find_weights(backbone, tmp_path) == (tmp_path / network.name, tmp_path / heads.archive)
    (tmp_path / network.archive).touch()
    (tmp_path / heads.archive).unlink()
    (tmp_path / heads.name).write_bytes(b"content")
    assert find_weights(backbone, str(tmp_path)) == (tmp_path / network.archive, tmp_path / heads.name)


def test_the_variable_names_the_folder_unless_one_is_given(tmp_path, archives, monkeypatch, no_download):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(archives))
    assert find_weights("alex") == (archives / "alexnet_torchvision.npz", archives / "lpips_v0.1_lin_alex.npz")
    with pytest.raises(ModelError, match=f"^{tmp_path}: holds neither"):
        find_weights("alex", tmp_path)


@each_backbone
def test_a_folder_that_lacks_a_file_is_told_both_names_and_the_address(tmp_path, no_download, backbone):
    network, heads = FILES[backbone]
    for file in (network, heads):
        with pytest.raises(ModelError) as caught:
            find_weights(backbone, tmp_path)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path}: holds neither {file.archive} nor {file.name} ")
        assert f"download {file.address} into it" in message
        assert WEIGHTS_VARIABLE in message
        assert "\n" not in message
        (tmp_path / file.archive).touch()
    assert find_weights(backbone, tmp_path)


def test_keras_vgg_is_refused_with_a_reason(tmp_path, no_download):
    (tmp_path / "vgg16_keras_block1to3.npz").touch()
    (tmp_path / "lpips_v0.1_lin_vgg.npz").touch()
    with pytest.raises(ModelError, match=r"vgg16_keras_block1to3.npz: is Keras' VGG16; .* put vgg16_torchvision.npz"):
        find_weights("vgg", tmp_path)
    with pytest.raises(ModelError, match="holds neither alexnet_torchvision.npz"):
        find_weights("alex", tmp_path)
    (tmp_path / "vgg16_torchvision.npz").touch()
    assert find_weights("vgg", tmp_path)[0].name == "vgg16_torchvision.npz"


@pytest.mark.parametrize("name", ["alexnet-owt-7be5be79.pth", "alex.pth"])
def test_a_published_file_of_another_checksum_is_refused_and_kept(originals, name):
    find_weights("alex", originals)
    (originals / name).write_bytes((originals / name).read_bytes() + b"0")
    with pytest.raises(ModelError, match=f"^{originals}/{name}: has another SHA-256 than https://.*/{name}; .*anew$"):
        find_weights("alex", originals)
    assert (originals / name).is_file()


def test_a_file_that_cannot_be_opened_is_one_line(originals, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "digest", refuse)
    with pytest.raises(ModelError, match=r"7be5be79.pth: cannot be read \(Permission denied\)"):
        find_weights("alex", originals)


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_pytorch_files_give_the_arrays_of_the_archives(tmp_path, archives, write):
    write(tmp_path / "state.pth", STATE)
    write(tmp_path / "heads.pth", HEADS)
    np.savez(archives / "more.npz", **ours()[0], classifier_1__kernel=np.ones(2))
    for path in (tmp_path / "state.pth", archives / "alexnet_torchvision.npz", archives / "more.npz"):
        assert_equal(read_weights(path), ours()[0])
    for path in (tmp_path / "heads.pth", archives / "lpips_v0.1_lin_alex.npz"):
        assert_equal(read_weights(path), ours()[1])


def assert_equal(read: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert read.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name, strict=True)


def test_a_state_dict_of_parameters_is_read(tmp_path):
    # torchvision's AlexNet is one: 16 parameters in PyTorch's layout make its 244,408,911 bytes, 16 tensors do not.
    write_zip(tmp_path / "state.pth", STATE, parameters=True)
    assert_equal(read_weights(tmp_path / "state.pth"), ours()[0])


def test_both_forms_measure_the_same(archives, originals):
    np.testing.assert_array_equal(LPIPS(archives, "alex")(*images()), LPIPS(originals, "alex")(*images()))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Where downloads land; no folder of weights is named."""
    monkeypatch.setattr(keras.utils, "get_file", functools.partial(keras.utils.get_file, cache_dir=str(tmp_path)))
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "lpips"


@pytest.fixture
def server(cache, originals, monkeypatch):
    """Serves the folder of PyTorch's files as their published address; yields the list of what was asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=originals)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        publish(monkeypatch, originals, f"http://127.0.0.1:{server.server_port}")
        yield asked
        server.shutdown()
        thread.join()


def test_without_a_folder_the_files_are_downloaded_once(server, cache, archives):
    measure = LPIPS(backbone="alex")
    assert server == ["/alexnet-owt-7be5be79.pth", "/alex.pth"]
    np.testing.assert_array_equal(measure(*images()), LPIPS(archives, "alex")(*images()))
    cached = find_weights("alex")
    assert len(server) == 2
    assert cached == (cache / "alexnet-owt-7be5be79.pth", cache / "alex.pth")
    cached[1].write_bytes(b"cut off")
    find_weights("alex")
    assert server[2:] == ["/alex.pth"]


def test_a_download_of_another_checksum_is_refused(server, originals):
    (originals / "alex.pth").write_bytes(b"another file")
    for _ in range(2):  # what was refused is not taken from the cache either
        with pytest.raises(ModelError, match=r"cannot be downloaded \(Incomplete or corrupted .* sha256") as caught:
            LPIPS(backbone="alex")
        assert "\n" not in str(caught.value)
    assert server.count("/alex.pth") == 2


@each_backbone
def test_offline_the_files_addresses_and_folder_are_named(cache, monkeypatch, backbone):
    files = [dataclasses.replace(file, address=f"http://127.0.0.1:9/{file.name}") for file in FILES[backbone]]
    monkeypatch.setitem(FILES, backbone, tuple(files))
    with pytest.raises(
        ModelError, match=r"cannot be downloaded \(URL fetch failure on http://127.0.0.1:9/.*\); "
    ) as caught:
        LPIPS(backbone=backbone)
    message = str(caught.value)
    assert all(f"{file.archive} or {file.address}" in message for file in files)
    assert f"{WEIGHTS_VARIABLE} (or --weights)" in message
    assert "\n" not in message
