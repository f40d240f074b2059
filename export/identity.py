"""Prints docs/results/identity.md: how far each shipped model moves faces from who they were, by groups.

keras-fsr evaluate --models NAMES,bicubic --data FACES --metrics identity --manifest FILE --by COLUMN --report R
python export/identity.py COLUMN R [R ...] > docs/results/identity.md
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from keras_fsr import pretrained

BASELINE = "bicubic"
HEAD = """\
# Identity by groups

Distance of dlib's face descriptor from that of the original; below 0.6 counts as one person. In brackets the mean of
the worst 5 %, of at least one face. **Bold**: further than bicubic interpolation of the same faces. Made by
`python export/identity.py` from reports of `keras-fsr evaluate`; your own groups: `--manifest FILE --by COLUMN`.

The groups are what is known of the test faces: generated portraits carry the sex that was asked for, official ones of
the US Congress nothing but their source. They do not stand for all faces, and a descriptor has its weaknesses with
groups that it saw little of.
"""


def main() -> None:
    column, *folders = sys.argv[1:]
    print(HEAD)
    for folder in folders:
        print("\n".join(section(json.loads(Path(folder, "summary.json").read_text(encoding="utf-8")), column)))


def section(summary: Mapping, column: str) -> Iterator[str]:
    """The table of one report."""
    data = summary["data"]
    yield f"## {data['folder']}" + (f" from {data['lr_folder']}" if data["lr_folder"] else ", clean reductions by 4")
    groups = summary["subgroups"][column]
    yield "\n| model | " + " | ".join(f"{name} ({part['images']})" for name, part in groups.items()) + " |"
    yield "|---|" + "---|" * len(groups)
    for name in [name for name in pretrained.names() if name in summary["models"]] + [BASELINE]:
        cells = [cell(part["models"], name) for part in groups.values()]
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""


def cell(models: Mapping, name: str) -> str:
    mean, worst = (models[name][key]["mean"] for key in ("identity", "identity_worst"))
    text = f"{mean:.3f}"
    if mean > models[BASELINE]["identity"]["mean"]:
        text = f"**{text}**"
    return f"{text} ({worst:.3f})"


if __name__ == "__main__":
    main()
