"""GET_JOB_STATUS, WATCH_RUN, WATCH_SETTLED, LIST_JOBS, EXPLAIN_JOB, CANCEL_JOB, STOP."""

from __future__ import annotations

from titan_core.protocol.handlers.table import ClassicPeer, HandlerTable, wait_for
from titan_core.protocol.services.jobs import JobService
from titan_core.protocol.services.settled_jobs import SettledJobsService
from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as classic
from titan_sdk import messages
from titan_sdk.errors import NotFound


class JobHandlers:
    """Looking at jobs and ending them, in both dialects."""

    def __init__(self, service: JobService, settled: SettledJobsService) -> None:
        self._service = service
        self._settled = settled

    def install(self, table: HandlerTable) -> None:
        table.answer_later(messages.GetJob, self._service.get)
        table.answer_later(messages.WatchRun, self._service.watch)
        table.answer_later(messages.WatchSettled, self._settled.watch)
        table.answer_later(messages.ListJobs, self._service.list_jobs)
        table.answer_later(messages.ExplainJob, self._service.explain)
        table.answer_later(messages.CancelJob, self._service.cancel)
        table.answer_later(messages.Stop, self._service.stop)
        table.classic(classic.GetJobStatus, self._status)
        table.classic(classic.CancelJob, self._cancel)
        table.classic(classic.Stop, self._stop)

    def _status(self, request: classic.GetJobStatus, peer: ClassicPeer) -> str:
        try:
            state = wait_for(self._service.get, messages.GetJob(id=request.id)).state
        except NotFound:
            return replies.NULL
        return replies.classic_state(state)

    def _cancel(self, request: classic.CancelJob, peer: ClassicPeer) -> str:
        """NOT_FOUND also for a job that has ended: there is nothing to cancel."""
        try:
            ended = wait_for(self._service.cancel, messages.CancelJob(id=request.id)).text
        except NotFound:
            return replies.NOT_FOUND
        return replies.CANCELLED if ended else replies.NOT_FOUND

    def _stop(self, request: classic.Stop, peer: ClassicPeer) -> str:
        wait_for(self._service.stop, messages.Stop(id=request.id))
        return replies.format_stopped(request.id)
