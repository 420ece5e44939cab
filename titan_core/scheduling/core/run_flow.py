"""RunFlow: what a run does about its own failures, and at its end."""

from __future__ import annotations

from titan_core.model.job import Job
from titan_core.model.run import Run
from titan_core.model.states import JobState
from titan_core.scheduling.core.events import Instant
from titan_core.scheduling.core.job_book import JobBook
from titan_core.scheduling.core.lifecycle import JobLifecycle
from titan_core.scheduling.core.triggers import expects_failures, handler_of


class RunFlow:
    """Ends what is left of a run that fails fast, and starts the handlers of one that has come to its end.

    The end of a run is when each of its other jobs is final, or a service that is ready, and none can be added. Then
    its ``on_failure`` jobs run if one of those is DEAD, else they are SKIPPED; its ``finally`` jobs run after them.
    """

    def __init__(self, book: JobBook, lifecycle: JobLifecycle) -> None:
        self._book = book
        self._lifecycle = lifecycle

    def settle(self, now: Instant) -> None:
        """After each event: look at the runs with options or handlers of which a job was settled."""
        while self._book.news:
            news, self._book.news = self._book.news, []
            runs: dict[str, Run] = {}
            for run, job in news:
                options = run.row.options
                if job is not None and job.state is JobState.DEAD and options is not None and options.fail_fast:
                    self._fail_fast(run, job, now)
                runs[run.run_id] = run
            for run in runs.values():
                self._look_at_end(run, now)

    def _fail_fast(self, run: Run, failed: Job, now: Instant) -> None:
        others = [
            job for job in run.jobs if not job.state.final and job.ending != "cancel" and not expects_failures(job)
        ]
        self._lifecycle.cancel(others, f"fail_fast: {failed.spec.id} ended DEAD", now)

    def _look_at_end(self, run: Run, now: Instant) -> None:
        handlers = self._book.handlers.get(run.run_id, ())
        if not handlers or run.unfinished > run.services + len(handlers):
            return  # without a look at all of its jobs
        if run.open:
            if self._book.at_rest(run):
                self._book.idle.append(run)
            return
        others = [job for job in run.jobs if not handler_of(job)]
        if not all(job.settled for job in others):
            return
        failed = any(job.state is JobState.DEAD for job in others)
        self._begin([job for job in handlers if handler_of(job) == "on_failure"], failed, now)
        if all(job.state.final for job in handlers if handler_of(job) == "on_failure"):
            self._begin([job for job in handlers if handler_of(job) == "finally"], True, now)

    def _begin(self, handlers: list[Job], wanted: bool, now: Instant) -> None:
        for job in handlers:
            if job.state is JobState.WAITING:
                self._lifecycle.begin_handler(job, wanted, now)
