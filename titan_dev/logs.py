"""``titan-dev logs``: a job's log from the master, or what the last ``up`` printed."""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from titan_dev.environment import ROOT
from titan_dev.up import CLUSTER_LOG

LOOK_S = 0.2
"""Seconds between two looks at a file that is followed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on as more is written, until Ctrl-C")
    parser.add_argument("job", nargs="?", help="job id; without one: what the processes of the last `up` printed")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """0, 1 when there is no such log, 2 when no master answers."""
    try:
        if arguments.job:
            command = [str(ROOT / "titan_core" / "TitanCli.py"), "logs", arguments.job]
            command += ["-f"] if arguments.follow else []
            return subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode
        return _print_file(CLUSTER_LOG, arguments.follow)
    except KeyboardInterrupt:
        return 130


def _print_file(path: Path, follow: bool) -> int:
    if not path.exists():
        print(f"titan-dev: no cluster was started with `titan-dev up` yet ({path})", file=sys.stderr)
        return 1
    pause = threading.Event()
    with path.open(encoding="utf-8", errors="replace") as file:
        while True:
            for line in file:
                sys.stdout.write(line)
            sys.stdout.flush()
            if not follow:
                return 0
            pause.wait(LOOK_S)
