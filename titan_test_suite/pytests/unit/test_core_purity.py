"""The core is pure: neither it nor the model can look at a clock, draw a number, open a file or start a thread."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import titan_core

ROOT = Path(titan_core.__file__).parent
ALLOWED = {
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "msgspec",
    "queue",  # for PriorityQueue; nothing here ever waits on one
    "re",
    "titan_core",
    "titan_sdk",
    "typing",
}
MODULES = sorted([*ROOT.glob("model/*.py"), *ROOT.glob("scheduling/core/*.py")])


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_imports(path: Path):
    names = imported(path)
    assert {name.partition(".")[0] for name in names} <= ALLOWED
    own = {name for name in names if name.startswith("titan_core")}
    layers = (
        ("titan_core.model",) if path.parent.name == "model" else ("titan_core.model", "titan_core.scheduling.core")
    )
    assert all(name.startswith(layers) for name in own), own
    assert {name for name in names if name.startswith("titan_sdk")} <= {
        "titan_sdk.dag",
        "titan_sdk.errors",
        "titan_sdk.expressions",
        "titan_sdk.job_outputs",
        "titan_sdk.messages",
        "titan_sdk.run_rules",
        "titan_sdk.names",
        "titan_sdk.sizes",
        "titan_sdk.timetable",  # which computes from what it is given, and the zones of this machine
    }


def test_there_is_something_to_look_at():
    assert len(MODULES) > 20
