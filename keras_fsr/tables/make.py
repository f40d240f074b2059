"""Trains the rows of a table that can be trained, measures all, and writes Markdown, CSV and a sheet of pictures."""

import csv
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

import keras_fsr
from keras_fsr.data.degraded_folder import number_of
from keras_fsr.data.folders import list_images
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DataError, ModelError, RecipeError, TrainingError
from keras_fsr.evaluation import protocol
from keras_fsr.evaluation.measures import BASIC, Measure
from keras_fsr.evaluation.sheet import contact_sheet
from keras_fsr.files import WEIGHTS_VARIABLE, make_folder, whole_file
from keras_fsr.inference.engines import load_engine
from keras_fsr.losses import pieapp
from keras_fsr.tables.papers import TABLES, Table, TableRow
from keras_fsr.training.callbacks import read_log
from keras_fsr.training.recipes import Recipe, load_recipe
from keras_fsr.training.run import train

PAPER_FIGURES = {"psnr": ("PSNR", ".2f"), "ssim": ("SSIM", ".4g"), "lpips": ("LPIPS", ".4g")}
SHEET_FACES, SHEET_SIDE = 3, 256
EPOCHS = 4  # of every trained row


def make_table(
    name: str,
    data: Path,
    out: Path,
    steps: int,
    measures: Sequence[Measure] = BASIC,
    progress: Callable[[str], None] = print,
    overrides: tuple[str, ...] = (),
) -> str:
    """Makes one paper's table; a second call goes on where the first was stopped.

    Args:
        name: "A", "B", "C" or "D".
        data: folder with the subfolders `train`, `val` and the table's test folder.
        out: folder of this data's tables, `table_NAME.md`, `.csv` and `.png`, and of each row's run, `rows/NAME/...`.
        steps: of every trained row, a multiple of 4.
        measures: what to measure; columns of others are left out.
        overrides: "section.key=value" for every trained row, after its own.

    Returns:
        The Markdown.

    Raises:
        DataError: the data lacks the test folder.
        TrainingError: a row's run in `out` was made by other settings; and what training raises.
    """
    if steps < EPOCHS or steps % EPOCHS:
        raise RecipeError(f"{steps} steps are not a multiple of {EPOCHS}")
    table = TABLES[name]
    folder = data / table.test
    if not folder.is_dir():
        raise DataError(f"{folder}: is missing; table {name} measures the images there")
    make_folder(out / "rows" / name)
    models, seconds = {}, {}
    for row in table.rows:
        if row.interpolation:
            models[row.label] = protocol.baselines(table.scale)[row.interpolation]
        elif row.recipe and not missing(row):
            progress(f"table {name}: {row.label}")
            run = out / "rows" / name / row.key
            models[row.label] = upscaler(trained(table, row, data, run, steps, overrides))
            seconds[row.label] = seconds_of(run)
    files = list_images(folder)
    progress(f"table {name}: measuring {len(files)} images")
    rows = protocol.evaluate(models, files, table.scale, measures=measures, make_lr=make_lr(table))
    summary = protocol.summarize(rows, measures)
    text = markdown(table, summary, seconds, name, steps, len(files), measures)
    write_csv(table, summary, seconds, out / f"table_{name}.csv")
    draw_sheet(table, models, files, out / f"table_{name}.png")
    with whole_file(out / f"table_{name}.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def missing(row: TableRow) -> str:
    """What the row's training lacks on this machine, or nothing."""
    if row.needs == "pieapp":
        try:
            pieapp.find_weights(None)
        except ModelError:
            return f"needs {pieapp.FILE} in the folder {WEIGHTS_VARIABLE}"
    return ""


def trained(table: Table, row: TableRow, data: Path, run: Path, steps: int, overrides: tuple[str, ...]) -> Path:
    """The row's generator: of its finished run, or of one that is started or resumed now."""
    recipe = row_recipe(table, row, steps, overrides)
    saved = run / "recipe.yaml"
    if saved.is_file() and load_recipe(saved) != recipe:
        raise TrainingError(f"{run}: was made by other settings; give another --out, or remove it")
    finished = run / f"{recipe.name}.keras"
    if finished.is_file():
        return finished
    return train(recipe, data, run, resume=saved.is_file())


def row_recipe(table: Table, row: TableRow, steps: int, overrides: tuple[str, ...] = ()) -> Recipe:
    """The row's recipe at the budget: the recipe's own, then the row's settings, then what makes all rows equal."""
    equal = (
        f"data.patch_size={table.patch_size}",
        "data.batch_size=8",
        "data.validation_limit=8",
        f"training.steps={steps}",
        f"training.steps_per_epoch={steps // EPOCHS}",
        "training.monitor=step",
    )
    return load_recipe(row.recipe, (*row.overrides, *equal, *overrides), budget=True)


def seconds_of(run: Path) -> float:
    """Seconds of training by the run's log, as far as it has them."""
    return sum(row.get("seconds", 0.0) for row in read_log(run / "log.csv"))


def upscaler(path: Path) -> protocol.Upscaler:
    engine = load_engine(path)
    return lambda lr: np.rint(np.clip(engine(lr.astype("float32") / 255.0), 0, 1) * 255).astype("uint8")


def markdown(
    table: Table,
    summary: Mapping[str, Mapping[str, float]],
    seconds: Mapping[str, float],
    name: str,
    steps: int,
    images: int,
    measures: Sequence[Measure] = BASIC,
) -> str:
    """The table with the paper's figures first, ours after them, and what explains the difference."""
    columns = [m for m in measures if m.key in table.columns and any(m.key in f for f in summary.values())]
    head = ["method", *(f"paper {title}" for title, _ in PAPER_FIGURES.values())]
    head += [*(measure.heading for measure in columns), "minutes", ""]
    lines = [f"# {table.title}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in table.rows:
        cells = [row.label]
        cells += [
            format(row.paper[key], form) if key in row.paper else "" for key, (_, form) in PAPER_FIGURES.items()
        ]
        figures = summary.get(row.label, {})
        cells += [format(figures[m.key], m.form) if m.key in figures else "" for m in columns]
        cells.append(f"{seconds[row.label] / 60:.1f}" if row.label in seconds else "")
        cells.append(row.absent or missing(row))
        lines.append("| " + " | ".join(cells) + " |")
    command = f"keras-fsr tables {name} --data FACES --out OUT --steps {steps}"
    command += " --lpips --weights WEIGHTS" if any(m.key == "lpips" for m in columns) else ""
    lines += ["", *(f"- {note}" for note in table.notes)]
    lines += [
        f"- Measured on the {images} images of `{table.test}` by the project's protocol; "
        f"{steps} steps of 8 patches of {table.patch_size} LR pixels.",
        f"- Made by `{command}`; {version_line()}.",
    ]
    return "\n".join(lines) + "\n"


def version_line() -> str:
    import keras
    import tensorflow as tf

    return (
        f"keras_fsr {keras_fsr.__version__}, Keras {keras.__version__}, TensorFlow {tf.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} CPU threads ({platform.machine()})"
    )


def write_csv(
    table: Table, summary: Mapping[str, Mapping[str, float]], seconds: Mapping[str, float], path: Path
) -> None:
    keys = [column for column in table.columns if any(column in figures for figures in summary.values())]
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", *(f"paper_{key}" for key in PAPER_FIGURES), *keys, "seconds", "settings"])
        for row in table.rows:
            figures = summary.get(row.label, {})
            writer.writerow(
                [row.label]
                + [row.paper.get(key, "") for key in PAPER_FIGURES]
                + [round(figures[key], 6) if key in figures else "" for key in keys]
                + [seconds.get(row.label, ""), json.dumps([row.recipe, *row.overrides]) if row.recipe else ""]
            )


def draw_sheet(table: Table, models: Mapping[str, protocol.Upscaler], files: list[Path], path: Path) -> None:
    """The middle of a few faces by every method beside the original."""
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, SHEET_FACES).round().astype(int)]
    rows = []
    for file in chosen:
        hr, lr = protocol.load_pair(file, table.scale, make_lr(table))
        images = [middle(model(lr)) for model in models.values()]
        rows.append(("", [*images, middle(hr)]))
    contact_sheet(rows, [*models, "original"], path, cell=SHEET_SIDE)


def make_lr(table: Table) -> protocol.MakeLR | None:
    """How the table's LR images are made, where not by reduction."""
    if not table.degradation:
        return None
    degrade = Degrader(presets.load(table.degradation), table.scale)
    return lambda file, hr: degrade(hr, number_of(Path(file.name)))


def middle(image: np.ndarray) -> np.ndarray:
    top, left = ((side - SHEET_SIDE) // 2 if side > SHEET_SIDE else 0 for side in image.shape[:2])
    return image[top : top + SHEET_SIDE, left : left + SHEET_SIDE]
