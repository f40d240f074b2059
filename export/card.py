"""Writes the figures of a shipped model's card from reports, so that none is typed by hand.

    keras-fsr evaluate --models NAME ... --data FACES/test/256 --metrics all --report REPORT
    python export/card.py NAME REPORT [REPORT ...]

Each report becomes an entry of `figures` under the name of its data, with every model in it, and its groups (`--by`)
become entries of `subgroups`; both take the place of what the card had. The headline is that of the first report. A
report of another file than the one that is shipped is refused.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_fsr import pretrained
from keras_fsr.errors import DataError, FSRError
from keras_fsr.files import whole_file

DIGITS = 4
BASELINE = "bicubic"  # what a group's figures are to be compared with


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a shipped model")
    parser.add_argument(
        "reports", nargs="+", type=Path, metavar="REPORT", help="folders of keras-fsr evaluate --report"
    )
    arguments = parser.parse_args()
    try:
        card = filled(pretrained.card(arguments.name), [read(folder) for folder in arguments.reports])
        write(card)
    except FSRError as error:
        print(f"card: error: {error}", file=sys.stderr)
        return 2
    print(card.figures["headline"])
    return 0


def read(folder: Path) -> dict[str, Any]:
    """The summary of a report.

    Raises:
        DataError: there is none.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or not {"data", "models", "subgroups", "sha256"} <= summary.keys():
            raise ValueError("it lacks the keys of one")
        return summary
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no summary of a report ({error}); give a folder of evaluate --report") from error


def filled(card: pretrained.Card, summaries: Sequence[Mapping[str, Any]]) -> pretrained.Card:
    """The card with the figures and groups of reports.

    Raises:
        DataError: a report has not measured the model's shipped file, or two are of one data set.
    """
    figures, subgroups = {}, {}
    for summary in summaries:
        label = label_of(summary)
        if summary["sha256"].get(card.name) != card.sha256[f"{card.name}.tflite"]:
            raise DataError(f"{label}: the report is not of the {card.name} that is shipped; measure it again")
        if label in figures:
            raise DataError(f"{label}: two reports are of these data; leave one out")
        figures[label] = plain(summary)
        for column, groups in summary["subgroups"].items():
            for group, part in groups.items():
                models = plain(part)
                subgroups[f"{label}, {column} {group}"] = {
                    name: models[name] for name in (card.name, BASELINE) if name in models
                }
    label = next(iter(figures))
    figures["headline"] = headline(label, figures[label][card.name])
    return dataclasses.replace(card, figures=figures, subgroups=subgroups)


def label_of(summary: Mapping[str, Any]) -> str:
    """The data's name, and that of the LR images where they are not reductions."""
    lr = summary["data"]["lr_folder"]
    return summary["data"]["folder"] + (f" from {lr}" if lr else "")


def plain(part: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Model -> images, figures and their 95 % intervals (KEY_95)."""
    models = {}
    for name, measured in part["models"].items():
        models[name] = {"images": part["images"]}
        for key, figure in measured.items():
            models[name][key] = round(figure["mean"], DIGITS)
            if figure["low"] is not None:
                models[name][f"{key}_95"] = [round(figure[bound], DIGITS) for bound in ("low", "high")]
    return models


def headline(label: str, figures: Mapping[str, float]) -> str:
    text = f"{label}: PSNR-Y {figures['psnr_y']:.2f} dB, SSIM-Y {figures['ssim_y']:.4f}"
    return text + (f", LPIPS {figures['lpips']:.4f}" if "lpips" in figures else "")


def write(card: pretrained.Card) -> None:
    with whole_file(pretrained.FOLDER / f"{card.name}.json") as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(card), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
