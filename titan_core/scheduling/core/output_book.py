"""OutputBook: what the jobs in memory left for others."""

from __future__ import annotations

import msgspec

from titan_core.model.job import Job
from titan_sdk.errors import BadMessage
from titan_sdk.job_outputs import MAX_RUN_OUTPUT_BYTES


class OutputBook:
    """Outputs by job, as JSON objects. Most jobs have none, and cost nothing here."""

    def __init__(self) -> None:
        self._by_key: dict[str, bytes] = {}
        self._of_runs: dict[str, int] = {}
        """Bytes, by run id."""
        self.bytes = 0
        """Of all of them."""

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def of(self, job: Job) -> bytes:
        """What the job left; empty when that is nothing."""
        return self._by_key.get(job.key, b"")

    def why_not(self, job: Job, outputs: bytes) -> str:
        """Why these cannot be kept; empty when they can."""
        total = self._of_runs.get(job.run.run_id, 0) + len(outputs)
        if total <= MAX_RUN_OUTPUT_BYTES:
            return ""
        return f"with its outputs those of the run are {total} bytes, over the limit of {MAX_RUN_OUTPUT_BYTES}"

    def keep(self, job: Job, outputs: bytes) -> None:
        """The job left these; it did so for the first time."""
        self._by_key[job.key] = outputs
        self._of_runs[job.run.run_id] = self._of_runs.get(job.run.run_id, 0) + len(outputs)
        self.bytes += len(outputs)

    def forget(self, job: Job) -> None:
        """The job leaves memory, as all of its run do."""
        outputs = self._by_key.pop(job.key, None)
        if outputs is not None:
            self.bytes -= len(outputs)
            self._of_runs.pop(job.run.run_id, None)


def gathered(outputs: list[bytes]) -> bytes:
    """The outputs of instances as those of one job: of each name the list of their values, null for who has none.

    Raises:
        BadMessage: they are over the limit for certain; what is written is more than a comma and a digit for each.
    """
    values = [msgspec.json.decode(body) if body else {} for body in outputs]
    names = dict.fromkeys(name for each in values for name in each)
    if len(names) * len(values) * 2 > MAX_RUN_OUTPUT_BYTES:
        raise BadMessage(
            f"lists of {len(values)} values for {len(names)} outputs are over the limit of {MAX_RUN_OUTPUT_BYTES} bytes"
        )
    return msgspec.json.encode({name: [each.get(name) for each in values] for name in names}) if names else b""
