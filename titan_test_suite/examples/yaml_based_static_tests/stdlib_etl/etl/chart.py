"""Horizontal bar charts as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

ROW, BAR, LABEL, WIDTH = 24, 16, 330, 860  # pixels


def bars(title: str, items: Sequence[tuple[str, int]]) -> str:
    """An SVG document with one bar for each (label, value)."""
    largest = max((value for _, value in items), default=1) or 1
    room = WIDTH - LABEL - 70
    height = 44 + ROW * len(items)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"',
        '     font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<text x="0" y="20" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for number, (label, value) in enumerate(items):
        y = 36 + number * ROW
        length = max(1, round(room * value / largest))
        lines.append(f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>')
        lines.append(f'<rect x="{LABEL}" y="{y}" width="{length}" height="{BAR}" rx="2" fill="#3b6ea5"/>')
        lines.append(f'<text x="{LABEL + length + 6}" y="{y + 12}">{value}</text>')
    return "\n".join([*lines, "</svg>", ""])
