"""What the observers of a study of opinion thought: the files that its page saved, and the table made of them.

`read_ratings` trusts no field of a file. `show` prints MOS and DMOS, as `metrics.opinion` defines them.
"""

import csv
import json
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from keras_fsr.errors import DataError, first_line
from keras_fsr.files import read_text, whole_file
from keras_fsr.metrics.opinion import FEWEST_SCREENED, Opinion, opinion, screen

VERSION = 1  # of the page and of the file that it saves
LARGEST = 10_000_000  # bytes
LONGEST = 1000  # letters of a name
WANTED_OBSERVERS = 15  # BT.500-13, annex 1, section 2.5

Key = tuple[str, str | None]
"""Image and model of a pair; without a model it is a control, the original beside itself."""


@dataclass(frozen=True)
class Ratings:
    """What one observer saved."""

    file: Path
    study: str
    observer: str
    seed: int
    scores: Mapping[Key, tuple[float, float]]  # of the original and of the processed image, 0 to 100


def show(files: Sequence[Path], table: Path | None = None) -> None:
    """Prints what the observers thought: a line a model, the best first, then who was left out and the controls.

    Args:
        files: that the page saved, one an observer.
        table: also writes the models' lines, as CSV.

    Raises:
        DataError: as of `read_ratings`.
        OutputError: the CSV cannot be written.
    """
    ratings = read_ratings(files)
    kept, notes = screened(ratings)
    opinions = opinions_of(kept)
    print(f"study {ratings[0].study}, {len(ratings)} observers")
    print(format_opinions(opinions))
    print("\n".join([*notes, *control_notes(kept)]))
    if table:
        write_csv(opinions, table)
        print(f"written: {table}")


def opinions_of(ratings: Sequence[Ratings]) -> dict[str, Opinion]:
    """Model -> its opinion, the best first."""
    keys = model_pairs(ratings[0])
    opinions = {}
    for model in sorted({model for _, model in keys}):
        original, processed = scores_of(ratings, [key for key in keys if key[1] == model])
        opinions[model] = opinion(original, processed)
    return dict(sorted(opinions.items(), key=lambda item: item[1].dmos))


def model_pairs(ratings: Ratings) -> list[tuple[str, str]]:
    """All pairs but the controls."""
    return [(image, model) for image, model in ratings.scores if model]


def scores_of(ratings: Sequence[Ratings], keys: Sequence[Key]) -> np.ndarray:
    """Scores of the originals and of the processed images: (2, observers, pairs)."""
    return np.array([[one.scores[key] for key in keys] for one in ratings], np.float64).transpose(2, 0, 1)


def screened(ratings: Sequence[Ratings]) -> tuple[list[Ratings], list[str]]:
    """The observers who stay, and lines that say who does not and why."""
    original, processed = scores_of(ratings, model_pairs(ratings[0]))
    found = screen(original - processed)
    kept = [one for one, rejected in zip(ratings, found.rejected, strict=True) if not rejected]
    notes = [
        f"observer {one.observer} left out: {above + below} of {original.shape[1]} difference scores are far from "
        f"the others', {above} above and {below} below"
        for one, above, below, rejected in zip(ratings, found.above, found.below, found.rejected, strict=True)
        if rejected
    ]
    if len(ratings) < FEWEST_SCREENED:
        notes = [f"screening: none; with fewer than {FEWEST_SCREENED} observers nobody can be far from the others"]
    elif not notes:
        notes = ["screening: nobody left out"]
    if len(kept) < WANTED_OBSERVERS:
        notes.append(f"observers: {len(kept)}, where BT.500 wants {WANTED_OBSERVERS}")
    return kept, notes


def control_notes(ratings: Sequence[Ratings]) -> list[str]:
    """A line on the controls, where there are any: how far apart each observer rates two equal pictures."""
    keys = [key for key in ratings[0].scores if key[1] is None]
    if not keys:
        return []
    one, other = scores_of(ratings, keys)
    apart = np.abs(one - other).mean(axis=1)
    by_observer = ", ".join(f"{each.observer} {noise:.1f}" for each, noise in zip(ratings, apart, strict=True))
    return [f"controls, the original beside itself: rated {apart.mean():.1f} apart on average; {by_observer}"]


def format_opinions(opinions: Mapping[str, Opinion]) -> str:
    """Plain text: a line a model, columns aligned, no newline at the end."""
    lines = [("model", "MOS", "DMOS", "+-95 %", "observers", "ratings")]
    for model, figures in opinions.items():
        interval = "-" if math.isnan(figures.interval) else f"{figures.interval:.2f}"
        counts = str(figures.observers), str(figures.ratings)
        lines.append((model, f"{figures.mos:.2f}", f"{figures.dmos:.2f}", interval, *counts))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))])
        for name, *numbers in lines
    )


def write_csv(opinions: Mapping[str, Opinion], path: Path) -> None:
    """Raises OutputError where the file cannot be written."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["model", "mos", "dmos", "interval95", "observers", "ratings"])
        for model, figures in opinions.items():
            interval = "" if math.isnan(figures.interval) else round(figures.interval, 6)
            scores = round(figures.mos, 6), round(figures.dmos, 6), interval
            writer.writerow([model, *scores, figures.observers, figures.ratings])


def read_ratings(files: Sequence[Path]) -> list[Ratings]:
    """Reads the observers' files of one study.

    Raises:
        DataError: no files; or one that is not as the page saves it, is of another study or of an observer who has
            one already, or lacks pairs that the study has.
    """
    if not files:
        raise DataError("no ratings; give the files that the page of a study saved")
    ratings = [read_file(Path(file)) for file in files]
    for index, one in enumerate(ratings):
        if one.study != ratings[0].study:
            raise DataError(f"{one.file}: is of another study than {ratings[0].file}; give the files of one study")
        for other in ratings[:index]:
            if one.observer == other.observer or one.seed == other.seed:
                raise DataError(
                    f"{one.file}: is by {one.observer}, as {other.file} is by {other.observer}; leave out one, or "
                    "rename the observer in it if these are two people"
                )
    whole = {key for one in ratings for key in one.scores}
    images, models = {image for image, _ in whole}, {model for _, model in whole if model}
    whole |= {(image, model) for image in images for model in models}
    for one in ratings:
        if missing := sorted(whole - one.scores.keys(), key=str):
            image, model = missing[0]
            raise DataError(
                f"{one.file}: lacks {len(missing)} of {len(whole)} pairs, e.g. {image} by {model or 'the original'}; "
                "leave it out, or give it as the page saved it"
            )
    return ratings


def read_file(file: Path) -> Ratings:
    """Reads one observer's file.

    Raises:
        DataError: it is not as the page saves it.
    """
    try:
        return parsed(file, json.loads(read_text(file, LARGEST)))
    except (OSError, RecursionError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise DataError(f"{file}: is no file of ratings ({reason}); give it as the page saved it") from error


def parsed(file: Path, data: Any) -> Ratings:
    """Raises ValueError for what the page would not save."""
    check(data, SESSION, "the file")
    check(data["window"], WINDOW, "window")
    scores = {}
    for index, trial in enumerate(data["trials"], start=1):
        check(trial, TRIAL, f"trial {index}")
        key = trial["image"], trial["model"]
        if key in scores:
            raise ValueError(f"trial {index} repeats another")
        scores[key] = trial["reference"], trial["processed"]
    if len(scores) != data["planned"]:
        raise ValueError(f"it has {len(scores)} trials of {data['planned']}")
    if not any(model for _, model in scores):
        raise ValueError("it rates no model")
    return Ratings(file, data["study"], data["observer"], data["seed"], scores)


def check(record: Any, rules: Mapping[str, tuple[Callable[[Any], bool], str]], where: str) -> None:
    """Raises ValueError unless a record has the fields of the rules and no others, each as it should be."""
    if not isinstance(record, dict) or record.keys() != rules.keys():
        raise ValueError(f"{where} has other fields than {', '.join(rules)}")
    for name, (is_right, what) in rules.items():
        if not is_right(record[name]):
            raise ValueError(f"{name} of {where} is not {what}")


def is_line(value: Any) -> bool:
    """Whether it is text that does no harm in a line: not long, without line breaks, controls, invisible letters."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        return False
    kinds = {unicodedata.category(letter) for letter in value}
    return not any(kind.startswith("C") or kind in ("Zl", "Zp") for kind in kinds)


def is_number(value: Any, most: float = 2**53) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def is_time(value: Any) -> bool:
    try:
        return bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


LINE = (is_line, "a line of text")
NUMBER = (is_number, "a number from 0")
SCORE = (lambda value: is_number(value, 100), "a number from 0 to 100")
TIME = (is_time, "an ISO time")
SESSION = {
    "version": (lambda value: value == VERSION, f"{VERSION}, all that is known here"),
    "study": LINE,
    "observer": LINE,
    "notes": (lambda value: isinstance(value, str), "text"),
    "seed": NUMBER,
    "started": TIME,
    "finished": TIME,
    "window": (lambda value: isinstance(value, dict), "an object"),
    "planned": NUMBER,
    "trials": (lambda value: isinstance(value, list), "a list"),
}
WINDOW = dict.fromkeys(("width", "height", "pixel_ratio", "zoom"), NUMBER)
TRIAL = {
    "image": LINE,
    "model": (lambda value: value is None or is_line(value), "a line of text or null"),
    "left": (lambda value: value in ("reference", "processed"), "reference or processed"),
    "reference": SCORE,
    "processed": SCORE,
    "milliseconds": NUMBER,
}
