"""Which epochs are kept as the best, and what the curves of a GAN show."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import OutputError, TrainingError
from keras_fsr.training import callbacks
from keras_fsr.training.callbacks import EpochLog, KeepBest, draw_curves

ROWS = [
    {"epoch": 1, "step": 10, "val_psnr_y": 28.0, "val_perceptual": 0.5},
    {"epoch": 2, "step": 20, "val_psnr_y": 30.0, "val_perceptual": 0.3},
    {"epoch": 3, "step": 30, "val_psnr_y": 29.0, "val_perceptual": 0.2},
    {"epoch": 4, "step": 40, "val_psnr_y": 27.0, "val_perceptual": 0.4},
]


@pytest.mark.parametrize(("monitor", "best"), [("val_psnr_y", [2, 3]), ("val_perceptual", [3, 2]), ("step", [4, 3])])
def test_best_epochs_are_those_of_the_monitor(monitor, best, tmp_path):
    log = EpochLog(tmp_path / "log.csv")
    log.rows = ROWS
    assert KeepBest(log, tmp_path, monitor, keep=2).best_epochs() == best


@pytest.mark.parametrize(("monitor", "best"), [("val_psnr_y", [2]), ("val_perceptual", [2])])
def test_an_epoch_that_was_not_measured_is_never_the_best(monitor, best, tmp_path):
    log = EpochLog(tmp_path / "log.csv")
    log.rows = [{"epoch": 1, "step": 10}, ROWS[1]]
    assert KeepBest(log, tmp_path, monitor, keep=1).best_epochs() == best


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"epoch,loss\n1,x\n", b"epoch,loss\n1\n", b"epoch\n1,2\n", b"epoch\n1e999\n", b"\xff"]
)
def test_a_damaged_log_is_one_line(content, tmp_path):
    log = EpochLog(tmp_path / "log.csv")
    log.path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"log.csv: is damaged \(.*\); get a complete copy, or remove it"):
        log.load(9)


def test_a_lost_best_epoch_is_named(tmp_path):
    best = KeepBest(EpochLog(tmp_path / "log.csv"), tmp_path, "val_psnr_y", keep=1)
    with pytest.raises(TrainingError, match=r"log.csv: is gone or empty, and with it the best epoch"):
        best.best_file()
    best.log.rows = ROWS
    with pytest.raises(TrainingError, match=r"epoch_0002.keras: is gone"):
        best.best_file()
    best.path(2).touch()
    assert best.best_file() == best.path(2)


def gan_rows() -> list[dict[str, float]]:
    logged = ("loss", "val_loss", "psnr_y", "val_psnr_y", "l1", "val_l1", "adversarial", "d_loss", "d_real", "d_fake")
    rng = np.random.default_rng(0)
    fixed = {"seconds": 1.0, "learning_rate": 1e-4}
    return [{"epoch": i, "step": 10 * i, **fixed, **{key: rng.random() for key in logged}} for i in (1, 2, 3)]


def drawn(rows, path, monkeypatch) -> dict[str, list[str]]:
    """Label of each panel -> labels of its curves."""
    from matplotlib.figure import Figure

    panels, save = {}, Figure.savefig

    def savefig(self, *args, **kwargs):
        for axis in self.axes:
            lines = axis.get_lines()
            if lines:
                panels[axis.get_ylabel()] = [line.get_label() for line in lines]
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    draw_curves(rows, path)
    return panels


def test_curves_of_a_gan_show_every_term_and_the_balance(tmp_path, monkeypatch):
    panels = drawn(gan_rows(), tmp_path / "curves.png", monkeypatch)
    assert panels == {
        "loss": ["training patches", "validation images"],
        "PSNR-Y (dB)": ["training patches", "validation images"],
        "losses by name, weighted": ["l1", "validation l1", "adversarial"],
        "discriminator: loss and mean logits": ["d_loss", "D(real)", "D(fake)"],
    }
    assert Image.open(tmp_path / "curves.png").height > 500


def test_curves_of_a_generator_alone_are_two(tmp_path, monkeypatch):
    kept = {*callbacks.FIXED, "loss", "val_loss", "psnr_y", "val_psnr_y"}
    rows = [{key: value for key, value in row.items() if key in kept} for row in gan_rows()]
    panels = drawn(rows, tmp_path / "curves.png", monkeypatch)
    assert list(panels) == ["loss", "PSNR-Y (dB)"]


def test_curves_of_a_run_whose_first_rows_lack_a_term_are_drawn(tmp_path):
    rows = gan_rows()
    del rows[0]["val_l1"]
    draw_curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()


def test_pictures_are_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(OutputError, match=r"curves.png: cannot be written"):
        draw_curves(ROWS, tmp_path / "none" / "curves.png")
    image = np.zeros((4, 4, 3), np.uint8)
    preview = callbacks.Preview([(image, image)], tmp_path / "none")
    preview.set_model(SimpleNamespace(step=5, generator=lambda lr, training: lr))
    with pytest.raises(OutputError, match=r"step_000005.jpg: cannot be written"):
        preview.on_epoch_end(0)


def test_log_goes_on_with_other_columns(tmp_path):
    def epoch(number, logs):
        log = EpochLog(tmp_path / "log.csv")
        log.set_model(SimpleNamespace(step=5, optimizer=SimpleNamespace(learning_rate=0.1)))
        log.load(number - 1)
        log.on_epoch_begin(number - 1)
        log.on_epoch_end(number - 1, logs)
        return log.rows

    epoch(1, {"loss": 3.0})
    epoch(2, {"loss": 2.0, "grid": 0.5})
    rows = epoch(3, {"grid": 0.25})
    assert [row.get("loss") for row in rows] == [3, 2, None]
    assert [row.get("grid") for row in rows] == [None, 0.5, 0.25]
