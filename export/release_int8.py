"""Ships the int8 form of a shipped model under a name of its own: NAME.tflite and a card without figures.

python export/release_int8.py NAME FILE.tflite --of MODEL --purpose WORDS --description TEXT --hours H
    [--command CMD ...]
keras-fsr evaluate --models NAME ... --report REPORT
python export/card.py NAME REPORT
"""

import argparse
import dataclasses
import json
from pathlib import Path

from release import ship_tflite

from keras_fsr import pretrained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("file", type=Path, help="what export tflite made of the model's NAME.keras")
    parser.add_argument("--of", required=True, metavar="MODEL", help="shipped model")
    parser.add_argument("--purpose", required=True, help="what it is for, in a few words")
    parser.add_argument("--description", required=True)
    parser.add_argument("--hours", type=float, required=True, help="wall-clock hours of the fine-tuning alone")
    parser.add_argument("--command", action="append", default=[], help="a command that made the file; repeatable")
    arguments = parser.parse_args()
    original = pretrained.card(arguments.of)
    target = pretrained.FOLDER / f"{arguments.name}.tflite"
    ship_tflite(arguments.file, target, arguments.name, original.sha256[f"{arguments.of}.keras"])
    commands = [*original.training["commands"], *arguments.command]
    card = dataclasses.replace(
        original,
        name=arguments.name,
        purpose=arguments.purpose,
        description=arguments.description,
        sha256={target.name: pretrained.digest(target)},
        training=original.training | {"commands": commands, "hours": original.training["hours"] + arguments.hours},
        figures={"headline": "not measured yet"},
        subgroups={},
        float_model=arguments.of,
    )
    path = pretrained.FOLDER / f"{arguments.name}.json"
    path.write_text(json.dumps(dataclasses.asdict(card), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
