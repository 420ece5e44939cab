"""``titan-dev bench``: the measurements of titan_test_suite/benchmarks."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from titan_dev.environment import ROOT

TAKES_MORE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "titan-dev bench [arguments of titan_test_suite/benchmarks/bench.py]"
    parser.epilog = "Its arguments: `titan-dev bench -- --help`."


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """The exit code of the benchmark program."""
    program = ROOT / "titan_test_suite" / "benchmarks" / "bench.py"
    try:
        return subprocess.run([sys.executable, str(program), *rest], cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        return 130
