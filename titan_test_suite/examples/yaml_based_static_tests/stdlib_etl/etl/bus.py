"""How the steps hand data to each other: JSON files in a folder of this run on the shared data bus."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def run_folder() -> Path:
    """The run's own folder in ``TITAN_SHARED_DIR``, so that two runs at a time do not mix."""
    folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read(name: str) -> Any:
    return json.loads((run_folder() / name).read_text(encoding="utf-8"))


def write(name: str, value: Any) -> Path:
    """Write a JSON file; whoever reads it sees all of it or the one before, also when this step runs twice."""
    path = run_folder() / name
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(value), encoding="utf-8")
    scratch.replace(path)
    return path
