"""What happens after each epoch of a run: log, curves, preview, best checkpoints, saved state, progress."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from keras_fsr.errors import DivergenceError, OutputError, TrainingError
from keras_fsr.files import read_csv, whole_file
from keras_fsr.quiet import import_matplotlib

FIXED = {"epoch", "step", "seconds", "learning_rate"}  # columns of the log beside what Keras reports
BALANCE = {"d_loss", "d_real", "d_fake"}


class EpochLog(keras.callbacks.Callback):
    """One CSV row an epoch: epoch, step, seconds, learning rate and all logged values.

    Rows of epochs that a resumed training takes again are dropped at its start.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []

    def load(self, epochs: int) -> None:
        """Keeps the rows of the first `epochs` epochs of an earlier stretch.

        Raises:
            TrainingError: the log is damaged.
        """
        if self.path.exists():
            self.rows = [row for row in read_log(self.path) if row["epoch"] <= epochs]

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        row = {
            "epoch": epoch + 1,
            "step": self.model.step,
            "seconds": round(time.monotonic() - self.started, 2),
            "learning_rate": float(self.model.optimizer.learning_rate),
        }
        self.rows.append(row | {key: float(value) for key, value in (logs or {}).items()})
        with whole_file(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            # A resume may log other losses than the stretch before it.
            writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in self.rows for key in row)))
            writer.writeheader()
            writer.writerows(self.rows)


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of an `EpochLog`.

    Raises:
        TrainingError: it is damaged.
    """
    try:
        table = read_csv(path)[0]
        if any(None in row or None in row.values() for row in table):
            raise ValueError("a row of another length")
        rows = [{k: number(v) for k, v in row.items() if v != ""} for row in table]
        if any(type(row.get("epoch")) is not int for row in rows):
            raise ValueError("a row without its epoch")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: is damaged ({error}); get a complete copy, or remove it") from None
    return rows


def number(text: str) -> float:
    """A figure of the log; whole ones stay whole, so that a resumed log reads like any other."""
    return int(text) if text.isdigit() else float(text)


class Curves(keras.callbacks.Callback):
    """Draws losses, PSNR and the balance of a GAN over the steps as a PNG, from the rows of an `EpochLog`."""

    def __init__(self, log: EpochLog, path: Path):
        super().__init__()
        self.log = log
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        draw_curves(self.log.rows, self.path)


def draw_curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Panels over the step: loss and PSNR-Y; with a discriminator also every term, and how well it tells apart."""
    import_matplotlib()
    from matplotlib.figure import Figure  # without pyplot: no global state, no display

    known = rows[-1]
    panels = {"loss": ["loss", "val_loss"], "PSNR-Y (dB)": ["psnr_y", "val_psnr_y"]}
    terms = [key for key in known if key not in FIXED | BALANCE and not key.endswith(("loss", "psnr_y"))]
    if terms:
        panels["losses by name, weighted"] = terms
    if "d_loss" in known:
        panels["discriminator: loss and mean logits"] = ["d_loss", "d_real", "d_fake"]
    steps = [row.get("step", np.nan) for row in rows]
    columns = len(panels) if len(panels) < 3 else 2
    figure = Figure(figsize=(5 * columns, 4 * -(-len(panels) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).flat
    for axis, (label, keys) in zip(axes, panels.items(), strict=False):
        for key in keys:
            axis.plot(steps, [row.get(key, np.nan) for row in rows], marker=".", label=name_of_curve(key))
        axis.set(xlabel="step", ylabel=label)
        axis.grid(alpha=0.3)
        axis.legend()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=90)


def name_of_curve(key: str) -> str:
    names = {"loss": "training patches", "psnr_y": "training patches", "d_real": "D(real)", "d_fake": "D(fake)"}
    if key in ("val_loss", "val_psnr_y"):
        return "validation images"
    return names.get(key, key.replace("val_", "validation "))


class Preview(keras.callbacks.Callback):
    """A grid of fixed validation images after each epoch: input, averaged generator, original."""

    def __init__(self, images: Sequence[tuple[np.ndarray, np.ndarray]], folder: Path, size: int = 256):
        super().__init__()
        self.images = images
        self.folder = folder
        self.size = size

    def on_epoch_end(self, epoch, logs=None):
        rows = []
        for lr, hr in self.images:
            sr = np.asarray(self.model.generator(lr[None].astype("float32") / 255.0, training=False))[0]
            sr = np.rint(np.clip(sr, 0, 1) * 255).astype("uint8")
            rows.append(np.hstack([self._cell(image) for image in (lr, sr, hr)]))
        with whole_file(self.folder / f"step_{self.model.step:06d}.jpg") as temporary:
            Image.fromarray(np.vstack(rows)).save(temporary, quality=90)

    def _cell(self, image: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(image).resize((self.size, self.size), Image.Resampling.NEAREST))


class KeepBest(keras.callbacks.Callback):
    """Keeps the generators of the newest and the best epochs as `.keras` files, by a value of the log.

    More is better, but of a loss (val_perceptual).
    """

    def __init__(self, log: EpochLog, folder: Path, monitor: str, keep: int):
        super().__init__()
        self.log = log
        self.folder = folder
        self.monitor = monitor
        self.keep = keep

    def best_epochs(self) -> list[int]:
        sign = -1 if self.monitor == "val_perceptual" else 1
        ranked = sorted(self.log.rows, key=lambda row: sign * row.get(self.monitor, -sign * np.inf), reverse=True)
        return [int(row["epoch"]) for row in ranked[: self.keep]]

    def best_file(self) -> Path:
        """The best epoch's file.

        Raises:
            TrainingError: it is gone, or the log's rows are.
        """
        path = next(map(self.path, self.best_epochs()), None)
        if not (path and path.is_file()):
            lost = path or self.log.path
            raise TrainingError(
                f"{lost}: is gone or empty, and with it the best epoch; get a complete copy, or train anew"
            )
        return path

    def path(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:04d}.keras"

    def on_epoch_end(self, epoch, logs=None):
        newest = self.path(epoch + 1)
        with whole_file(newest) as temporary:
            self.model.generator.save(temporary)
        kept = {newest} | {self.path(number) for number in self.best_epochs()}
        for old in set(self.folder.glob("epoch_*.keras")) - kept:
            old.unlink()


class Watch(keras.callbacks.Callback):
    """Stops a training whose generator has become much worse; before the callbacks that keep what there is.

    Raises:
        DivergenceError: PSNR-Y of the validation images is not finite, or has fallen by `drop` dB from its best.
    """

    def __init__(self, log: EpochLog, drop: float = 6.0):
        super().__init__()
        self.log = log
        self.drop = drop

    def on_epoch_end(self, epoch, logs=None):
        known = [row["val_psnr_y"] for row in self.log.rows if "val_psnr_y" in row]
        if known and not known[-1] >= max(known) - self.drop:
            raise DivergenceError(
                f"epoch {epoch + 1}: PSNR-Y of the validation images is {known[-1]:.2f} dB after {max(known):.2f}; "
                "lower the learning rate, or the weight of the adversarial loss"
            )


class SaveState(keras.callbacks.Callback):
    """Saves everything a training must not lose; the last callback, so that a saved epoch is a whole one."""

    def __init__(self, manager: tf.train.CheckpointManager):
        super().__init__()
        self.manager = manager

    def on_epoch_end(self, epoch, logs=None):
        try:
            self.manager.save(checkpoint_number=epoch + 1)
        except tf.errors.OpError as error:
            reason = str(error.message).splitlines()[0]
            raise OutputError(
                f"{self.manager.directory}: the state cannot be saved ({reason}); free space and resume"
            ) from None


class Bar(keras.callbacks.Callback):
    """One progress bar over all steps of the run, with time left and the latest figures."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            Remaining(),
        )

    def on_train_begin(self, logs=None):
        self.task = self.bar.add_task("training", total=self.steps, completed=self.model.step)
        self.bar.start()

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", float("nan"))
        self.bar.update(self.task, advance=1, description=f"loss {float(loss):.5f}")

    def on_epoch_end(self, epoch, logs=None):
        figures = "  ".join(f"{key} {float(value):.4g}" for key, value in (logs or {}).items())
        self.bar.console.print(f"epoch {epoch + 1}  step {self.model.step}  {figures}", highlight=False)

    def stop(self) -> None:
        """Gives the terminal back; also where the training was interrupted, of which Keras tells no callback."""
        self.bar.stop()
