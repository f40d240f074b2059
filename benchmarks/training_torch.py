"""Training steps in PyTorch, of the networks and losses of a recipe, for `training.py` to compare ours with.

`python training_torch.py FOLDER THREADS` needs PyTorch and NumPy alone, so that it can be an interpreter of another
environment. A line on stdin is a command, one of `main`'s, and its answer a line of JSON. FOLDER has of each subject
the recipe, NAME.json, and NAME.npz: our weights (KIND/LAYER.WEIGHT), a batch (batch/lr, batch/hr) and what our
networks make of it (outputs/KIND/INDEX), in PyTorch's layout. Written from the definitions that ours follow.
"""

import functools
import itertools
import json
import math
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as fn

Tensors = Mapping[str, Tensor]
AWAY = torch.tensor([-8, -7, -6, -5, -4, -3, 3, 4, 5, 6, 7, 8])  # frequency bins beside a peak of the grid


class Network(nn.Module):
    """Base: "same" convolutions by the names of our layers; kernels of 4 pixels halve the size."""

    def __init__(self, weights: Tensors):
        super().__init__()
        self.convs = nn.ModuleDict()
        for name in dict.fromkeys(key.split(".")[0] for key in weights):
            filters, channels, side, _ = weights[f"{name}.weight"].shape
            kind = SpectralConv2d if f"{name}.u" in weights else nn.Conv2d
            self.convs[name] = kind(channels, filters, side, side // 2, 1, bias=f"{name}.bias" in weights)
        self.convs.load_state_dict(weights)
        self.slope = 0.2

    def activated(self, name: str, x: Tensor) -> Tensor:
        x = self.convs[name](x)
        return fn.leaky_relu(x, self.slope, inplace=True) if self.slope else fn.relu(x, inplace=True)


class SpectralConv2d(nn.Conv2d):
    """Its kernel is divided by its largest singular value (Miyato et al., 2018, algorithm 1)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("u", torch.zeros(self.out_channels))

    @torch.no_grad()
    def advance(self) -> None:
        """One power iteration: what starts a discriminator step."""
        matrix = self.weight.flatten(1)
        self.u.copy_(fn.normalize(matrix @ fn.normalize(self.u @ matrix, dim=0), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            product = self.u @ self.weight.flatten(1)
            kernel = self.weight / (fn.normalize(product.detach(), dim=0) @ product)
        return self._conv_forward(x, kernel, self.bias)


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """What ours compute in float32 under any policy: layers that put out pixels or logits, or read VGG's pixels."""
    with torch.autocast("cpu", enabled=False):
        return layer(x.float())


class RRDB(Network):
    """(N, 3, H, W) -> (N, 3, scale * H, scale * W), as `keras_fsr.generators.rrdb`; scale 4 or 8."""

    def __init__(self, weights: Tensors, scale: int, hardware=False, activation="leaky_relu", anchor=False, **sizes):
        super().__init__(weights)
        self.scale, self.hardware, self.anchor = scale, hardware, anchor
        self.blocks = [name.split("_")[0] for name in self.convs if name.endswith("dense1_conv1")]
        self.slope = self.slope if activation == "leaky_relu" else 0.0
        if hardware:  # in ours the place within a block varies slower than the colour
            for weight in self.convs["conv_last"].parameters():
                weight.data = weight.data.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)

    def forward(self, lr: Tensor) -> Tensor:
        shallow = x = self.convs["conv_first"](lr)
        for block in self.blocks:
            start = x
            for dense in (1, 2, 3):
                x = self.dense_block(x, f"{block}_dense{dense}")
            x = torch.add(start, x, alpha=0.2)
        x = shallow + self.convs["conv_trunk"](x)
        if self.hardware:
            x = fn.pixel_shuffle(in_float32(self.convs["conv_last"], x), self.scale)
        else:
            for i in range(1, self.scale.bit_length()):
                x = self.activated(f"conv_up{i}", fn.interpolate(x, scale_factor=2, mode="nearest"))
            x = in_float32(self.convs["conv_last"], self.activated("conv_hr", x))
        return x + fn.interpolate(lr, scale_factor=self.scale, mode="nearest") if self.anchor else x

    def dense_block(self, x: Tensor, name: str) -> Tensor:
        features = [x]
        for i in range(1, 5):
            features.append(self.activated(f"{name}_conv{i}", torch.cat(features, 1)))
        return torch.add(x, self.convs[f"{name}_conv5"](torch.cat(features, 1)), alpha=0.2)


class UNet(Network):
    """(N, 3, H, W) -> (N, 1, H, W) logits, as `keras_fsr.discriminators.unet`."""

    def forward(self, images: Tensor) -> Tensor:
        x = self.activated("conv_first", images)
        skips = []
        for i in (1, 2, 3):
            skips.append(x)
            x = self.activated(f"down{i}", x)
        for i in (3, 2, 1):
            x = fn.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.activated(f"up{i}", x) + skips.pop()
        return in_float32(self.convs["logits"], self.activated("conv2", self.activated("conv1", x)))


class VGG(Network):
    """(N, 3, H, W) RGB in [0, 1] -> maps before the ReLU of the taps, as `keras_fsr.extractors.vgg16`."""

    def __init__(self, weights: Tensors, taps: Collection[str]):
        super().__init__(weights)
        self.requires_grad_(False)
        self.taps = taps

    def forward(self, images: Tensor) -> list[Tensor]:
        x = images.flip(1) * 255.0 - images.new_tensor([103.939, 116.779, 123.68])[:, None, None]
        maps = []
        for name, layer in self.convs.items():
            if name == "block1_conv1":
                x = in_float32(layer, x)
            else:
                x = layer(fn.max_pool2d(x, 2) if name.endswith("_conv1") else x)
            if name in self.taps:
                maps.append(x)
            x = fn.relu(x, inplace=name not in self.taps)
        return maps


def luma(images: Tensor) -> Tensor:
    weights = images.new_tensor([65.481, 128.553, 24.966])[:, None, None] / 255
    return (images * weights).sum(1, keepdim=True) + 16 / 255


def ssim_loss(true: Tensor, pred: Tensor) -> Tensor:
    """1 - SSIM of (N, 1, H, W) in [0, 1]; Gaussian window of 11, sigma 1.5 (Wang et al., 2004)."""
    taps = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    maps = torch.cat([true, pred, true * pred, true**2 + pred**2])
    means = fn.conv2d(fn.conv2d(maps, taps[None, None, None]), taps[None, None, :, None])
    mean_true, mean_pred, product, squares = means.chunk(4)
    means, mean_squares = mean_true * mean_pred, mean_true**2 + mean_pred**2
    luminance = (2 * means + 0.01**2) / (mean_squares + 0.01**2)
    structure = (2 * (product - means) + 0.03**2) / (squares - mean_squares + 0.03**2)
    return 1.0 - (luminance * structure).mean()


def grid_penalty(image: Tensor, scale: int) -> Tensor:
    """Log power of the up-sampling grid of (N, side, side) over its neighbourhood, as `keras_fsr.losses.grid`."""
    side = image.shape[-1]
    wave = torch.cos(2 * math.pi * torch.arange(side) / side)
    window = (0.5 - 0.5 * wave[:, None]) * (0.5 - 0.5 * wave)
    spectrum = torch.fft.fft2((image - image.mean((1, 2), keepdim=True)) * window)
    power = spectrum.real**2 + spectrum.imag**2 + (window**2).sum() / (12 * 255**2)
    power = power * (4 - 2 * wave[:, None] - 2 * wave) ** 2
    peaks, around = grid_places(side, scale)
    comb = power.flatten(1)[:, peaks] / power.flatten(1)[:, around].mean(2).detach()
    lines = []
    for i, profile in itertools.product(range(1, scale // 2 + 1), (power.mean(1), power.mean(2))):
        near = profile[:, (side * i // scale + AWAY) % side].mean(1).detach()
        lines.append((profile[:, side * i // scale] / near).log().mean())
    return fn.relu(comb.mean(1).log().mean()) + fn.relu(torch.stack(lines)).sum()


@functools.cache
def grid_places(side: int, scale: int) -> tuple[Tensor, Tensor]:
    """Indices of the grid's crossings in a flat spectrum, (P,), and those of the neighbours of each, (P, K)."""
    peaks, around = [], []
    for y, x in list(itertools.product(range(0, side, side // scale), repeat=2))[1:]:
        along_y, along_x = (y + AWAY) % side * side + x, y * side + (x + AWAY) % side
        peaks.append(y * side + x)
        around.append(torch.cat([along_y if y else along_x, along_x if x else along_y]))
    return torch.tensor(peaks), torch.stack(around)


def relativistic(real: Tensor, fake: Tensor, label: float) -> Tensor:
    """ESRGAN, equations 1 and 2; the `label` of real ones is 1 for the discriminator, 0 for the generator."""
    real, fake = real - fake.mean(), fake - real.mean()
    return 0.5 * ((fn.softplus(real) - label * real).mean() + (fn.softplus(fake) - (1 - label) * fake).mean())


def build_networks(recipe: Mapping, tensors: Mapping[str, Tensors]) -> dict[str, Network]:
    networks: dict[str, Network] = {}
    networks["learner"] = RRDB(tensors["learner"], recipe["scale"], **recipe["generator"]["options"])
    if recipe["adversarial"]:
        networks["discriminator"] = UNet(tensors["discriminator"])
    if recipe["perceptual"]:
        networks["feature_extractor"] = VGG(tensors["feature_extractor"], recipe["perceptual"]["taps"])
    return networks


class Step:
    """A recipe's training step. One forward pass serves both networks, as in ours.

    Args:
        setting: words of "bfloat16" (autocast), "channels_last" and "compiled".
    """

    def __init__(self, recipe: Mapping, tensors: Mapping[str, Tensors], setting: str):
        layout = torch.channels_last if "channels_last" in setting else torch.contiguous_format
        self.recipe, self.bfloat16 = recipe, "bfloat16" in setting
        self.lr, self.hr = (tensors["batch"][name].contiguous(memory_format=layout) for name in ("lr", "hr"))
        self.networks = {kind: x.to(memory_format=layout) for kind, x in build_networks(recipe, tensors).items()}
        learning = {"training": self.networks["learner"]}
        if recipe["adversarial"]:
            learning["adversarial"] = self.networks["discriminator"]
        self.weights = [list(network.parameters()) for network in learning.values()]
        self.optimizers = [
            torch.optim.Adam(network.parameters(), recipe[section]["learning_rate"], (0.9, 0.99), fused=True)
            for section, network in learning.items()
        ]
        self.average = [weight.detach().clone() for weight in self.weights[0]]
        self.gradients = torch.compile(self.find_gradients) if "compiled" in setting else self.find_gradients

    def take(self) -> dict[str, float]:
        """Takes the step; the losses that it began with, by the names that ours have."""
        for layer in self.networks["discriminator"].convs.values() if len(self.weights) > 1 else ():
            if isinstance(layer, SpectralConv2d):
                layer.advance()
        losses, gradients = self.gradients()
        for optimizer, weights, found in zip(self.optimizers, self.weights, gradients, strict=True):
            for weight, gradient in zip(weights, found, strict=True):
                weight.grad = gradient
            optimizer.step()
        if decay := self.recipe["training"]["ema_decay"]:
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.weights[0], 1 - decay)
        return {name: loss.item() for name, loss in zip(("loss", "d_loss"), losses, strict=False)}

    def find_gradients(self) -> tuple[list[Tensor], list[tuple[Tensor, ...]]]:
        """The loss of each network that learns, and its gradient for that network's weights."""
        losses = self.losses()
        gradients = [
            torch.autograd.grad(loss, weights, retain_graph=weights is not self.weights[-1])
            for loss, weights in zip(losses, self.weights, strict=True)
        ]
        return [loss.detach() for loss in losses], gradients

    def losses(self) -> list[Tensor]:
        training, perceptual, adversarial = (self.recipe[key] for key in ("training", "perceptual", "adversarial"))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            sr = self.networks["learner"](self.lr)
            if adversarial:
                real, fake = (self.networks["discriminator"](images) for images in (self.hr, sr))
            if perceptual:
                true, pred = (self.networks["feature_extractor"](images) for images in (self.hr, sr))
        loss = fn.l1_loss(sr, self.hr)
        if training["loss"] == "l1_ssim":
            loss = loss + 0.2 * ssim_loss(luma(self.hr), luma(sr))
        loss = training["loss_weight"] * loss
        if training["grid_weight"]:
            loss = loss + training["grid_weight"] * grid_penalty(luma(sr)[:, 0], self.recipe["scale"])
        if perceptual:
            for name, t, p in zip(sorted(perceptual["taps"]), true, pred, strict=True):
                relative = (t.float() - p).abs().mean((1, 2, 3)) / (t.float().abs().mean((1, 2, 3)) + 1e-6)
                loss = loss + perceptual["weight"] * perceptual["taps"][name] * relative.mean()
        if not adversarial:
            return [loss]
        return [loss + adversarial["weight"] * relativistic(real, fake, 0.0), relativistic(real, fake, 1.0)]


@torch.no_grad()
def check(recipe: Mapping, tensors: Mapping[str, Tensors]) -> dict[str, tuple[int, float]]:
    """Kind -> parameters, and the largest difference of its outputs to ours as a share of our largest value."""
    found = {}
    for kind, network in build_networks(recipe, tensors).items():
        outputs = network(tensors["batch"]["lr" if kind == "learner" else "hr"])
        differences = []
        for i, output in enumerate(outputs if isinstance(outputs, list) else [outputs]):
            ours = tensors["outputs"][f"{kind}/{i}"]
            differences.append(((output - ours).abs().max() / ours.abs().max()).item())
        found[kind] = sum(weight.numel() for weight in network.parameters()), max(differences)
    return found


def load(path: Path) -> tuple[dict, dict[str, dict[str, Tensor]]]:
    """A subject's recipe, and its tensors by the first part of their names."""
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, array in np.load(path.with_suffix(".npz")).items():
        part, _, rest = name.partition("/")
        tensors.setdefault(part, {})[rest] = torch.from_numpy(array)
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), tensors


def main(folder: Path, threads: int) -> None:
    """Answers "check SUBJECT" and "step SUBJECT SETTING", the former first; what fails is answered by an "error"."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # compilers print
    torch.set_num_threads(threads)
    subjects, steps = {}, {}
    for line in sys.stdin:
        command, name, *setting = line.rstrip("\n").split(" ", 2)
        try:
            if command == "check":
                subjects[name] = load(folder / name)
                answer = check(*subjects[name])
            else:
                if line not in steps:
                    steps[line] = Step(*subjects[name], *setting)
                answer = steps[line].take()
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: " + str(error).strip().partition("\n")[0]}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
