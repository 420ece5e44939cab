"""WATCH_CLUSTER, LIST_RUNS, GET_SPECS, WATCH_LOGS: structured only."""

from __future__ import annotations

from titan_core.protocol.handlers.table import HandlerTable
from titan_core.protocol.services.log_watches import LogWatches
from titan_core.protocol.services.watching import WatchService
from titan_sdk import messages


class WatchHandlers:
    """For those that show the cluster while it changes."""

    def __init__(self, service: WatchService, log_watches: LogWatches) -> None:
        self._service = service
        self._log_watches = log_watches

    def install(self, table: HandlerTable) -> None:
        table.answer_later(messages.WatchCluster, self._service.watch)
        table.answer_later(messages.ListRuns, self._service.list_runs)
        table.answer(messages.GetSpecs, self._service.specs)
        table.answer(messages.WatchLogs, self._log_watches.watch)
