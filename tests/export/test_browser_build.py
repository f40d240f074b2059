"""How the browser's page is put together and served: the model's contract, the runtime's packages, the headers."""

import base64
import hashlib
import http.client
import importlib.util
import io
import json
import mimetypes
import re
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.errors import FSRError, ModelError

FOLDER = Path(__file__).parents[2] / "export" / "browser"
POSIX = pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs /bin/sh for a stand-in for npm")


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"browser_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build, serve = script("build"), script("serve")


def tensor(shape, dtype=np.float32, quantization=(0.0, 0), signature=None) -> dict:
    """What LiteRT tells of a tensor."""
    shape = np.array(shape, np.int32)
    signature = shape if signature is None else np.array(signature, np.int32)
    return {"shape": shape, "shape_signature": signature, "dtype": dtype, "quantization": quantization}


def given(monkeypatch, source: dict, result: dict) -> Path:
    monkeypatch.setattr(build, "tensors", lambda path: ([source], [result]))
    return Path("face.tflite")


@pytest.mark.parametrize(("size", "overlap"), [(32, 10), (64, 21), (128, 32), (256, 32)])
def test_contract_of_a_float_model(monkeypatch, size, overlap):
    path = given(monkeypatch, tensor([1, size, size, 3]), tensor([1, 4 * size, 4 * size, 3]))
    floats = {"type": "float32"}
    expected = {"scale": 4, "size": size, "overlap": overlap, "input": floats, "output": floats}
    assert build.contract(path) == expected
    assert size - overlap > 2 * overlap  # as keras_fsr.inference.tiles demands of a tile


def test_contract_tells_what_bytes_stand_for(monkeypatch):
    source = tensor([1, 64, 64, 3], np.uint8, (np.float32(0.5), np.int32(3)))
    path = given(monkeypatch, source, tensor([1, 256, 256, 3], np.uint8, (1 / 255, 0)))
    facts = build.contract(path)
    assert facts["input"] == {"type": "uint8", "scale": 0.5, "zero": 3}
    assert facts["output"] == {"type": "uint8", "scale": 1 / 255, "zero": 0}
    assert json.loads(json.dumps(facts)) == facts


ONE, FOUR = tensor([1, 64, 64, 3]), tensor([1, 256, 256, 3])


@pytest.mark.parametrize(
    ("source", "result", "message"),
    [
        (tensor([1, 1, 1, 3], signature=[1, -1, -1, 3]), FOUR, "any size, LiteRT.js only of one; .* --size 64x64"),
        (tensor([1, 32, 64, 3]), FOUR, r"takes \[1, 32, 64, 3\]; export it for squares"),
        (tensor([2, 64, 64, 3]), FOUR, r"takes \[2, 64, 64, 3\]"),
        (tensor([1, 64, 64, 1]), FOUR, r"takes \[1, 64, 64, 1\]"),
        (tensor([1, 1000]), FOUR, r"takes \[1, 1000\]"),
        (tensor([1, 24, 24, 3]), tensor([1, 96, 96, 3]), r"takes \[1, 24, 24, 3\]; .* 32 or more"),
        (tensor([1, 34, 34, 3]), tensor([1, 136, 136, 3]), "multiple of 4"),
        (ONE, tensor([1, 128, 128, 3]), r"makes \[1, 128, 128, 3\], not \[1, 256, 256, 3\]; give a model by 4"),
        (tensor([1, 64, 64, 3], np.int8, (0.1, 0)), FOUR, "a tensor of int8; export it for float32 or uint8"),
        (ONE, tensor([1, 256, 256, 3], np.float16), "a tensor of float16"),
        (ONE, tensor([1, 256, 256, 3], np.uint8), "does not say what its uint8 numbers stand for"),
    ],
)
def test_models_that_the_page_cannot_run_are_refused(monkeypatch, source, result, message):
    path = given(monkeypatch, source, result)
    with pytest.raises(ModelError, match=f"^face.tflite: .*{message}"):
        build.contract(path)


def test_models_of_several_inputs_and_files_that_are_none_are_refused(monkeypatch, tmp_path):
    (tmp_path / "text.tflite").write_text("this is text")
    with pytest.raises(ModelError, match="text.tflite: is not a TFLite model"):
        build.contract(tmp_path / "text.tflite")
    with pytest.raises(ModelError, match="none.tflite: no such model file"):
        build.contract(tmp_path / "none.tflite")
    monkeypatch.setattr(build, "tensors", lambda path: ([ONE, ONE], [FOUR]))
    with pytest.raises(ModelError, match="has 2 inputs and 1 outputs"):
        build.contract(Path("face.tflite"))


def packed(files: dict[str, bytes]) -> bytes:
    """An npm package."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


IMPORT = b'import { createWasmLib } from "@litertjs/wasm-utils";\n'


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """A folder of packages like the runtime's, whose digests are known."""
    binaries = {
        f"wasm/{name}.{kind}": f"{name} {kind}".encode() for name in build.BINARIES for kind in ("js", "wasm")
    }
    core = {"dist/index.js": IMPORT + b"code", "wasm/litert_wasm_jspi_internal.wasm": b"unused", **binaries}
    contents = {"core": packed(core), "wasm-utils": packed({"dist/index.js": b"utilities", "package.json": b"{}"})}
    folder = tmp_path / "packages"
    folder.mkdir()
    digests = {}
    for name, content in contents.items():
        (folder / f"litertjs-{name}-2.5.3.tgz").write_bytes(content)
        digests[name] = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    monkeypatch.setattr(build, "PACKAGES", digests)
    return folder


def test_a_site_holds_the_page_the_model_and_the_runtime(monkeypatch, packages, tmp_path, capsys):
    given(monkeypatch, ONE, FOUR)
    model, site = tmp_path / "face_x4.tflite", tmp_path / "deep" / "site"
    model.write_bytes(b"weights")
    assert build.main(["--model", str(model), "-o", str(site), "--runtime", str(packages)]) == 0
    files = {str(path.relative_to(site)): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    runtime = {name.removeprefix("runtime/") for name in files if name.startswith("runtime/")}
    binaries = {f"wasm/litert_wasm_{kind}internal" for kind in ("", "threaded_", "compat_")}
    kinds = {f"{binary}.{kind}" for binary in binaries for kind in ("js", "wasm")}
    assert runtime == {"LICENSE", "core.js", "wasm-utils.js"} | kinds
    page = {"index.html", "style.css", "icon.svg", "app.js", "worker.js", "tiles.js", "offline.js"}
    assert set(files) - {f"runtime/{name}" for name in runtime} == page | {"model.json", "model.tflite"}
    for name in page:
        assert files[name] == (FOLDER / name).read_bytes()
    assert files["model.tflite"] == b"weights"
    assert json.loads(files["model.json"])["name"] == "face_x4"
    assert b"Apache License" in files["runtime/LICENSE"]
    notice, *code = files["runtime/core.js"].splitlines()
    assert notice.startswith(b"// Changed by keras_fsr:")
    assert code == [b'import { createWasmLib } from "./wasm-utils.js";', b"code"]
    assert files["runtime/wasm-utils.js"] == b"utilities"
    size = sum(map(len, files.values())) / 1e6
    assert capsys.readouterr().out == f"{site}: {size:.1f} MB; try it with: python {FOLDER / 'serve.py'} {site}\n"


def test_damaged_and_changed_packages_are_refused(monkeypatch, packages):
    path = packages / "litertjs-core-2.5.3.tgz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FSRError, match="litertjs-core-2.5.3.tgz: is damaged or not what npm has published"):
        build.runtime_files(packages)
    other = packed({"dist/index.js": b"no import"})
    path.write_bytes(other)
    digest = base64.b64encode(hashlib.sha512(other).digest()).decode()
    monkeypatch.setitem(build.PACKAGES, "core", f"sha512-{digest}")
    with pytest.raises(FSRError, match="@litertjs/core 2.5.3: does not import @litertjs/wasm-utils as expected"):
        build.runtime_files(packages)


def stand_in_for_npm(monkeypatch, folder: Path, lines: str) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{lines}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@POSIX
def test_packages_are_fetched_once_into_the_cache(monkeypatch, packages, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # npm pack @litertjs/NAME@VERSION --pack-destination FOLDER ...
    lines = f'echo "$1 $2" >> {tmp_path}/calls\nname=${{2#@litertjs/}}\n'
    lines += f'cp "{packages}/litertjs-${{name%@*}}-2.5.3.tgz" "$4"'
    stand_in_for_npm(monkeypatch, tmp_path / "bin", lines)
    for _ in range(2):
        assert "core.js" in build.runtime_files(build.cache())
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["pack @litertjs/core@2.5.3", "pack @litertjs/wasm-utils@2.5.3"]
    kept = tmp_path / "cache" / "keras_fsr" / "litertjs-2.5.3"
    assert sorted(path.name for path in kept.iterdir()) == sorted(path.name for path in packages.iterdir())


@POSIX
def test_a_wrong_package_is_not_kept(monkeypatch, packages, tmp_path):
    stand_in_for_npm(monkeypatch, tmp_path / "bin", 'echo wrong > "$4/litertjs-core-2.5.3.tgz"')
    with pytest.raises(FSRError, match="not what npm has published"):
        build.package("core", tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


@POSIX
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "echo npm error ENOTFOUND >&2; echo more >&2; exit 1",
            r"\(npm error ENOTFOUND more\); check the connection",
        ),
        ("exit 3", r"npm cannot fetch it \(exit code 3\)"),
        ("exit 0", r"npm cannot fetch it \(exit code 0\)"),  # and no file
    ],
)
def test_an_npm_that_fails_is_one_line(monkeypatch, packages, tmp_path, lines, message):
    stand_in_for_npm(monkeypatch, tmp_path / "bin", lines)
    with pytest.raises(FSRError, match=message) as caught:
        build.package("core", tmp_path / "empty")
    assert "\n" not in str(caught.value)


def test_without_npm_one_line_says_what_to_do(monkeypatch, packages, tmp_path, capsys):
    given(monkeypatch, ONE, FOUR)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "face.tflite").write_bytes(b"weights")
    arguments = ["--model", str(tmp_path / "face.tflite"), "-o", str(tmp_path / "site")]
    assert build.main([*arguments, "--runtime", str(tmp_path / "empty")]) == 2
    path = tmp_path / "empty" / "litertjs-core-2.5.3.tgz"
    assert capsys.readouterr().err == (
        f"build: error: {path}: is not there, and npm, which would fetch it, is not installed; install Node.js\n"
    )
    assert not (tmp_path / "site").exists()
    assert build.main([*arguments, "--runtime", str(packages)]) == 0  # no npm needed


def test_the_server_sends_types_headers_and_the_pages_own_policy(monkeypatch, tmp_path):
    for name in ("guess_type", "guess_file_type"):  # a system that thinks otherwise
        monkeypatch.setattr(mimetypes, name, lambda *_, **__: ("text/plain", None), raising=False)
    for name in ("index.html", "app.js", "core.wasm"):
        (tmp_path / name).write_bytes(b"content")
    server = serve.server(tmp_path, 0)
    assert server.server_address[0] == "127.0.0.1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        answers = {}
        for path in ("/", "/app.js", "/core.wasm", "/missing.js"):
            connection = http.client.HTTPConnection(*server.server_address)
            connection.request("GET", path)
            answers[path] = connection.getresponse()
            connection.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    types = [answers[path].headers["Content-Type"] for path in ("/", "/app.js", "/core.wasm")]
    assert types == ["text/plain", "text/javascript", "application/wasm"]
    assert [answer.status for answer in answers.values()] == [200, 200, 200, 404]
    for answer in answers.values():
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer.headers["Cache-Control"] == "no-cache"
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'"Content-Security-Policy" content="([^"]+)"', page)[1]
    assert answers["/"].headers["Content-Security-Policy"] == policy
    assert policy.startswith("default-src 'self';")
    assert "unsafe-inline" not in policy


def test_the_server_needs_a_site_and_a_free_port(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["serve.py", str(tmp_path)])
    assert serve.main() == 2
    assert capsys.readouterr().err == f"serve: error: {tmp_path}: holds no index.html; build the site first\n"
    (tmp_path / "index.html").touch()
    with serve.server(tmp_path, 0) as taken:
        port = taken.server_address[1]
        monkeypatch.setattr("sys.argv", ["serve.py", str(tmp_path), "--port", str(port)])
        assert serve.main() == 2
    assert f"serve: error: port {port}: " in capsys.readouterr().err
