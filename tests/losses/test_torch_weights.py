"""PyTorch's two file layouts, written here byte by byte, and files that mean harm."""

import pickle
import struct
import zipfile

import numpy as np
import pytest

from keras_fsr.errors import ModelError
from keras_fsr.losses.torch_weights import MAGIC, VERSION, read_state

STATE = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc.bias": np.array([0.5, -1.5], np.float32),
}


def text(value: str, python: int = 3) -> bytes:
    encoded = value.encode()
    return (b"X" + struct.pack("<I", len(encoded)) if python == 3 else b"U" + bytes([len(encoded)])) + encoded


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def state_pickle(
    state, python=3, rebuild="_rebuild_tensor_v2", storage=("torch", "FloatStorage"), stream=False
) -> bytes:
    """What PyTorch writes for a state dict, key i for the i-th storage; `_rebuild_tensor` as PyTorch 0.3 did."""
    code = b"\x80\x02" + name("collections", "OrderedDict") + b")R("
    for i, (key, array) in enumerate(state.items()):
        pid = text("storage", python) + name(*storage) + text(str(i), python) + text("cpu", python)
        pid += number(array.size) + (b"N" if stream else b"")
        code += text(key, python) + name("torch._utils", rebuild) + b"(" + b"(" + pid + b"tQ" + number(0)
        code += numbers(*array.shape) + numbers(*(stride // 4 for stride in array.strides))
        if rebuild.endswith("_v2"):
            code += b"\x89" + name("collections", "OrderedDict") + b")R"
        code += b"tR"
    return code + b"u."


def write_stream(path, code: bytes, arrays, little_endian=True):
    parts = [MAGIC, VERSION, {"protocol_version": VERSION, "little_endian": little_endian}]
    keys = pickle.dumps([str(i) for i in range(len(arrays))], protocol=2)
    raw = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in arrays)
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts) + code + keys + raw)
    return path


def write_zip(path, code: bytes, arrays, compression=zipfile.ZIP_STORED, byteorder=b"little"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/byteorder", byteorder)
        for i, array in enumerate(arrays):
            archive.writestr(f"archive/data/{i}", array.tobytes())
        archive.writestr("archive/version", b"3\n")
    return path


def assert_is_state(read):
    assert list(read) == list(STATE)
    for key, array in STATE.items():
        assert read[key].dtype == np.float32
        np.testing.assert_array_equal(read[key], array)


def test_zip_of_today(tmp_path):
    assert_is_state(read_state(write_zip(tmp_path / "new.pth", state_pickle(STATE), STATE.values())))


@pytest.mark.parametrize("rebuild", ["_rebuild_tensor", "_rebuild_tensor_v2"])
@pytest.mark.parametrize("python", [2, 3])
@pytest.mark.parametrize("storage", [("torch", "FloatStorage"), ("torch.cuda", "FloatStorage")])
def test_stream_of_old(tmp_path, rebuild, python, storage):
    code = state_pickle(STATE, python, rebuild, storage, stream=True)
    assert_is_state(read_state(write_stream(tmp_path / "old.pth", code, STATE.values())))


def test_numpy_archive(tmp_path):
    np.savez(tmp_path / "state.npz", **STATE)
    assert_is_state(read_state(tmp_path / "state.npz"))


def test_tensors_may_be_views_of_a_storage(tmp_path):
    transposed = {"fc.weight": STATE["fc.weight"].T}
    read = read_state(write_zip(tmp_path / "view.pth", state_pickle(transposed), [STATE["fc.weight"]]))
    np.testing.assert_array_equal(read["fc.weight"], STATE["fc.weight"].T)


def test_storages_may_be_parts_of_others(tmp_path):
    # As PyTorch up to 0.3 could write it: the second storage is numbers 4 and 5 of the first.
    code = state_pickle({"all": np.arange(6, dtype=np.float32)}, 2, "_rebuild_tensor", stream=True)
    part = b"(" + text("1", 2) + number(4) + number(2) + b"t"
    code = code.replace(number(6) + b"N", number(6) + part).replace(numbers(6), numbers(2))
    read = read_state(write_stream(tmp_path / "part.pth", code, [np.arange(6, dtype=np.float32)]))
    np.testing.assert_array_equal(read["all"], [4, 5])


class Harm:
    """Its pickle asks Python to make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("write", [write_zip, write_stream])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_harmful_pickle_is_refused_and_not_run(tmp_path, write, protocol):
    made = tmp_path / "made"
    code = pickle.dumps({"fc.weight": Harm(made)}, protocol=protocol)
    with pytest.raises(ModelError, match="harm.pth: .*it asks for (io|_io).open, which is refused"):
        read_state(write(tmp_path / "harm.pth", code, []))
    assert not made.exists()
    pickle.loads(code)["fc.weight"].close()
    assert made.exists(), "the test's own pickle would do harm"


@pytest.mark.parametrize(
    "asked", [("builtins", "eval"), ("os", "system"), ("torch", "LongStorage"), ("collections", "OrderedDict.pop")]
)
def test_other_names_are_refused(tmp_path, asked):
    with pytest.raises(ModelError, match=f"it asks for {'.'.join(asked)}, which is refused"):
        read_state(write_zip(tmp_path / "odd.pth", b"\x80\x04" + name(*asked) + b".", []))


def test_objects_in_a_numpy_archive_are_refused(tmp_path):
    made = tmp_path / "made"
    np.savez(tmp_path / "harm.npz", a=np.array([Harm(made)], dtype=object))
    with pytest.raises(ModelError, match="harm.npz"):
        read_state(tmp_path / "harm.npz")
    assert not made.exists()


def damaged():
    big = dict(STATE, **{"fc.weight": np.zeros((2, 3000), np.float32)})
    whole = state_pickle(STATE)
    beyond = whole.replace(numbers(3, 1), numbers(4, 1))
    negative = whole.replace(numbers(3, 1), numbers(-3, 1))
    arrays = list(STATE.values())
    return {
        "no file": (lambda path: path, "No such file"),
        "no pickle": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "cannot be read as named float32 tensors"),
        "empty": (lambda path: path.touch(), "cannot be read"),
        "another pickle": (lambda path: path.write_bytes(pickle.dumps([1]) * 3), "it is no PyTorch file"),
        "no tensors": (lambda path: write_zip(path, pickle.dumps({"epoch": 3}, 2), []), "epoch is no tensor"),
        "no state": (lambda path: write_zip(path, pickle.dumps(3, 2), []), "cannot be read"),
        "lacks a storage": (lambda path: write_zip(path, whole, arrays[:1]), "archive/data/1"),
        "short storage": (lambda path: write_zip(path, whole, [arrays[0][:1], arrays[1]]), "has 3 numbers, not 6"),
        "cut off": (lambda path: write_stream(path, whole, [np.zeros(9, np.float32)]), "cannot be read"),
        "big-endian": (lambda path: write_stream(path, whole, arrays, little_endian=False), "big-endian"),
        "big-endian zip": (lambda path: write_zip(path, whole, arrays, byteorder=b"big"), "big-endian"),
        "bomb": (lambda path: write_zip(path, whole, arrays, zipfile.ZIP_DEFLATED), "is compressed"),
        "beyond": (lambda path: write_zip(path, beyond, arrays), "reaches beyond its numbers"),
        "negative": (lambda path: write_zip(path, negative, arrays), "do not fit"),
        "doubles": (lambda path: np.savez(path.open("wb"), a=np.zeros(2)), "a is float64"),
        "huge": (lambda path: write_stream(path, state_pickle(big, stream=True), arrays), "has 6 numbers, not 6000"),
    }


@pytest.mark.parametrize("case", damaged())
def test_damaged_files_are_refused_in_one_line(tmp_path, case):
    make, message = damaged()[case]
    make(tmp_path / "bad.pth")
    with pytest.raises(ModelError, match=message) as error:
        read_state(tmp_path / "bad.pth")
    assert str(error.value).startswith(str(tmp_path / "bad.pth"))
    assert "convert it with PyTorch" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_count_beyond_the_file_is_refused_before_memory_is_asked_for(tmp_path):
    path = write_stream(tmp_path / "cut.pth", state_pickle(STATE, stream=True), [])
    keys = pickle.dumps(["0"], protocol=2)
    path.write_bytes(path.read_bytes().removesuffix(pickle.dumps([], protocol=2)) + keys + struct.pack("<q", 2**60))
    with pytest.raises(ModelError, match="it is cut off"):
        read_state(path)
