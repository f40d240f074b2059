"""Images a second of our training steps and of the same steps in PyTorch, in one run.

    python benchmarks/training.py [--torch-python PYTHON] [--out FILE]

Both have the same networks with the same weights, the same batch, losses, and average of the generator's weights.
First it is asserted that outputs and losses agree. Both take Adam's step; `--set training.optimizer=muon` gives ours
the dearer one that the recipes train with. Ours also check that losses and gradients are finite and measure PSNR, as
in any training; PyTorch's do not.

PYTHON is an interpreter with PyTorch, for `training_torch.py`; without one only ours are measured. All are held in
memory and take turns, a step each and never two at once, so that a busy machine slows all alike. It does not: threads
that spin at a barrier, as PyTorch's do, lose more. Run it where nothing else runs.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from reporting import medians, save, table, take_turns

from keras_fsr import machine
from keras_fsr.training.building import build_trainer
from keras_fsr.training.recipes import Recipe, load_recipe
from keras_fsr.training.trainer import Trainer


class Subject(NamedTuple):
    """A recipe as it is compared."""

    recipe: str
    network: str
    step: str
    overrides: tuple[str, ...] = ()


class Key(NamedTuple):
    """What takes turns: a subject in a framework, in one of its settings."""

    subject: str
    framework: str
    setting: str


Step = Callable[[], Mapping[str, float]]
"""Takes a training step; the losses that it began with."""

Ask = Callable[..., dict]
"""Words of a command to PyTorch's process -> its answer."""

PUBLISHED = "generator.options={num_features: 64, growth_channels: 32, num_blocks: 3}"
# The generator learns from the first step on, and no weights are fetched.
FROM_SCRATCH = ('start=""', "perceptual.weights=random", "adversarial.warmup_steps=0")
SUBJECTS = {
    "face_x4": Subject("face_x4", "RRDB nf64 nb3, hardware form", "fidelity"),
    "published": Subject("face_x4", "RRDB nf64 nb3, published form", "fidelity", (PUBLISHED,)),
    "face_x4_gan": Subject("face_x4_gan", "RRDB nf64 nb3, hardware form; U-Net; VGG16", "GAN", FROM_SCRATCH),
}
OURS = ("float32", "bfloat16")
TORCH = (
    "float32",  # PyTorch's default
    "float32 channels_last",
    "bfloat16",
    "bfloat16 channels_last",
    "compiled float32",
    "compiled bfloat16 channels_last",
)
OUTPUTS_AGREE, LOSSES_AGREE = 1e-3, {"float32": 1e-3, "bfloat16": 2e-2}  # as a share
COLUMNS = {
    "network": "",
    "step": "",
    "framework": "",
    "setting": "",
    "ms a step": ".1f",
    "images/s": ".2f",
    "times PyTorch's default": ".2f",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--torch-python", help="interpreter with PyTorch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="in the recipes of all")
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()

    steps: dict[Key, Step] = {}
    checks = []
    with tempfile.TemporaryDirectory() as folder, torch_process(arguments.torch_python, folder) as ask:
        for name in arguments.subjects:
            recipe, trainers = build_trainers(SUBJECTS[name], arguments.set)
            batch = random_batch(recipe.data.batch_size, recipe.data.patch_size, recipe.scale)
            for precision, trainer in trainers.items():
                steps[Key(name, "ours", precision)] = partial(trainer.train_on_batch, *batch, return_dict=True)
            if ask:
                write_subject(Path(folder) / name, recipe, trainers["float32"], *batch)
                checks += check_outputs(name, trainers["float32"], ask)
                steps |= {Key(name, "PyTorch", setting): partial(ask, "step", name, setting) for setting in TORCH}
        unavailable = first_steps(steps)
        seconds = take_turns({key: step for key, step in steps.items() if key not in unavailable}, arguments.rounds)
    found = medians(seconds)
    rows = [make_row(key, len(batch[0]), found, unavailable) for key in steps]
    notes = [*checks, f"PyTorch takes Adam's step, ours that of {recipe.training.optimizer}", *compare(found)]
    print(table(rows, COLUMNS), "", *notes, sep="\n")
    save(arguments.out, rows, notes=notes, overrides=arguments.set)


@contextmanager
def torch_process(python: str | None, folder: str) -> Iterator[Ask | None]:
    """What answers commands by PyTorch, if there is an interpreter that has it."""
    if not python:
        yield None
        return
    command = [python, str(Path(__file__).with_name("training_torch.py")), folder, str(machine.available_cores())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(*words: str) -> dict:
            print(*words, file=process.stdin, flush=True)
            answer = process.stdout.readline()
            if not answer:
                raise SystemExit(f"{python}: its process has ended; its last words are above")
            return json.loads(answer)

        yield ask


def build_trainers(subject: Subject, overrides: Sequence[str]) -> tuple[Recipe, dict[str, Trainer]]:
    """A trainer for each precision, of equal weights, none of them zero: no comparison would see those."""
    trainers = {}
    for precision in OURS:
        settings = ["training.optimizer=adam", *subject.overrides, *overrides, f"training.precision={precision}"]
        recipe = load_recipe(subject.recipe, settings)
        keras.utils.set_random_seed(0)
        trainer = trainers[precision] = build_trainer(recipe)
        draw = np.random.default_rng(0)
        for network in networks_of(trainer).values():
            for weight in network.weights:
                if not np.any(weight):
                    weight.assign(draw.normal(0, 0.02, weight.shape))
        trainer.generator.set_weights(trainer.learner.get_weights())
    return recipe, trainers


def networks_of(trainer: Trainer) -> dict[str, keras.Model]:
    kinds = ("learner", "discriminator", "feature_extractor")
    return {kind: network for kind in kinds if (network := getattr(trainer, kind))}


def random_batch(batch: int, patch: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    lr = draw.random((batch, patch, patch, 3), dtype=np.float32)
    hr = draw.random((batch, patch * scale, patch * scale, 3), dtype=np.float32)
    return lr, hr


def planes(images) -> np.ndarray:
    return np.moveaxis(np.asarray(images), -1, 1)


def write_subject(path: Path, recipe: Recipe, trainer: Trainer, lr: np.ndarray, hr: np.ndarray) -> None:
    """The two files of a subject that `training_torch.py` reads."""
    arrays = {"batch/lr": planes(lr), "batch/hr": planes(hr)}
    for kind, network in networks_of(trainer).items():
        for layer in network.layers:
            for weight in layer.weights:
                array, name = np.asarray(weight), "weight" if weight.name == "kernel" else weight.name
                arrays[f"{kind}/{layer.name}.{name}"] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        for i, output in enumerate(keras.tree.flatten(network(lr if kind == "learner" else hr))):
            arrays[f"outputs/{kind}/{i}"] = planes(output)
    np.savez(path.with_suffix(".npz"), **arrays)
    path.with_suffix(".json").write_text(json.dumps(dataclasses.asdict(recipe)), encoding="utf-8")


def check_outputs(name: str, trainer: Trainer, ask: Ask) -> list[str]:
    """Asserts that PyTorch's networks have as many parameters and equal outputs; says by how much they differ."""
    found = ask("check", name)
    assert "error" not in found, found
    lines = []
    for kind, network in networks_of(trainer).items():
        count = sum(np.size(weight) for weight in network.weights if weight.name != "u")  # u is state
        parameters, difference = found[kind]
        lines.append(
            f"{name}, {kind}: {count:,} parameters, PyTorch's {parameters:,}; outputs differ by {difference:.1e}"
        )
        assert parameters == count, lines[-1]
        assert difference < OUTPUTS_AGREE, lines[-1]
    return lines


def first_steps(steps: Mapping[Key, Step]) -> dict[Key, str]:
    """Takes each step once and asserts that those of a subject begin with equal losses; why some cannot be taken."""
    unavailable: dict[Key, str] = {}
    expected: dict[str, Mapping[str, float]] = {}
    for key, step in steps.items():
        print("first step:", *key, file=sys.stderr)
        losses = step()
        if "error" in losses:
            unavailable[key] = losses["error"]
            continue
        share = LOSSES_AGREE["bfloat16" if "bfloat16" in key.setting else "float32"]
        ours = expected.setdefault(key.subject, losses)
        for name in {"loss", "d_loss"} & {*ours}:
            assert abs(losses[name] - ours[name]) < share * abs(ours[name]), (key, name, losses[name], ours[name])
    return unavailable


def make_row(key: Key, batch: int, found: Mapping[Key, float], unavailable: Mapping[Key, str]) -> dict:
    subject = SUBJECTS[key.subject]
    row = {"network": subject.network, "step": subject.step, "framework": key.framework, "setting": key.setting}
    if key in unavailable:
        return row | {"setting": f"{key.setting}: not available ({unavailable[key]})"}
    default = found.get(Key(key.subject, "PyTorch", TORCH[0]))
    ratio = {"times PyTorch's default": default / found[key]} if default else {}
    return row | {"ms a step": 1000 * found[key], "images/s": batch / found[key]} | ratio


def compare(found: Mapping[Key, float]) -> list[str]:
    """For each subject, ours in bfloat16 against PyTorch's default and against its best."""
    lines = []
    for name in dict.fromkeys(key.subject for key in found):
        theirs = {key.setting: value for key, value in found.items() if key[:2] == (name, "PyTorch")}
        if TORCH[0] in theirs:
            best = min(theirs, key=theirs.get)
            ours = found[Key(name, "ours", "bfloat16")]
            lines.append(
                f"{name}: ours in bfloat16 is {theirs[TORCH[0]] / ours:.2f} times as fast as PyTorch's default and "
                f"{theirs[best] / ours:.2f} times as fast as its best ({best})"
            )
    return lines


if __name__ == "__main__":
    main()
