"""How states, times and texts of others look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

STATE_STYLES = {
    "RUNNING": "cyan",
    "COMPLETED": "green",
    "DEAD": "red",
    "CANCELLED": "yellow",
    "SKIPPED": "dim",
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


class Shortened:
    """A text in one line of a table; where it does not fit, an ellipsis stands for its middle."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, max(1, cell_len(self._text)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shortened(self._text, options.max_width), no_wrap=True, overflow="crop")


def shortened(text: str, width: int) -> str:
    """The text in at most ``width`` columns of a terminal: its begin and its end."""
    if cell_len(text) <= width:
        return text
    end = max(0, (width - 1) // 2)
    tail = set_cell_size(text[::-1], end)[::-1]
    return f"{set_cell_size(text, max(0, width - 1 - end))}…{tail}"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
    shorten: Sequence[str] = (),
) -> Table:
    """A plain table; ``right`` names the columns of numbers.

    The first column, a name to copy, stays in one piece, and so do those of ``whole``. Where a terminal is too narrow,
    those of ``shorten`` lose the middle of their texts, and the others wrap.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        one_line = column in whole or (not number and column not in shorten)
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=one_line)
    for row in rows:
        cells = zip(columns, row, strict=True)
        made.add_row(*(Shortened(str(cell)) if column in shorten else cell for column, cell in cells))
    return made
