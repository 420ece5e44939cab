"""Imports go one way: ALLOWED says what each package may import of ours, every import of every module is checked."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OURS = ("titan_sdk", "titan_core", "dashboard", "titan_dev", "titan_test_suite")

SDK = {"titan_sdk"}
MODEL = SDK | {"titan_core.model"}
CORE = MODEL | {"titan_core.scheduling.core"}
STORAGE = CORE | {"titan_core.storage"}
SCHEDULING = STORAGE | {"titan_core.scheduling"}
WORKER_SIDE = MODEL | {"titan_core.filesys", "titan_core.tasks"}
EVERYTHING = {"titan_sdk", "titan_core"}

ALLOWED: dict[str, set[str]] = {
    "titan_sdk": SDK,
    "titan_core.config": SDK | {"titan_core.config"},
    "titan_core.model": MODEL,
    "titan_core.scheduling.core": CORE,
    "titan_core.storage": STORAGE,
    "titan_core.filesys": WORKER_SIDE,
    "titan_core.tasks": WORKER_SIDE,
    "titan_core.scheduling": SCHEDULING,
    "titan_core.protocol": SCHEDULING | WORKER_SIDE | {"titan_core.protocol", "titan_core.config"},
    "titan_core.cli": SDK | {"titan_core.cli"},
    "titan_core": EVERYTHING,
    "dashboard": SDK | {"dashboard"},
    "titan_dev": SDK | {"titan_dev"},
}
"""Package -> the packages of ours it may import. The longest name that fits a module decides."""

IMPURE = frozenset(
    {
        *("time", "datetime", "random", "secrets", "uuid", "threading", "multiprocessing", "concurrent", "asyncio"),
        *("socket", "socketserver", "select", "selectors", "signal", "subprocess"),
        *("os", "io", "pathlib", "shutil", "tempfile", "sqlite3", "logging"),
    }
)
"""What titan_core/scheduling/core may not import: the same events must always give the same commands."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours outside the tests, as (dotted name, file)."""
    for top in ("titan_sdk", "titan_core", "dashboard", "titan_dev"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "build" in parts or parts[:2] == ("titan_sdk", "titan"):
                continue
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name: str, path: Path) -> Iterator[tuple[str, int]]:
    """What a module imports, relative imports resolved, as (dotted name, line)."""
    tree = ast.parse(path.read_bytes())
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield deeper if is_module(deeper) else base, node.lineno


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def rule_for(name: str) -> set[str]:
    return ALLOWED[max((package for package in ALLOWED if inside(name, package)), key=len)]


def may_import(name: str, imported: str) -> bool:
    """Whether a module may import another one of ours. A package by itself opens only its own level."""
    allowed = rule_for(name)
    if imported == "titan_core" or allowed is EVERYTHING:
        return True
    deeper = [package for package in ALLOWED if inside(imported, package)]
    owner = max(deeper, key=len) if deeper else ""
    # scheduling allows scheduling.core, but core, which is deeper, does not allow scheduling
    return any(inside(imported, package) for package in allowed) and (owner in allowed or owner == "titan_core")


def test_imports_go_one_way():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for name, path in modules()
        for imported, line in imports(name, path)
        if imported.partition(".")[0] in OURS and not may_import(name, imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_is_pure():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for name, path in modules()
        if inside(name, "titan_core.scheduling.core")
        for imported, line in imports(name, path)
        if imported.partition(".")[0] in IMPURE
    ]
    assert not wrong, "\n".join(wrong)


def test_scheduling_itself_is_an_empty_package():
    """Else importing scheduling.core would run, and so import, what lies above the core."""
    assert (ROOT / "titan_core" / "scheduling" / "__init__.py").read_text(encoding="utf-8").strip() == ""


def test_every_folder_of_ours_is_a_package():
    bare = {path.parent for _, path in modules() if not (path.parent / "__init__.py").exists()}
    assert not bare


@pytest.mark.parametrize("program", ["titan_core.cli.shell", "titan_core.cli.job_commands"])
def test_the_command_line_loads_no_engine(program):
    """The operator's machine may have no more than a client needs, and the shell starts quickly."""
    code = f"import sys, {program}; print([n for n in sys.modules if n.startswith('titan_core.s')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_sdk_works_without_the_engine(tmp_path):
    """Everything of titan_sdk is importable where titan_core is not."""
    (tmp_path / "titan_sdk").symlink_to(ROOT / "titan_sdk")
    names = [name for name, _ in modules() if inside(name, "titan_sdk") and name != "titan_sdk.run_as_script"]
    code = f"import sys, importlib; sys.path = [p for p in sys.path if p != {str(ROOT)!r}]; sys.path.insert(0, '.')\n"
    code += f"for name in {names!r}: importlib.import_module(name)\n"
    code += "assert not [n for n in sys.modules if n.partition('.')[0] in ('titan_core', 'dashboard')]"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60, check=True)


def test_the_rules_catch_what_they_are_for():
    assert may_import("titan_core.storage.sqlite_store", "titan_core.scheduling.core.commands")
    assert not may_import("titan_core.scheduling.core.core", "titan_core.scheduling.scheduler")
    assert not may_import("titan_core.storage.sqlite_store", "titan_core.scheduling.scheduler")
    assert not may_import("titan_core.tasks.launcher", "titan_core.scheduling.core.events")
    assert not may_import("titan_core.filesys.zip_utils", "titan_core.protocol.handlers")
    assert not may_import("titan_sdk.client", "titan_core.config")
    assert not may_import("dashboard.app", "titan_core.model")
    assert may_import("titan_core.TitanMaster", "titan_core.protocol.scheduler_server")
    assert "time" in IMPURE and "threading" in IMPURE
