"""What a script that runs as a job can ask and say without a word to the master: standard library only."""

from __future__ import annotations

import json
import os
from typing import Any


def output(**values: Any) -> None:
    """Leave JSON values by name for the jobs that depend on this one, and for ``JobHandle.outputs``.

    They count once this attempt has completed; said again, a name has its last value.

    Raises:
        RuntimeError: this is no job, or its worker knows of no outputs.
        TypeError, ValueError: a value that JSON has no words for, or a name with more than letters, digits and ``_``.
    """
    path = os.environ.get("TITAN_OUTPUT")
    if not path:
        raise RuntimeError("TITAN_OUTPUT is not set: outputs are for scripts that run as jobs of Titan")
    for name in values:
        if not (name.isascii() and name.isidentifier() and len(name) <= 64):
            raise ValueError(f"{name[:80]!r} is not an output's name; letters, digits and _ are wanted, as in rows_2")
    line = json.dumps(values, allow_nan=False, separators=(",", ":"))
    with open(path, "ab", buffering=0) as file:  # whole in one piece, whoever else of the job writes at the same time
        file.write(f"{line}\n".encode())


def inputs() -> dict[str, dict[str, Any]]:
    """The outputs of the job's parents: values by name, by the parent's id. Those that left none are not in it."""
    path = os.environ.get("TITAN_INPUTS")
    if not path:
        return {}
    with open(path, encoding="utf-8") as file:
        found: dict[str, dict[str, Any]] = json.load(file)
    return found


def item() -> Any:
    """The element of the list that this instance of an ``each`` job is for; None in other jobs."""
    text = os.environ.get("TITAN_ITEM")
    return None if text is None else json.loads(text)


def failed_jobs() -> list[str]:
    """Ids of the jobs whose failure this one was started for, or that failed before the end of the run."""
    return [job_id for job_id in os.environ.get("TITAN_FAILED_JOBS", "").split(",") if job_id]
