"""The report that a person reads: one HTML file that needs nothing else, and the same as Markdown."""

import base64
import functools
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from keras_fsr.evaluation import plots
from keras_fsr.evaluation.measures import Measure
from keras_fsr.evaluation.protocol import Row
from keras_fsr.files import make_folder, whole_file

TEMPLATES = Path(__file__).parent / "templates"
PICTURE = {"format": "WEBP", "quality": 85, "method": 6}  # half of what a JPEG of that quality takes


class Strip(NamedTuple):
    """A picture of the report."""

    title: str
    image: Image.Image


class Extremes(NamedTuple):
    """On which images the first model does worst and best."""

    measure: Measure
    worst: Sequence[str]
    best: Sequence[str]


def write_page(
    summary: Mapping[str, Any],
    rows: Sequence[Row],
    measures: Sequence[Measure],
    extremes: Extremes,
    strips: Sequence[Strip],
    folder: Path,
) -> list[Path]:
    """Writes report.html, report.md and strips/*.webp into a folder and returns them.

    Args:
        summary: of `summary.make_summary`.
        rows, measures: that it was made of; the distributions are drawn from them.
        extremes, strips: what is shown of single images.

    Raises:
        OutputError: the folder cannot be written.
    """
    shown = [m for m in measures if any(m.key in figures for figures in summary["models"].values())]
    pictures = [encoded(strip, index) for index, strip in enumerate(strips, start=1)]
    for old in (folder / "strips").glob("[0-9][0-9].*"):  # of an earlier report
        old.unlink()
    if pictures:
        make_folder(folder / "strips")
    values = {
        "title": title(summary),
        "intro": intro(summary),
        "first": summary["first"],
        "measures": [heading(m) for m in shown],
        "table": table(summary, shown),
        "originals": [shown_as(summary["originals"].get(m.key), m.form, "") for m in shown],
        "legend": "The figure of the set, under it the 95 % bootstrap interval; the best is bold.",
        "subgroups": [
            {
                "column": column,
                "parts": [
                    {"name": name, "images": part["images"], "table": table(part, shown)}
                    for name, part in groups.items()
                ],
            }
            for column, groups in summary["subgroups"].items()
        ],
        "plots": [heading(m) | {"svg": svg} for m in shown if (svg := plots.distribution(rows, m))],
        "extremes": {
            "heading": extremes.measure.heading,
            "lists": [("Worst", extremes.worst), ("Best", extremes.best)],
        },
        "strips": pictures,
        "facts": facts(summary, shown),
    }
    for picture in pictures:
        with whole_file(folder / picture["file"]) as temporary:
            temporary.write_bytes(picture["bytes"])
    written = [folder / name for name in ("report.html", "report.md")]
    for path in written:
        with whole_file(path) as temporary:
            temporary.write_text(render(path.name, values), encoding="utf-8", errors="replace")
    return [*written, *(folder / picture["file"] for picture in pictures)]


def render(name: str, values: Mapping[str, Any]) -> str:
    return templates().get_template(name).render(values)


@functools.cache
def templates():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = in_markdown
    return environment


def in_markdown(text: str) -> str:
    """A text in which nothing stands for a table, link, emphasis, code or HTML: names are the user's."""
    return re.sub(r"[\\|<`*\[\]]", r"\\\g<0>", text)


def title(summary: Mapping[str, Any]) -> str:
    return f"Enlarging {summary['data']['folder']} by {summary['scale']}"


def intro(summary: Mapping[str, Any]) -> str:
    images = "one image" if summary["images"] == 1 else f"{summary['images']} images"
    text = f"{images.capitalize()}, {len(summary['models'])} methods. LR: {summary['data']['lr']}."
    if summary["images"] == 1:
        text += " One image has no intervals and says little about others."
    return text


def heading(measure: Measure) -> dict[str, str]:
    return {
        "heading": measure.heading,
        "arrow": "\N{UPWARDS ARROW}" if measure.higher_is_better else "\N{DOWNWARDS ARROW}",
        "means": measure.means,
    }


def table(part: Mapping[str, Any], measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Rows of cells: the figures as text, which is best, and the difference to the first model."""
    best = {measure.key: best_of(part["models"], measure) for measure in measures}
    rows = []
    for name, figures in part["models"].items():
        cells = [cell(figures.get(m.key), m) | {"best": name in best[m.key]} for m in measures]
        rows.append({"name": name, "first": name == part["first"], "cells": cells})
    return rows


def best_of(models: Mapping[str, Any], measure: Measure) -> set[str]:
    """The models whose figure, as it is printed, is the best."""
    printed = {
        name: float(format(figures[measure.key]["mean"], measure.form))
        for name, figures in models.items()
        if measure.key in figures
    }
    if len(set(printed.values())) < 2 or not measure.ranked:
        return set()
    best = (max if measure.higher_is_better else min)(printed.values())
    return {name for name, value in printed.items() if value == best}


def cell(figure: Mapping[str, Any] | None, measure: Measure) -> dict[str, Any]:
    if figure is None:
        return {"text": "\N{EN DASH}", "interval": "", "difference": "", "sure": False}
    difference = figure.get("difference")
    sure = bool(difference) and None not in difference.values() and difference["low"] * difference["high"] > 0
    return {
        "text": shown_as(figure["mean"], measure.form),
        "interval": ""
        if figure["low"] is None
        else f"{figure['low']:{measure.form}} to {figure['high']:{measure.form}}",
        "difference": shown_as(difference["mean"], "+" + measure.form) + "*" * sure if difference else "",
        "sure": sure,
    }


def shown_as(value: float | None, form: str, missing: str = "\N{EN DASH}") -> str:
    return missing if value is None or math.isnan(value) else format(value, form)


def facts(summary: Mapping[str, Any], measures: Sequence[Measure]) -> list[str]:
    """What a reader needs to trust or repeat the figures."""
    left_out = summary["left_out"]
    lines = [
        f"Images: {summary['data']['folder']}, SHA-256 of names and contents {summary['data']['sha256']}.",
        f"{summary['border']} pixels are cut from every side for PSNR, SSIM, colour, NIQE and PI; results "
        "are rounded to 8 bits; every measure is taken image by image.",
        *(f"{m.heading}: {m.means}; {'more' if m.higher_is_better else 'less'} is better." for m in measures),
        *([f"Not measured, for want of weights or packages: {', '.join(left_out)}."] if left_out else []),
        *(f"{name}: file with SHA-256 {digest}." for name, digest in summary["sha256"].items()),
        "Versions: " + ", ".join(f"{name} {number}" for name, number in summary["versions"].items()) + ".",
    ]
    partly = {
        (m.heading, figures[m.key]["images"])
        for figures in summary["models"].values()
        for m in measures
        if m.key in figures and figures[m.key]["images"] < summary["images"]
    }
    return lines + [f"{name} could be measured on {images} images only." for name, images in sorted(partly)]


def encoded(strip: Strip, index: int) -> dict[str, Any]:
    stream = io.BytesIO()
    strip.image.save(stream, **PICTURE)
    data = stream.getvalue()
    return {
        "title": strip.title,
        "alt": f"{strip.title}: input, every method and the original; below, their eyes and mouths",
        "file": f"strips/{index:02}.webp",
        "bytes": data,
        "data": "data:image/webp;base64," + base64.b64encode(data).decode(),
        "width": strip.image.width,
        "height": strip.image.height,
    }
