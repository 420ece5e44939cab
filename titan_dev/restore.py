"""``titan-dev restore``: puts a copy that ``titan-dev backup`` made in the place of the master's data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from titan_dev.backup import add_data_dir, call


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SRC", help="folder that `titan-dev backup` made")
    add_data_dir(parser)


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """0 when the copy is in place; what was there before is kept beside it."""
    return call("restore", arguments.source, arguments.data_dir)
