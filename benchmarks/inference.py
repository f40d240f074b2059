"""Shipped models beside other people's: quality and time, as a table, JSON and a plot.

    python benchmarks/inference.py --report docs/results/faces_test_x4 --peers PEERS --peers-python PYTHON --out DIR

The quality is that of a report of `keras-fsr evaluate` (its `summary.json`), which has the peers as `--results`.
Times are from 8-bit pixels to 8-bit pixels, medians of rounds in which all take turns, each in a process of its own.
Ours run by LiteRT alone and (`upscale`) as `keras-fsr upscale` does it: with mirrored borders and tiles. PEERS holds
the peers' files, PYTHON has OpenCV's contrib modules and ncnn (see `peers.py`).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from runners import Subject, measure_costs

from keras_fsr import machine, pretrained

PEERS = {
    "FSRCNN": ("opencv", "FSRCNN_x4.pb"),
    "ESPCN": ("opencv", "ESPCN_x4.pb"),
    "LapSRN": ("opencv", "LapSRN_x4.pb"),
    "Upscayl-Lite": ("ncnn", "upscayl-lite-4x.param"),
}
COLUMNS = {"PSNR-Y": "psnr_y", "LPIPS": "lpips"} | {
    f"{side}→{4 * side}, {threads} thread{'s' * (threads > 1)}": f"{side} {threads}"
    for side in (64, 256)
    for threads in (1, 2)
}
COMPARED = "64 2"  # what is plotted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, required=True, help="folder of evaluate --report")
    parser.add_argument("--models", nargs="+", default=pretrained.names(), help="shipped models (all)")
    parser.add_argument("--peers", type=Path, help="folder of the peers' models")
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter with their runtimes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for inference.json and inference.png")
    arguments = parser.parse_args()
    quality = json.loads((arguments.report / "summary.json").read_text(encoding="utf-8"))["models"]
    subjects = [Subject(name, kind, kind, pretrained.weights(name)) for name in arguments.models for kind in OURS]
    if arguments.peers:
        subjects += [Subject(name, kind, kind, arguments.peers / file) for name, (kind, file) in PEERS.items()]
    python = arguments.peers_python
    costs = measure_costs(subjects, arguments.rounds, {"opencv": python, "ncnn": python})
    rows = [make_row(subject, quality, costs[subject]) for subject in subjects]
    print(f"{machine.cpu_name() or 'CPU'}, {machine.available_cores()} cores; milliseconds\n")
    print(format_table(rows))
    print(*compare(rows), sep="\n")
    if arguments.out:
        (arguments.out / "inference.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        plot(rows, arguments.out / "inference.png")


# Where names stand beside their points (alignment, x, y), of those that would lie on others.
LABELS = {
    "face_x4": ("left", 6, -11),
    "face_x4_edge": ("left", 6, -11),
    "face_x4_edge_medium": ("left", 7, -9),
    "face_x4_int8": ("right", -6, 5),
    "ESPCN": ("left", 6, -10),
    "FSRCNN": ("right", -6, 2),
    "LapSRN": ("right", -6, 5),
    "Upscayl-Lite": ("left", 6, -11),
}
OURS = {"tflite": "", "predictor": ", upscale"}


def make_row(subject: Subject, quality: Mapping[str, Mapping], costs: Mapping[str, float]) -> dict:
    figures = quality.get(subject.model, {})
    measured = {key: figures[key]["mean"] for key in ("psnr_y", "lpips") if key in figures}
    ours = subject.kind in OURS
    return {"model": subject.model + OURS.get(subject.kind, ""), "ours": ours} | measured | costs


def format_table(rows: Sequence[Mapping]) -> str:
    """A Markdown table."""
    forms = {"psnr_y": ".2f", "lpips": ".4f", "64 1": ".2f", "64 2": ".2f"}
    lines = [f"| model | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    for row in rows:
        cells = [format(row[key], forms.get(key, ".0f")) if key in row else "" for key in COLUMNS.values()]
        lines.append(f"| {row['model']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def compare(rows: Sequence[Mapping]) -> list[str]:
    """For each peer, which of ours is faster and better by 1 dB, or by 20 % in LPIPS."""
    lines = []
    for peer in (row for row in rows if not row["ours"]):
        faster = [row for row in rows if row["ours"] and row[COMPARED] <= peer[COMPARED]]
        for key, unit, ahead in (
            ("psnr_y", "dB", lambda row, peer: row["psnr_y"] - peer["psnr_y"] >= 1),
            ("lpips", "LPIPS", lambda row, peer: row["lpips"] <= 0.8 * peer["lpips"]),
        ):
            found = [row for row in faster if key in row and key in peer and ahead(row, peer)]
            if found:
                best = min(found, key=lambda row: row[COMPARED])
                share = best[COMPARED] / peer[COMPARED]
                lines.append(
                    f"{peer['model']}: {best['model']} takes {share:.0%} of its time, "
                    f"{best[key]:.4g} {unit} against {peer[key]:.4g}"
                )
            else:
                lines.append(f"{peer['model']}: none of ours is both faster and ahead in {unit}")
    return lines


def plot(rows: Sequence[Mapping], path: Path) -> None:
    """Quality over time, ours and the peers', once in PSNR and once in LPIPS."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    for axis, key, label in zip(
        axes, ("psnr_y", "lpips"), ("PSNR-Y, dB (more is better)", "LPIPS (less is better)"), strict=True
    ):
        shown = [row for row in rows if key in row and not row["model"].endswith(OURS["predictor"])]
        for row in shown:
            colour, marker = ("#17695c", "o") if row["ours"] else ("#8a8f8d", "s")
            axis.scatter(row[COMPARED], row[key], color=colour, marker=marker, zorder=3)
            align, x, y = LABELS.get(row["model"], ("left", 6, 5))
            place = {"xy": (row[COMPARED], row[key]), "xytext": (x, y), "textcoords": "offset points"}
            axis.annotate(row["model"], **place, ha=align, fontsize=8)
        axis.set(xscale="log", xlabel="milliseconds, 64 to 256 pixels, two threads", ylabel=label)
        axis.margins(x=0.3, y=0.12)
        axis.grid(alpha=0.3, zorder=0)
    axes[1].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
