"""The way from the master to a structured worker: requests on the connection that the worker opened."""

from __future__ import annotations

import itertools
import logging
from typing import Final

from titan_core.scheduling.core.events import AttemptEnded, DispatchRefused
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.channel import Channel
from titan_sdk.errors import NotFound, Saturated, TitanError, TransportError, Unavailable
from titan_sdk.messages import CancelAttempt, Decommission, Dispatch, JobSpec, Lease, Message

log = logging.getLogger(__name__)

_link_ids: Final = itertools.count(1)


def next_link_id() -> int:
    """Unique in this process, for links of both dialects."""
    return next(_link_ids)


class StructuredWorkerLink:
    """A WorkerLink over a Channel. Called on the Dispatcher's thread; the channel queues, so nothing here waits.

    What a broken channel did not carry is left to what follows: the worker registers again and says what it holds, or
    it stays silent and is declared dead.
    """

    def __init__(self, worker_id: str, channel: Channel, scheduler: Scheduler) -> None:
        self.link_id = next_link_id()
        self.worker_id = worker_id
        self._channel = channel
        self._scheduler = scheduler

    def dispatch(self, lease: Lease, spec: JobSpec) -> None:
        def answered(answer: Message | TitanError) -> None:
            if isinstance(answer, TitanError):
                self._not_taken(lease, answer)

        self._channel.send_request(Dispatch(lease=lease, spec=spec), answered)

    def end_attempt(self, lease: Lease, reason: str) -> None:
        def answered(answer: Message | TitanError) -> None:
            # NotFound: it has ended, and its report is on the way or was stale. A broken link: the core asks again.
            if isinstance(answer, TitanError) and not isinstance(answer, (NotFound, TransportError)):
                log.warning("worker %s did not take the end of %s: %s", self.worker_id, lease.job, answer)

        self._channel.send_request(CancelAttempt(lease=lease, reason=reason), answered)

    def decommission(self, reason: str) -> None:
        def answered(answer: Message | TitanError) -> None:
            if isinstance(answer, TitanError):
                log.warning("worker %s did not take its decommissioning: %s", self.worker_id, answer)

        self._channel.send_request(Decommission(reason=reason), answered)

    def close(self, reason: str) -> None:
        self._channel.close(reason)

    def _not_taken(self, lease: Lease, error: TitanError) -> None:
        if isinstance(error, TransportError):
            log.info("%s did not reach worker %s: %s", lease.job, self.worker_id, error)
        elif isinstance(error, (Saturated, Unavailable)):
            self._scheduler.post(DispatchRefused(self.worker_id, lease, str(error)))
        else:
            # It understood, and cannot run this: the same again would end the same way, so it is charged.
            log.warning("worker %s refused %s: %s", self.worker_id, lease.job, error)
            reason = f"refused by its worker: {error}"
            self._scheduler.post(AttemptEnded(self.worker_id, lease, "failed", reason=reason))
