"""What the package is made of: pins, licences, weights, downloads; and a wheel that is made again."""

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from PIL import Image

import keras_fsr
from keras_fsr import cli, pretrained
from keras_fsr.degradations import presets
from keras_fsr.deploy.fixed_size import fix_size
from keras_fsr.errors import DataError, ModelError
from keras_fsr.inference import bulk_worker
from keras_fsr.inference.predictor import Predictor

ROOT = Path(__file__).parents[1]
PACKAGE = Path(keras_fsr.__file__).parent


def script():
    spec = importlib.util.spec_from_file_location("export_dependencies", ROOT / "export" / "dependencies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dependencies = script()
PINS = dependencies.pins()


def is_as_pinned(name: str) -> bool:
    try:
        return dependencies.find(name).version == PINS[name]
    except DataError:
        return False


AS_PINNED = [name for name in PINS if is_as_pinned(name)]
OTHERS = sorted(PINS.keys() - AS_PINNED)
needs_pins = pytest.mark.skipif(bool(OTHERS), reason=f"not installed as pinned: {', '.join(OTHERS)}")


# Pins


def test_each_line_pins_one_version_of_a_package():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines[1:])
    assert len(PINS) == len(lines) - 1 > 100


def test_pins_satisfy_what_setup_cfg_and_the_build_state():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    stated = [*map(Requirement, build), *(one for wanted in dependencies.stated().values() for one in wanted)]
    assert len(stated) > 30
    assert [str(one) for one in stated if not is_pinned(one)] == []


def test_pinned_packages_need_pinned_ones():
    wanted = [(name, one) for name in AS_PINNED for one in dependencies.needs(dependencies.find(name))]
    assert [f"{one}, for {name}" for name, one in wanted if not is_pinned(one)] == []


def is_pinned(one: Requirement) -> bool:
    pin = PINS.get(canonicalize_name(one.name))
    return pin is not None and one.specifier.contains(pin, prereleases=True)


@needs_pins
def test_nothing_is_pinned_that_nobody_needs():
    assert set(PINS) == set(dependencies.brought_by())


# Licences

PERMISSIVE = {
    *("0BSD", "Apache", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT"),
    *("MIT-CMU", "PSF", "PSF-2.0", "Zlib"),
}
# Weak copyleft: of the package's own files alone.
WEAK = {"certifi": {"MPL-2.0"}, "orjson": {"MPL-2.0"}, "shtab": {"MPL-2.0"}, "tqdm": {"MPL-2.0"}}
TABLE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
ROWS = {
    canonicalize_name(line.split(" | ")[0][2:]): line.removeprefix("| ").removesuffix(" |").split(" | ")
    for line in TABLE.splitlines()
    if line.count(" | ") == 4 and not line.startswith("| package")
}


def test_the_table_has_the_pins():
    assert {name: row[1] for name, row in ROWS.items()} == PINS


def test_the_table_has_what_the_installed_packages_tell():
    for name in AS_PINNED:
        assert list(dependencies.row_of(name, PINS[name], [ROWS[name][3]])) == ROWS[name]
    if OTHERS:
        pytest.skip(f"{len(AS_PINNED)} are compared; not installed as pinned: {', '.join(OTHERS)}")


@needs_pins
def test_the_table_is_made_anew():
    assert dependencies.page() == TABLE, "python export/dependencies.py > docs/dependencies.md"


def test_no_licence_binds_those_who_use_the_package():
    strict = {name: set(re.findall(r"[\w.-]+", row[2])) - {"AND", "OR"} - PERMISSIVE for name, row in ROWS.items()}
    assert {name: licences for name, licences in strict.items() if licences} == WEAK
    for name in AS_PINNED:
        assert not any("GNU" in text for text in dependencies.find(name).metadata.get_all("Classifier", [])), name


def test_a_licence_that_only_a_file_states_is_that_file_s():
    assert dependencies.BY_FILE == {"namex": "Apache-2.0"}
    if "namex" not in AS_PINNED:
        pytest.skip("namex is not installed as pinned")
    (file,) = (path for path in dependencies.find("namex").files if path.name == "LICENSE")
    assert "Apache License, Version 2.0" in file.read_text()


@pytest.fixture
def package(tmp_path):
    """The metadata of a package, from lines of them."""

    def made(*lines: str, name: str = "some"):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("\n".join([f"Name: {name}", "Version: 1", *lines]), encoding="utf-8")
        return dependencies.Distribution.at(folder)

    return made


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (["License-Expression: MIT", "License: BSD"], "MIT"),
        (["License: Apache 2.0", "        The whole text"], "Apache-2.0"),
        (["License: GPL-3.0-only", "Classifier: License :: OSI Approved :: MIT License"], "GPL-3.0-only"),
        (["License: Copyright", "Classifier: License :: OSI Approved :: BSD License"], "BSD"),
        (["Classifier: License :: OSI Approved :: MIT License", "Classifier: License :: X :: BSD"], "BSD AND MIT"),
        (["Classifier: License :: OSI Approved :: MIT License", "Classifier: License :: Other/Proprietary"], None),
        (["License: UNKNOWN", "Classifier: Topic :: MIT"], None),
    ],
)
def test_licences_are_read_where_they_are_clear(lines, licence, package):
    if licence:
        assert dependencies.licence_of(package(*lines)) == licence
    else:
        with pytest.raises(DataError, match="some: states no licence that is known"):
            dependencies.licence_of(package(*lines))


def test_extras_and_machines_are_told_apart(package, monkeypatch):
    wanted = [
        "b",
        "c; extra == 'more'",
        "d; python_version < '3.12'",
        "e; sys_platform == 'win32'",
        "f; extra == 'no'",
    ]
    packages = {
        "a": package(*(f"Requires-Dist: {one}" for one in wanted), "Provides-Extra: more", name="a"),
        **{name: package(name=name) for name in "bcd"},
    }
    monkeypatch.setattr(dependencies, "find", packages.__getitem__)
    assert dependencies.closure([Requirement("a")]) == {"a", "b", "d"}
    assert dependencies.closure([Requirement("a"), Requirement("a[more]")]) == {"a", "b", "c", "d"}
    monkeypatch.setitem(dependencies.TESTED, "python_version", "3.12")
    assert dependencies.closure([Requirement("a")]) == {"a", "b"}


@pytest.mark.parametrize(("name", "told"), [("pytest", "is installed, not 0.1"), ("no-such", "is not installed")])
def test_the_script_wants_what_is_pinned(name, told, monkeypatch, capsys):
    monkeypatch.setattr(dependencies, "brought_by", dict)
    monkeypatch.setattr(dependencies, "pins", lambda: {name: "0.1"})
    assert dependencies.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"dependencies: error: {name}: .*{told}; pip install -r requirements.txt\n", err)


# Weights

NAMES = pretrained.names()
EACH = [(name, file) for name in [*NAMES, "degradation_x4"] for file in sorted(pretrained.card(name).sha256)]
TUNED = [name for name in NAMES if pretrained.card(name).fidelity]


@pytest.fixture
def change(tmp_path, monkeypatch):
    """Makes the package have its shipped files, one of them with one byte changed."""
    source, folder = pretrained.FOLDER, tmp_path / "shipped"

    def changed(name: str) -> None:
        folder.mkdir()
        for path in source.iterdir():
            (folder / path.name).symlink_to(path)
        content = bytearray((source / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).unlink()
        (folder / name).write_bytes(content)
        monkeypatch.setattr(pretrained, "FOLDER", folder)

    forget()
    yield changed
    forget()


def forget() -> None:
    """What earlier tests have loaded must not be taken for what lies there now."""
    from keras_fsr.degradations.learned import transfer

    for loader in (transfer.load_network, transfer.load_engine, bulk_worker.load):
        loader.cache_clear()


def refused(file: str):
    return pytest.raises(ModelError, match=rf"^[^\n]*{file}: differs from the file that was shipped; [^\n]+\Z")


@pytest.mark.parametrize(("name", "file"), EACH)
def test_a_file_with_one_changed_byte_is_refused(name, file, change):
    change(file)
    with refused(file):
        pretrained.weights(name, file.removeprefix(name))


def test_every_file_of_weights_has_a_digest():
    weights = {path.name for path in pretrained.FOLDER.iterdir() if path.suffix in (".keras", ".tflite", ".npz")}
    assert weights == {file for _, file in EACH}
    assert all(
        re.fullmatch("[0-9a-f]{64}", digest) for name, _ in EACH for digest in pretrained.card(name).sha256.values()
    )


def bulk_run(folder):
    from keras_fsr.inference.bulk import upscale_bulk

    upscale_bulk(None, None, folder / "out", bulk_worker.Settings("face_x4"))


def keras_start(folder):
    from keras_fsr.training.building import load_start

    load_start(None, SimpleNamespace(start="face_x4"))


def keras_export(folder):
    from keras_fsr.deploy.source import load_source

    load_source("face_x4_int8")


def learned(kind):
    from keras_fsr.degradations.learned import transfer

    getattr(transfer, kind)("degradation_x4")


DOORS = {
    "Predictor": ("face_x4.tflite", lambda folder: Predictor("face_x4")),
    "strength, perceptual": ("face_x4_gan.tflite", lambda folder: Predictor("face_x4_gan", strength=0.5)),
    "strength, fidelity": ("face_x4.tflite", lambda folder: Predictor("face_x4_gan", strength=0.5)),
    "strength 1": ("face_x4.tflite", lambda folder: Predictor("face_x4_gan", strength=1)),
    "fixed size": ("face_x4.tflite", lambda folder: fix_size("face_x4", folder / "fixed.tflite", (32, 32))),
    "bulk, driver": ("face_x4.tflite", bulk_run),
    "bulk, worker": ("face_x4.tflite", lambda folder: bulk_worker.load(bulk_worker.Settings("face_x4"))),
    "start of a training": ("face_x4.keras", keras_start),
    "export": ("face_x4.keras", keras_export),
    "cameras": ("degradation_x4.npz", lambda folder: presets.load("learned")),
    "SynNet": ("degradation_x4.tflite", lambda folder: learned("load_engine")),
    "DegNet": ("degradation_x4.keras", lambda folder: learned("load_network")),
}


@pytest.mark.parametrize("door", DOORS)
def test_no_way_leads_to_a_changed_file(door, change, tmp_path):
    file, load = DOORS[door]
    if file.endswith(".keras"):
        pytest.importorskip("keras")
    change(file)
    with refused(file):
        load(tmp_path)


def test_the_command_says_it_in_one_line(change, tmp_path, capsys):
    change("face_x4.tflite")
    Image.new("RGB", (8, 8)).save(tmp_path / "face.png")
    assert cli.main(["upscale", str(tmp_path / "face.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "face_x4.tflite: differs" in line
    assert not (tmp_path / "face_x4.png").exists()


# Downloads


def test_downloads_are_by_https_and_have_a_digest():
    lpips = pytest.importorskip("keras_fsr.metrics.lpips_weights")
    from keras_fsr.extractors import weights as vgg
    from keras_fsr.inference import yunet_weights as yunet
    from keras_fsr.metrics import niqe_prior as niqe

    published = [file for pair in lpips.FILES.values() for file in pair]
    known = {
        lpips: [(file.address, file.sha256) for file in published],
        niqe: [(niqe.ADDRESS, niqe.DIGEST)],
        vgg: [(vgg.ADDRESS, digest) for _, digest in vgg.FILES.values()],
        yunet: [(yunet.ADDRESS, yunet.SHA256)],
    }
    assert {Path(module.__file__).relative_to(PACKAGE) for module in known} == downloaders()
    for module, files in known.items():
        for address, digest in files:
            assert address.startswith("https://")
            # Of VGG's files Keras states the MD5, and no public record of another digest was found.
            assert re.fullmatch("[0-9a-f]{32}" if module is vgg else "[0-9a-f]{64}", digest)


def downloaders() -> set[Path]:
    """Modules that fetch something, by what they call or import."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if names & {"urlopen", "urlretrieve", "get_file", "requests", "httpx", "aiohttp", "huggingface_hub"}:
            found.add(path.relative_to(PACKAGE))
    return found


# The wheel

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WHEEL = re.search(r"^## The wheel\n.*?```sh\n(.*?)```", CONTRIBUTING, re.MULTILINE | re.DOTALL)[1].splitlines()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Wheels by the commands of CONTRIBUTING.md, of copies with other folders, times, modes, umasks and leftovers."""
    if Version(version("setuptools")) < Version("77"):
        pytest.skip(f"the wheel needs setuptools >= 77, not {version('setuptools')}; pip install -r requirements.txt")
    first, second = tmp_path_factory.mktemp("first") / "tree", tmp_path_factory.mktemp("second") / "a" / "b"
    copy(first)
    copy(second)
    for path in second.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1e9, 1e9))
    for leftover in ("build/lib/keras_fsr/gone.py", "keras_fsr/__pycache__/cli.cpython-311.pyc", "tests/__init__.py"):
        (second / leftover).parent.mkdir(parents=True, exist_ok=True)
        (second / leftover).write_text("")
    yield build(first, "002"), build(second, "077")
    shutil.rmtree(first)  # a third of a gigabyte
    shutil.rmtree(second)


def copy(tree: Path) -> None:
    ignored = shutil.ignore_patterns(
        ".*", "__pycache__", "build", "dist", "docs", "notebooks", "*.egg-info", "*.dist-info"
    )
    shutil.copytree(ROOT, tree, ignore=ignored)


def build(tree: Path, umask: str) -> Path:
    assert WHEEL[0] == "export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)"  # the copies have no history
    commands = " && ".join([f"umask {umask}", *WHEEL[1:]]).replace(
        "pip wheel", f"{shlex.quote(sys.executable)} -m pip wheel"
    )
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        ["bash", "-c", commands], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tree / "dist").glob("*.whl")
    return wheel


def test_two_wheels_are_equal_to_the_byte(wheels):
    first, second = wheels
    assert first.name == second.name == f"keras_fsr-{keras_fsr.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        assert list(map(repr, one.infolist())) == list(map(repr, other.infolist()))  # with modes
    assert pretrained.digest(first) == pretrained.digest(second)


def test_the_wheel_holds_the_package_and_nothing_else(wheels):
    tree = wheels[0].parents[1]
    expected = {path.relative_to(tree).as_posix() for path in (tree / "keras_fsr").rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = set(wheel.namelist())
        for name, file in EACH:
            path = f"keras_fsr/pretrained/{file}"
            assert wheel.read(path) == (pretrained.FOLDER / file).read_bytes(), name
    added = f"keras_fsr-{keras_fsr.__version__}.dist-info"
    told = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    assert names == expected | {f"{added}/{name}" for name in told}
    assert {Path(name).suffix for name in expected} == {
        *(".html", ".json", ".keras", ".md", ".npz", ".py", ".tflite", ".yaml")
    }


def test_the_links_of_security_md_lead_somewhere():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)#?([^)]*)\)", text)
    assert len(links) > 5
    for path, heading in links:
        target = (ROOT / path).read_text(encoding="utf-8").lower().replace(" ", "-")
        assert f"\n##-{heading}\n" in target if heading else target, (path, heading)
