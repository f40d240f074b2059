"""Prints docs/dependencies.md: what requirements.txt pins, under which licence, and which extra brings it.

    pip install -r requirements.txt
    python export/dependencies.py > docs/dependencies.md

All is told by the metadata of the installed packages.
"""

import configparser
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from keras_fsr.errors import DataError, FSRError

ROOT = Path(__file__).parents[1]
PACKAGE, LIGHT = "keras-fsr", "light"
# What the pins were made with; other machines need other packages.
TESTED = {
    "python_version": "3.11",
    "python_full_version": "3.11.7",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}

# What metadata call licences instead of by their SPDX identifiers.
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache",
    "BSD": "BSD",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "Boost Software License": "BSL-1.0",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "ISC license": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF",
}
BY_FILE = {"namex": "Apache-2.0"}
"""Packages whose metadata name no licence: what the licence file says that they bring."""

HOMES = ("homepage", "home", "repository", "source", "source code", "code", "github", "documentation")
"""Labels of addresses; the first that a package has is taken."""

HEAD = f"""\
# Dependencies

Made by `python export/dependencies.py` from the metadata of what [requirements.txt](../requirements.txt) pins, with
Python {TESTED["python_version"]} on Linux. Licences are SPDX identifiers; Apache, BSD and PSF alone stand where a
package states no more. *{LIGHT}* is what is always installed, the rest comes with the extras that are named.

MPL-2.0 binds who changes files of these packages, not who uses them. Wheels also hold libraries of others, whose
terms lie in the `*.dist-info` folder: `opencv-python-headless` has FFmpeg (LGPL-2.1), `numpy` and `scipy` have GCC's
runtime (GPL-3.0 with the exception that lets any program use it).

| package | version | licence | brought by | home |
|---|---|---|---|---|
"""


class Row(NamedTuple):
    """A line of the table."""

    name: str
    version: str
    licence: str
    extras: str
    home: str


def main() -> int:
    try:
        print(page(), end="")
    except FSRError as error:
        print(f"dependencies: error: {error}", file=sys.stderr)
        return 2
    return 0


def page() -> str:
    """The text of docs/dependencies.md.

    Raises:
        DataError: a package is not installed as it is pinned, or its licence is not known.
    """
    brought = brought_by()
    rows = (row_of(name, version, brought.get(name, [])) for name, version in pins().items())
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def row_of(name: str, version: str, extras: Iterable[str]) -> Row:
    """The row of a package that is installed as it is pinned; `DataError` as of `page`."""
    installed = find(name)
    if installed.version != version:
        raise DataError(f"{name}: {installed.version} is installed, not {version}; pip install -r requirements.txt")
    return Row(installed.name, version, licence_of(installed), ", ".join(extras), home_of(installed))


def pins() -> dict[str, str]:
    """Canonical name -> version, of requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = (line.partition("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, _, version in names}


def stated() -> dict[str, list[Requirement]]:
    """Extra -> what setup.cfg states for it; the light install's under `LIGHT`."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = {LIGHT: config["options"]["install_requires"], **config["options.extras_require"]}
    found = {
        extra: [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
        for extra, text in texts.items()
    }
    return {extra: [one for one in wanted if one.name != PACKAGE] for extra, wanted in found.items()}


def brought_by() -> dict[str, list[str]]:
    """Canonical name -> the extras that bring a package, or `LIGHT` alone."""
    brought = {name: [LIGHT] for name in closure(stated()[LIGHT])}
    for extra, wanted in stated().items():
        for name in closure(wanted):
            if LIGHT not in brought.setdefault(name, []):
                brought[name].append(extra)
    return brought


def closure(wanted: Iterable[Requirement]) -> set[str]:
    """Canonical names of packages and of all that they need.

    Raises:
        DataError: one is not installed.
    """
    done, waiting = set(), list(wanted)
    while waiting:
        one = waiting.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key not in done:
            done.add(key)
            waiting += needs(find(one.name), one.extras)
    return {name for name, _ in done}


def needs(installed: Distribution, extras: Iterable[str] = ()) -> Iterator[Requirement]:
    """What a package with some of its extras asks for on the machine of `TESTED`."""
    for one in map(Requirement, installed.requires or ()):
        if one.marker is None or any(one.marker.evaluate({**TESTED, "extra": extra}) for extra in ("", *extras)):
            yield one


def find(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise DataError(f"{name}: is not installed; pip install -r requirements.txt") from None


def licence_of(installed: Distribution) -> str:
    """The licence by License-Expression, the License field or the classifiers, whichever is clear first.

    Raises:
        DataError: none is.
    """
    metadata, name = installed.metadata, canonicalize_name(installed.name)
    field = (metadata.get("License") or "").strip().partition("\n")[0]  # some have the whole text there
    classifiers = [text for text in metadata.get_all("Classifier", []) if text.startswith("License")]
    parts = sorted({spdx(text.rpartition(" :: ")[2]) for text in classifiers})
    together = " AND ".join(parts) if all(parts) else ""
    found = spdx(metadata.get("License-Expression") or "") or spdx(field) or together or BY_FILE.get(name)
    if not found:
        raise DataError(f"{name}: states no licence that is known; look it up and add it to NAMES or BY_FILE")
    return found


def spdx(text: str) -> str:
    """The identifier, or expression of identifiers, of a licence; empty if it is not known."""
    if text in NAMES:
        return NAMES[text]
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return ""


def home_of(installed: Distribution) -> str:
    """The home page, or else the page on PyPI."""
    links = (text.partition(", ") for text in installed.metadata.get_all("Project-URL", []))
    addresses = {label.lower(): address for label, _, address in links}
    others = [addresses[label] for label in HOMES if label in addresses]
    return (
        installed.metadata.get("Home-page") or next(iter(others), "") or f"https://pypi.org/project/{installed.name}/"
    )


if __name__ == "__main__":
    sys.exit(main())
