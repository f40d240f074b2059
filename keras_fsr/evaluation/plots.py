"""Distributions of the figures as inline SVG, which takes the colours of the page it stands in."""

import io
import re
from collections.abc import Sequence

import numpy as np

from keras_fsr.evaluation.measures import Measure
from keras_fsr.evaluation.protocol import Row
from keras_fsr.quiet import import_matplotlib

INK, FIRST = "#010203", "#040506"  # stand-ins for the page's own colours
LONGEST = 40  # letters of a name; more would leave no room for the plot


def distribution(rows: Sequence[Row], measure: Measure) -> str:
    """A box plot with every image as a dot, a line a model; "" where a single image has no figure.

    The box spans the quartiles around the median, the whiskers 1.5 times its length.
    """
    names = list(dict.fromkeys(row.model for row in rows))
    values = [[row.figure(measure) for row in rows if row.model == name] for name in names]
    values = [[value for value in group if np.isfinite(value)] for group in values]
    if not any(values):
        return ""
    import_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text stays text, and equal figures give equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": measure.key, "font.family": "sans-serif"}):
        figure = Figure(figsize=(7.2, 0.8 + 0.32 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        style = {"color": INK}
        axes.boxplot(
            values,
            orientation="horizontal",
            widths=0.6,
            showfliers=False,
            boxprops=style,
            whiskerprops=style,
            capprops=style,
            medianprops={"color": FIRST, "linewidth": 2},
        )
        rng = np.random.default_rng(0)  # dots of like values side by side
        for line, group in enumerate(values, start=1):
            axes.scatter(group, line + rng.uniform(-0.22, 0.22, len(group)), s=5, alpha=0.35, color=INK, linewidths=0)
        axes.set_yticks(range(1, len(names) + 1), [shortened(n) for n in names], color=INK, parse_math=False)
        axes.tick_params(colors=INK)
        axes.invert_yaxis()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(INK)
        axes.grid(axis="x", color=INK, alpha=0.15)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])  # an id must not come twice on a page
    return svg.replace(INK, "currentColor").replace(FIRST, "var(--accent)")


def shortened(name: str) -> str:
    """A name with its end, by which paths differ, where it is too long."""
    return name if len(name) <= LONGEST else "..." + name[3 - LONGEST :]
