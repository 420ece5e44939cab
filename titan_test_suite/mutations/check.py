"""Breaks a copy of the engine in one way after the other, and sees whether the tests notice.

Usage: python titan_test_suite/mutations/check.py [--list] [NAME...]; `./titan-dev mutants` does the same.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from titan_test_suite.mutations.mutations import MUTATIONS, Mutation  # noqa: E402

COPIED: Final = (
    "titan_core",
    "titan_sdk",
    "titan_dev",
    "titan_test_suite",
    "perm_files",
    "pyproject.toml",
    "setup.cfg",
)
TRIAL_S: Final = 300.0
"""For the tests of one mutation; what hangs was noticed too."""
TEST_S: Final = 40
"""For one test: several times what the slowest one takes, as a broken engine often hangs."""
MARK: Final = "MUTANTS_RUN"
"""Variable in the environment of pytest and all that it starts; its value belongs to one run."""
PASSED: Final = 0
FAILED: Final = 1


class AnchorGone(Exception):
    """The piece that a mutation replaces is not there, or not once."""


def copy_tree(target: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
        elif source.is_file():
            shutil.copy2(source, target / name)


def apply(mutation: Mutation, root: Path) -> str:
    """Change the file; its text before.

    Raises:
        AnchorGone: see there.
    """
    path = root / mutation.path
    text = path.read_text(encoding="utf-8")
    found = text.count(mutation.before)
    if found != 1:
        raise AnchorGone(f"{mutation.name}: {mutation.path} holds its anchor {found} times instead of once")
    path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
    return text


def run_tests(root: Path, tests: Iterable[str], *, stop_at_first: bool) -> tuple[int, str]:
    """pytest's exit code (a test run that does not end has failed) and what it printed."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_S}", *tests]
    if stop_at_first:
        command.append("-x")
    mark = f"{os.getpid()}-{secrets.token_hex(6)}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TITAN_", "PYTHON"))}
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment | {MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TRIAL_S)
    except subprocess.TimeoutExpired:
        output = "it did not end"
    finally:
        _end_all(process, mark)
    return process.returncode if process.returncode >= 0 else FAILED, output


def _end_all(process: subprocess.Popen[str], mark: str) -> None:
    """End pytest, if it still runs, and whatever a broken engine left behind."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for left in psutil.process_iter():
        with suppress(psutil.Error):
            if left.environ().get(MARK) == mark:
                left.kill()


def try_out(mutation: Mutation, root: Path) -> tuple[str, str]:
    """The verdict (``caught``, ``SURVIVED``, ``not tried``, ``BROKEN``), and what to show of it."""
    try:
        original = apply(mutation, root)
    except AnchorGone as error:
        return "BROKEN", str(error)
    try:
        code, output = run_tests(root, mutation.tests, stop_at_first=True)
    finally:
        (root / mutation.path).write_text(original, encoding="utf-8")
    if code == FAILED:
        return "caught", ""
    if code != PASSED:
        return "BROKEN", f"pytest ended with {code}:\n{output}"
    if " passed" not in output:
        return "not tried", "all of its tests were skipped here"
    return "SURVIVED", output


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every mutation was caught, or could not be tried here."""
    names = [mutation.name for mutation in MUTATIONS]
    parser = argparse.ArgumentParser(prog="mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutations to try (default: all)")
    parser.add_argument("--list", action="store_true", help="only print the mutations, and what each breaks")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.names) - set(names)
    if unknown:
        parser.error(f"no mutation {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = [mutation for mutation in MUTATIONS if not arguments.names or mutation.name in arguments.names]
    if arguments.list:
        for mutation in chosen:
            print(f"{mutation.name:34} {mutation.breaks}")
        return 0
    return check(chosen)


def check(chosen: Sequence[Mutation]) -> int:
    """Try them all, and print the table."""
    with tempfile.TemporaryDirectory(prefix="titan-mutants-") as name:
        root = Path(name)
        copy_tree(root)
        tests = sorted({test for mutation in chosen for test in mutation.tests})
        print(f"the unharmed engine: {len(tests)} tests or files of tests", flush=True)
        code, output = run_tests(root, tests, stop_at_first=False)
        if code != PASSED:
            print(f"{output}\nthe tests fail without any mutation, so their failing would show nothing")
            return 1
        verdicts: dict[str, str] = {}
        print(f"\n{'mutation':34} {'verdict':10} {'time':>6}  what it breaks", flush=True)
        for mutation in chosen:
            begin = time.monotonic()
            verdict, shown = try_out(mutation, root)
            verdicts[mutation.name] = verdict
            took = time.monotonic() - begin
            print(f"{mutation.name:34} {verdict:10} {took:5.1f}s  {mutation.breaks}", flush=True)
            if shown:
                print(shown, flush=True)
    bad = [name for name, verdict in verdicts.items() if verdict in ("SURVIVED", "BROKEN")]
    caught = sum(verdict == "caught" for verdict in verdicts.values())
    print(f"\n{caught} of {len(chosen)} caught" + (f"; look at {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
