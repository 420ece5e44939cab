"""How states, times and texts of others look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

STATE_STYLES = {
    "RUNNING": "cyan",
    "COMPLETED": "green",
    "DEAD": "red",
    "CANCELLED": "yellow",
    "alive": "green",
    "away": "yellow",
    "draining": "yellow",
    "cordoned": "yellow",
    "dead": "red",
    "ready": "green",
    "starting": "cyan",
    "restarting": "yellow",
    "stopping": "yellow",
    "crash loop": "red",
}


def clean(text: str) -> str:
    """Text from a job or a peer, with nothing in it that a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)


def state_text(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def duration(start_ms: int, end_ms: int) -> str:
    """Time between two moments in epoch ms, as ``12ms``, ``3.4s``, ``5m07s`` or ``2h03m``; empty before the start."""
    if not start_ms:
        return ""
    ms = max(0, end_ms - start_ms)
    if ms < 1000:
        return f"{ms}ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Sequence[str] = ()) -> Table:
    """A plain table; ``right`` names the columns of numbers. The first column, a name to copy, stays in one piece."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=not number)
    for row in rows:
        made.add_row(*row)
    return made
