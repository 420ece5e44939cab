"""How far an upload has come, drawn on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from titan_sdk.uploads import Progress


@contextmanager
def showing(progress: Progress | bool | None, text: str) -> Iterator[Progress | None]:
    """What to hand to an upload for the time of a ``with`` block.

    Args:
        progress: a callback, which is handed on; True: a bar on standard error, when that is a terminal.
        text: stands beside the bar.
    """
    if callable(progress):
        yield progress
        return
    if not progress or not sys.stderr.isatty():
        yield None
        return
    # rich takes as long to load as the rest of the client.
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(text), total=None)
        yield lambda sent, total: bar.update(task, completed=sent, total=total)
