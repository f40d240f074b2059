"""What the page says of the models, from their cards."""

from typing import Any

from keras_fsr.pretrained import Card

GUESS = (
    "What an enlargement adds is plausible invention, not a record of what was there. "
    "It can please, but it is no evidence of who or what a photo shows."
)
FIGURES = {
    "psnr_y": ("PSNR-Y in dB, higher is better", 2),
    "ssim_y": ("SSIM-Y, higher is better", 4),
    "lpips": ("LPIPS, lower is better", 4),
    "identity": ("Identity distance, lower is better", 3),
}
"""Key in a card's figures -> (what it is called, decimals)."""
SOURCES = {"faker": "generated portraits", "house": "members of the US House", "senate": "US senators"}


def choice(card: Card) -> str:
    """A model in the list: its name and what it is for."""
    return f"{card.name}: {card.purpose}" if card.purpose else card.name


def about(card: Card) -> str:
    """A card as Markdown: the figures beside those of bicubic interpolation, the limits, how it was made."""
    tables = [_table(name, rows, card.name) for name, rows in card.figures.items() if _compares(rows, card.name)]
    parts = [f"## {card.name}", f"{card.description.rstrip('.')}.", f"**{GUESS}**"]
    if tables:
        tables.insert(0, "Means with 95 % intervals, beside bicubic interpolation.")
    parts += ["### Figures", *(tables or [card.figures.get("headline", "None yet.")])]
    parts += ["### Limits", _bullets(card.limits), "### How it was made", _bullets(_facts(card))]
    return "\n\n".join(parts)


def _compares(rows: Any, name: str) -> bool:
    return isinstance(rows, dict) and {name, "bicubic"} <= set(rows)


def _table(title: str, rows: dict[str, dict], name: str) -> str:
    """A line a figure, for a telephone has no room for a column a figure."""
    lines = [f"| {title}, {rows[name]['images']} images | {name} | bicubic |", "|---|---|---|"]
    for key, (label, decimals) in FIGURES.items():
        if all(key in rows[row] for row in (name, "bicubic")):
            cells = (_figure(rows[row], key, decimals) for row in (name, "bicubic"))
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(row: dict, key: str, decimals: int) -> str:
    text, interval = f"{row[key]:.{decimals}f}", row.get(f"{key}_95")
    return f"{text} ({interval[0]:.{decimals}f} to {interval[1]:.{decimals}f})" if interval else text


def _facts(card: Card) -> list[str]:
    facts = [f"Licence: {card.licence}", f"Enlarges {card.scale} times; {card.parameters:,} parameters"]
    data = card.training.get("data", {})
    if data:
        counts = (f"{count} {SOURCES.get(name, name)}" for name, count in data.get("by_source", {}).items())
        facts.append(f"Training data: {data['training_images']} images ({', '.join(counts)})")
    if card.fidelity:
        facts.append(f"Tuned from {card.fidelity}, towards which a lower strength draws it")
    return facts


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
