"""``/metrics`` in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response

from dashboard.cluster_state import ClusterState
from dashboard.parts import Parts, parts

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    text = "\n".join(_lines(parts())) + "\n"
    return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")


def _lines(found: Parts) -> Iterator[str]:
    yield from _metric("titan_master_up", "gauge", "Whether the master answers", found.hub.master["up"])
    yield from found.hub.read(lambda state: list(_cluster(state)))
    logs = found.logs
    yield from _metric("titan_dashboard_streams", "gauge", "Browsers that listen", found.broker.count())
    yield from _metric("titan_dashboard_events_total", "counter", "Events published", found.broker.published)
    yield from _metric("titan_dashboard_hub_rounds_total", "counter", "Questions to the master", found.hub.rounds)
    yield from _metric("titan_dashboard_datagrams_total", "counter", "Log datagrams received", logs.received)
    yield from _metric("titan_dashboard_datagrams_lost_total", "counter", "Log datagrams missing", logs.lost)
    yield from _metric("titan_dashboard_datagrams_refused_total", "counter", "Datagrams not sealed", logs.refused)
    yield from _metric("titan_dashboard_log_filled_bytes_total", "counter", "From the master's logs", logs.filled)


def _cluster(state: ClusterState) -> Iterator[str]:
    yield from _head("titan_jobs", "gauge", "Jobs in the master's memory by state")
    for name, number in sorted(state.counts.items()):
        yield f"titan_jobs{_labels(state=name)} {number}"
    columns = (
        ("titan_worker_slots", "Slots of a worker", lambda w: w.slots),
        ("titan_worker_busy", "Busy slots of a worker", lambda w: w.busy),
        ("titan_worker_up", "Whether a worker is alive", lambda w: int(w.state == "alive")),
        ("titan_worker_cpu_percent", "Processor time of a worker's machine", lambda w: w.cpu_percent),
        ("titan_worker_memory_percent", "Memory of a worker's machine", lambda w: w.memory_percent),
    )
    for name, help_text, value in columns:
        yield from _head(name, "gauge", help_text)
        for worker in state.workers:
            labels = _labels(worker=f"{worker.host}:{worker.port}", worker_id=worker.worker_id)
            yield f"{name}{labels} {value(worker)}"


def _metric(name: str, kind: str, help_text: str, value: float) -> Iterator[str]:
    yield from _head(name, kind, help_text)
    yield f"{name} {int(value)}"


def _head(name: str, kind: str, help_text: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}."
    yield f"# TYPE {name} {kind}"


def _labels(**labels: str) -> str:
    escaped = {
        name: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, text in labels.items()
    }
    return "{" + ",".join(f'{name}="{text}"' for name, text in escaped.items()) + "}"
