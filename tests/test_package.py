"""What importing costs, the names the package offers, and which module may import which."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_fsr

PACKAGE = Path(keras_fsr.__file__).parent

# Each part imports from its own floor or a lower one; those of SIBLINGS not from each other.
FLOORS = (
    {"archives", "errors", "files", "layers", "machine", "pretrained", "quiet", "recipes", "settings"},
    {"generators", "discriminators", "extractors"},
    {"losses", "metrics", "degradations", "data"},
    {"training", "inference", "evaluation"},
    {"deploy", "tables", "upscalers"},
    {"web", "commands", "cli", "__main__"},
)
SIBLINGS = {"training", "inference", "evaluation"}
MODULES = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]

# What only the extras install, beyond which the light install must run.
HEAVY = ("tensorflow", "keras", "matplotlib", "skimage", "yaml", "jinja2", "dlib")


@pytest.mark.parametrize(
    "module",
    [
        "keras_fsr",
        "keras_fsr.cli",
        "keras_fsr.evaluation.choosing",
        "keras_fsr.evaluation.opinion",
        "keras_fsr.evaluation.ratings",
        "keras_fsr.evaluation.report",
        "keras_fsr.generators",
        "keras_fsr.inference.engines",
        "keras_fsr.inference.faces",
        "keras_fsr.inference.interpolation",
        "keras_fsr.inference.predictor",
        "keras_fsr.metrics.fidelity",
        "keras_fsr.metrics.identity",
        "keras_fsr.metrics.niqe",
        "keras_fsr.pretrained",
    ],
)
def test_light_module_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


@pytest.mark.parametrize("name", sorted(set(keras_fsr.__all__) - {"__version__"}))
def test_public_name_resolves_to_its_class(name):
    assert name in dir(keras_fsr)
    assert getattr(keras_fsr, name).__name__ == name


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="keras_fsr.*'Upscaler'"):
        _ = keras_fsr.Upscaler


def imported_parts(path: Path) -> set[str]:
    """Parts of keras_fsr that a module imports anywhere, e.g. {"errors", "data"}."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("keras_fsr.")} - {"__version__"}


def part_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def floor_of(part: str) -> int:
    floors = [index for index, parts in enumerate(FLOORS) if part in parts]
    assert floors, f"keras_fsr.{part} has no floor; add it to FLOORS"
    return floors[0]


def test_reader_of_imports_sees_every_kind():
    # Golden: the import statements of these files.
    assert imported_parts(Path("training/recipes.py")) == {"errors", "files", "settings", "training"}
    assert imported_parts(Path("generators/rrdb.py")) == {"layers"}
    assert imported_parts(Path("errors.py")) == set()


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts != ("__init__.py",)], ids=str)
def test_module_imports_from_its_floor_or_below(path):
    part, imported = part_of(path), imported_parts(path)
    above = {name for name in imported if floor_of(name) > floor_of(part)}
    assert not above, f"{path} imports from a higher floor"
    if part in SIBLINGS:
        assert not imported & (SIBLINGS - {part}), f"{path} imports a sibling"
    if part not in ("cli", "__main__"):
        assert "cli" not in imported


def test_the_package_itself_imports_no_part():
    assert imported_parts(Path("__init__.py")) == set()
