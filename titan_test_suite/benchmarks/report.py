"""Results as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from titan_test_suite.benchmarks.measuring import Result, Samples, Setting


def as_json(results: Sequence[Result], setting: Setting) -> str:
    """One JSON object: how it was measured, and one item for each line with all its samples."""
    return json.dumps({**_circumstances(setting), "results": [_item(result) for result in results]}, indent=2)


def as_table(results: Sequence[Result]) -> Table:
    table = Table()
    for column in ("what", "ours", "yardstick", "", "times as good", "goal", "met"):
        table.add_column(column, justify="right" if column in ("ours", "yardstick", "times as good") else "left")
    bench = ""
    for result in results:
        if bench and bench != result.bench:
            table.add_section()
        bench = result.bench
        table.add_row(
            result.what,
            f"{_spread(result.ours)} {result.unit}",
            f"{_spread(result.theirs)} {result.unit}" if result.theirs else "",
            result.yardstick,
            "" if result.ratio is None else f"{result.ratio:.2f}",
            "" if result.goal is None else str(result.goal),
            {True: "yes", False: "NO", None: ""}[result.met],
        )
    return table


def show(results: Sequence[Result], setting: Setting, console: Console) -> None:
    """Print the table, wide enough for its text when nobody sees it live."""
    if not console.is_terminal:
        console.width = 160
    console.print(as_table(results))
    facts = _circumstances(setting)
    console.print(
        f"{facts['cores']} cores, Python {facts['python']}, {facts['rounds']} rounds; each number is the median of the "
        "rounds (lowest to highest)" + (". Quick: these numbers say little." if setting.quick else ".")
    )


def _spread(samples: Samples) -> str:
    text = f"{samples.median:.3g}" if samples.median < 1000 else f"{samples.median:,.0f}"
    if len(samples.values) == 1:
        return text
    return f"{text} ({samples.low:.3g} to {samples.high:.3g})"


def _circumstances(setting: Setting) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"python": platform.python_version(), "cores": cores, "rounds": setting.repeat, "quick": setting.quick}


def _item(result: Result) -> dict[str, Any]:
    return {
        "bench": result.bench,
        "what": result.what,
        "unit": result.unit,
        "ours": _numbers(result.ours),
        "yardstick": result.yardstick,
        "theirs": _numbers(result.theirs) if result.theirs else None,
        "times_as_good": result.ratio,
        "goal": str(result.goal) if result.goal else "",
        "met": result.met,
    }


def _numbers(samples: Samples) -> dict[str, Any]:
    return {"median": samples.median, "min": samples.low, "max": samples.high, "samples": list(samples.values)}
