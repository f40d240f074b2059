"""What each paper's table says, row by row, and by which recipe the row is trained here.

Figures are as printed in the papers: PSNR in dB, SSIM, LPIPS; others in the paper's own units. They were measured
on other data, so that levels are not comparable with ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

SMALL_RRDB = (
    "generator.options={num_features: 32, growth_channels: 16, num_blocks: 2, hardware: true, "
    "activation: relu, anchor: true}"
)
ESRGAN_LOSSES = (
    "adversarial.discriminator=vgg",
    "adversarial.options={num_features: 16}",
    "adversarial.loss=relativistic",
    "adversarial.weight=0.005",
)


@dataclass(frozen=True)
class TableRow:
    """One method: the paper's figures, and the recipe that trains it here, or why none does."""

    label: str
    paper: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    overrides: tuple[str, ...] = ()
    interpolation: str = ""  # "bicubic" or "lanczos": measured without training
    absent: str = ""  # why the row has no figures of ours
    needs: str = ""  # "pieapp": trained only where its weights are

    @property
    def key(self) -> str:
        """Folder of the row's run."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.label.lower()).strip("_")


@dataclass(frozen=True)
class Table:
    """One paper's table."""

    title: str
    scale: int
    rows: tuple[TableRow, ...]
    columns: tuple[str, ...]  # figures of ours that are printed
    test: str  # subfolder of the data that is measured
    patch_size: int  # of every trained row, LR pixels
    notes: tuple[str, ...]
    degradation: str = ""  # preset that makes the LR; Pillow's bicubic without


def baseline(label: str, generator: str, **paper: float) -> TableRow:
    return TableRow(label, paper, "baseline_x4", (f"generator.name={generator}",))


NOT_TRAINED = "dictionary or forest method, not a network: not trained here"
BUDGET = (
    "Every trained row takes the same number of steps of the same batch and patch on the same faces, which is not "
    "the same time; the papers trained for days on other data. Levels are not comparable with the papers', and so "
    "few steps do not settle an order."
)
INTERPOLATIONS = (
    TableRow("bicubic", interpolation="bicubic"),
    TableRow("Lanczos", interpolation="lanczos"),
)

TABLES = {
    "A": Table(
        title="A. Face hallucination by extending ESRGAN (Al'naeimee, Lakizadeh), x4",
        scale=4,
        columns=("psnr_y", "ssim_y", "psnr_rgb", "lpips", "grid"),
        test="test/256",
        patch_size=32,
        rows=(
            *INTERPOLATIONS,
            baseline("SRCNN", "srcnn", psnr=24.52, ssim=0.722),
            baseline("VDSR", "vdsr", psnr=25.18, ssim=0.75),
            TableRow("GAFH-RIDN", {"psnr": 24.28, "ssim": 0.71}, absent="no public weights or recipe"),
            TableRow("SelfEx", {"psnr": 26.44, "ssim": 0.80}, absent=NOT_TRAINED),
            TableRow("RFL", {"psnr": 25.86, "ssim": 0.79}, absent=NOT_TRAINED),
            TableRow("A+", {"psnr": 26.03, "ssim": 0.7973}, absent=NOT_TRAINED),
            TableRow("ESRGAN (RRDB, same losses)", {}, "esrgan_vgg16_x4", ("generator.name=rrdb", SMALL_RRDB)),
            TableRow("paper A, its table 2", {"psnr": 26.83, "ssim": 0.8108}, "esrgan_vgg16_x4"),
            TableRow(
                "paper A, its text",
                {"psnr": 30.30, "ssim": 0.8757, "lpips": 0.0817},
                absent="the text contradicts the paper's own table 2; both are printed",
            ),
        ),
        notes=(
            BUDGET,
            "Both adversarial rows have the paper's losses. ESRGAN's ends in one sub-pixel convolution (the "
            "package's CPU form), paper A's in convolutions at full size, which keeps most of the grid out.",
            "VDSR leads in PSNR and takes most time: all of its twenty layers work at full size.",
        ),
    ),
    "B": Table(
        title="B. Improved ESRGAN with PieAPP loss (Li), x4",
        scale=4,
        columns=("psnr_y", "ssim_y", "psnr_rgb", "lpips", "grid"),
        test="test/256",
        patch_size=32,
        rows=(
            *INTERPOLATIONS,
            TableRow(
                "L1 + VGG", {"psnr": 15.99, "ssim": 0.8283, "lpips": 0.6867}, "esrgan_pieapp_x4", ("pieapp=null",)
            ),
            TableRow(
                "L1 + VGG + PieAPP",
                {"psnr": 24.67, "ssim": 0.9307, "lpips": 0.3614},
                "esrgan_pieapp_x4",
                needs="pieapp",
            ),
        ),
        notes=(
            BUDGET,
            "The paper also prints DMOS (76.33, 41.44), PI (29.30, 31.96) and PieAPP (133.3, 67.86).",
            "Its first row is 15.99 dB, far below bicubic: a failed training, no fair baseline.",
            "Both rows have the paper's adversarial term too. A perceptual weight of 1 beside an L1 weight of 0.01, "
            "and one sub-pixel convolution as the tail, leave a grid after so few steps.",
        ),
    ),
    "C": Table(
        title="C. GAN x2, 512 to 1024 (Jiang, Xu, Sun)",
        scale=2,
        columns=("psnr_y", "ssim_y", "psnr_rgb", "lpips", "colour"),
        test="test/1024",
        patch_size=64,
        degradation="jiang",
        rows=(
            *INTERPOLATIONS,
            TableRow("as published (GAN loss alone)", {"psnr": 25.66}, "residual_shuffle_x2"),
            TableRow(
                "with a pixel loss",
                {},
                "residual_shuffle_x2",
                (
                    "training.loss_weight=1.0",
                    "training.loss=l1",
                    "adversarial.weight=0.001",
                    "training.optimizer=adam",
                    "training.learning_rate=1.0e-3",
                ),
            ),
        ),
        notes=(
            BUDGET,
            "LR is the HR blurred by a 7x7 Gaussian of sigma 5 and reduced by 2, as in the paper.",
            "The paper's loss alone shifts the colours and leaves a pattern within this budget: nothing in it "
            "compares pixels. The row with a pixel loss has L1, the GAN at 0.001, and Adam at 1e-3 in place of SGD.",
            "Colour is the largest mean shift of a channel in levels of 255: the drift that the paper saw.",
        ),
    ),
    "D": Table(
        title="D. ESRGAN with a learned degradation (Dolatkah), x4",
        scale=4,
        columns=("psnr_y", "ssim_y", "psnr_rgb", "lpips", "grid"),
        test="test/256",
        patch_size=32,
        degradation="camera",
        rows=(
            *INTERPOLATIONS,
            TableRow(
                "ESRGAN",
                {"psnr": 24.50, "ssim": 0.715, "lpips": 0.387},
                "degradation_esrgan_x4",
                (*ESRGAN_LOSSES, "degradation=null"),
            ),
            TableRow(
                "BSRGAN",
                {"psnr": 24.48, "ssim": 0.71, "lpips": 0.391},
                "degradation_esrgan_x4",
                (*ESRGAN_LOSSES, "degradation.presets={bsrgan: 1.0}"),
            ),
            TableRow("RGI", {"psnr": 18.95, "ssim": 0.81, "lpips": 0.386}, absent="no public recipe"),
            TableRow("MI-GAN", {"psnr": 24.65, "ssim": 0.725, "lpips": 0.39}, absent="an inpainting network"),
            TableRow(
                "proposed (learned and second-order, U-Net SN discriminator)",
                {"psnr": 25.42, "ssim": 0.715, "lpips": 0.384},
                "degradation_esrgan_x4",
            ),
        ),
        notes=(
            BUDGET,
            "LR images are those of random cameras (the preset camera, one draw for each image), blurred, noisy, "
            "compressed and some with other colours. The row 'proposed' has seen other cameras of that preset, "
            "through the learned degradation; ESRGAN's LR images were clean reductions, BSRGAN's its own.",
            "The rows also differ in the adversarial loss (relativistic, 0.005; BCE, 0.1).",
            "A perceptual loss on a sub-pixel tail makes an up-sampling grid, and so few steps of a discriminator do "
            "not end it. The recipe face_x4_gan shows what does.",
            "Face verification accuracy (98.7 to 98.8 in all of the paper's rows) is not measured here.",
        ),
    ),
}
