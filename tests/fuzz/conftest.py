"""What tests of hostile files share. The fuzzer's modules lie beside its tests, where its script finds them too."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def write(tmp_path):
    """Writes text or bytes to a file of tmp_path and returns its path."""

    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_file


@pytest.fixture
def make_keras(tmp_path):
    """Writes a `.keras` file with the weights of a sound one and the given configuration or members."""

    def make(config=None, **members: bytes) -> Path:
        import corpus

        content = corpus.unzipped(corpus.keras_models()["plain.keras"])
        if config is not None:
            content["config.json"] = config if isinstance(config, bytes) else json.dumps(config).encode()
        path = tmp_path / "model.keras"
        path.write_bytes(corpus.zip_file({**content, **members}))
        return path

    return make
