"""``titan-dev mutants``: breaks a copy of the engine on purpose, and shows that the tests notice."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from titan_dev.environment import ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutations to try (default: all)")
    parser.add_argument("--list", action="store_true", help="only print the mutations, and what each breaks")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """0 when every mutation was caught."""
    program = ROOT / "titan_test_suite" / "mutations" / "check.py"
    options = [*arguments.names, *(["--list"] if arguments.list else [])]
    try:
        return subprocess.run([sys.executable, str(program), *options], cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        return 130
