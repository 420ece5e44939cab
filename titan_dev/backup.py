"""``titan-dev backup``: a copy of the master's data, while it is at work."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from titan_dev.environment import ROOT

MODULE = "titan_core.storage.backup"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="DEST", help="folder to make; it must not exist yet")
    add_data_dir(parser)


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=Path, default=Path("titan_data"), metavar="DIR", help="the master's (default titan_data)"
    )


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """0 when the copy is whole."""
    return call("save", arguments.data_dir, arguments.target)


def call(action: str, source: Path, target: Path) -> int:
    """The exit code of what storage/backup.py does; relative folders are seen from where titan-dev was started."""
    command = [sys.executable, "-m", MODULE, action, str(source.absolute()), str(target.absolute())]
    try:
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        return 130
