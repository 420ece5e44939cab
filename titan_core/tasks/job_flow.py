"""What an attempt is given of the jobs before it, and what it leaves for those after it: files in its folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from titan_sdk import job_outputs
from titan_sdk.errors import BadMessage
from titan_sdk.messages import Given, JobReport

OUTPUTS: Final = ".titan-outputs"
INPUTS: Final = ".titan-inputs.json"


def variables(given: Given, job_dir: Path) -> dict[str, str]:
    """What the job finds in its environment; outputs of its parents are in a file too.

    Raises:
        OSError: the file cannot be written.
    """
    found: dict[str, str] = {}
    if given.inputs:
        path = job_dir / INPUTS
        path.write_bytes(given.inputs)
        found |= job_outputs.variables(msgspec.json.decode(given.inputs))
        found["TITAN_INPUTS"] = str(path)
    if given.item:
        found["TITAN_ITEM"] = given.item.decode()
        found["TITAN_ITEM_INDEX"] = str(given.index)
    if given.failed:
        found["TITAN_FAILED_JOBS"] = ",".join(given.failed)
        found["TITAN_FAILURE_REASON"] = given.failure
    return found


def with_outputs(report: JobReport, job_dir: Path) -> JobReport:
    """The report with the outputs that a completed attempt left; the file is gone then.

    Outputs that cannot be used make it a failed one: whoever depends on it would miss them.
    """
    path = job_dir / OUTPUTS
    try:
        text = _read(path)
        if text is None:
            return report
        if report.outcome != "completed":
            return report
        return msgspec.structs.replace(report, outputs=job_outputs.parse(text))
    except (BadMessage, OSError) as error:
        return msgspec.structs.replace(report, outcome="failed", reason=f"its outputs cannot be used: {error}")


def _read(path: Path) -> bytes | None:
    """What the file holds, or a byte more than it may; None when there is none, as in most jobs."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadMessage("TITAN_OUTPUT is not a plain file any more")
        chunks = []
        left = job_outputs.MAX_OUTPUT_BYTES + 1
        while left and (chunk := os.read(fd, left)):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)
