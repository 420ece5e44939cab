"""ADD_JOBS, CLOSE_RUN, GET_RUN_TREE, RERUN, LIST_AGENT_RUNS: structured only."""

from __future__ import annotations

from titan_core.protocol.handlers.table import HandlerTable
from titan_core.protocol.services.graphs import GraphService
from titan_core.protocol.services.reruns import RerunService
from titan_sdk import messages


class GraphHandlers:
    """Graphs that grow, and trees of them."""

    def __init__(self, service: GraphService, reruns: RerunService) -> None:
        self._service = service
        self._reruns = reruns

    def install(self, table: HandlerTable) -> None:
        table.answer_later(messages.AddJobs, self._service.add)
        table.answer_later(messages.CloseRun, self._service.close)
        table.answer(messages.GetRunTree, self._service.tree)
        table.answer(messages.ListAgentRuns, self._service.agents)
        table.answer_later(messages.Rerun, self._reruns.rerun)
