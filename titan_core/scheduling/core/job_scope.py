"""JobScope: what the expressions of one job can ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from titan_core.model.job import Job
from titan_core.model.states import JobState
from titan_core.scheduling.core.job_book import JobBook
from titan_sdk.errors import BadMessage, ExpressionError
from titan_sdk.job_outputs import decode


class JobScope:
    """A titan_sdk.expressions.Scope over the jobs in memory. Looks, and changes nothing."""

    def __init__(self, book: JobBook, job: Job, item: Any = None) -> None:
        self._book = book
        self._job = job
        self._item = item

    @property
    def params(self) -> Mapping[str, str]:
        options = self._job.run.row.options
        return options.params if options is not None else {}

    def outputs(self, parent: str) -> Mapping[str, Any]:
        run = self._job.run
        if parent in run.kept_jobs:
            return _decoded(run.kept_outputs.get(parent, b""))
        return _decoded(self._book.outputs.of(self._parent(parent)))

    def state(self, parent: str) -> str:
        if parent in self._job.run.kept_jobs:
            return JobState.COMPLETED.value
        return self._parent(parent).state.value

    def item(self) -> Any:
        flow = self._job.spec.flow
        return msgspec.json.decode(flow.item) if flow is not None and flow.item else self._item

    def _parent(self, parent: str) -> Job:
        return self._book.jobs[f"{self._job.run.run_id}/{parent}"]


def _decoded(outputs: bytes) -> dict[str, Any]:
    try:
        return decode(outputs)
    except BadMessage as error:
        raise ExpressionError(str(error)) from None
