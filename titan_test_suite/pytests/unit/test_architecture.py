"""ARCHITECTURE.md: its diagram is the table of states, and it leads to every module."""

from __future__ import annotations

import re
from pathlib import Path

from titan_core.model.states import FINAL, INITIAL, TRANSITIONS

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
ROOMS = ["titan_sdk", "titan_core", "dashboard", "titan_dev"]


def diagram() -> str:
    """The table of moves as a Mermaid diagram."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state.value}" for state in TRANSITION_ORDER if state in INITIAL]
    lines += [
        f"    {origin.value} --> {target.value}: {cause.value}" for (origin, cause), target in TRANSITIONS.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in TRANSITION_ORDER if state in FINAL]
    return "\n".join(lines)


TRANSITION_ORDER = list(dict.fromkeys([*(origin for origin, _ in TRANSITIONS), *TRANSITIONS.values()]))


def summary(path: Path) -> str:
    """The first line of a module's docstring, or of the comment that stands in for one."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("# "):
        return text[2:].splitlines()[0]
    return text.split('"""', 2)[1].strip().splitlines()[0]


def test_the_diagram_is_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in TEXT, f"paste this into ARCHITECTURE.md:\n{diagram()}"


def test_every_module_has_its_place() -> None:
    """Each module stands in the section of its folder, with the first line of its docstring."""
    missing = []
    for top in ROOMS:
        for path in sorted((ROOT / top).rglob("*.py")):
            if path.name == "__init__.py" or "build" in path.parts:
                continue
            row = f"| `{path.relative_to(ROOT)}` | {summary(path)} |"
            if row not in TEXT:
                missing.append(row)
    assert not missing, "ARCHITECTURE.md lacks these rows:\n" + "\n".join(missing)


def test_nothing_is_named_that_does_not_exist() -> None:
    rows = re.findall(r"^\| `((?:titan_sdk|titan_core|dashboard|titan_dev)/[\w./]+\.py)` \|", TEXT, re.MULTILINE)
    gone = [row for row in rows if not (ROOT / row).is_file()]
    assert not gone
    tests = re.findall(r"`((?:unit|property|integration|chaos)/test_\w+\.py)`", TEXT)
    assert tests
    gone = [test for test in tests if not (ROOT / "titan_test_suite" / "pytests" / test).is_file()]
    assert not gone
