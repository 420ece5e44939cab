"""How things look in JSON: the SDK's structs as maps, whole, defaults included."""

from __future__ import annotations

from typing import Any

import msgspec

from titan_sdk.messages import JobInfo, JobSpec, RunInfo, RunSummary, ServiceInfo, ServiceList, WorkerInfo

Json = dict[str, Any]


def plain(struct: msgspec.Struct) -> Json:
    """All fields of a struct; nested ones too."""
    return {name: _value(getattr(struct, name)) for name in struct.__struct_fields__}


def _value(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return plain(value)
    if isinstance(value, (list, tuple)):
        return [_value(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def job(info: JobInfo) -> Json:
    return plain(info)


def worker(info: WorkerInfo) -> Json:
    return plain(info)


def spec(each: JobSpec) -> Json:
    return plain(each)


def services(active: ServiceList, workers: list[ServiceInfo], ended: list[JobInfo]) -> Json:
    """What the page of services shows; workers that are jobs are services too."""
    return {
        "services": [plain(each) for each in (*active.services, *workers)],
        "ended": [job(each) for each in ended],
    }


def run(summary: RunSummary) -> Json:
    found = plain(summary)
    found["state"] = state_of(summary.states, summary.finished)
    return found


def run_info(info: RunInfo, limit: int | None = None) -> Json:
    """A run with its jobs, ``limit`` of them, as a summary with ``jobs``."""
    states: dict[str, int] = {}
    for each in info.jobs:
        states[each.state] = states.get(each.state, 0) + 1
    found = plain(info)
    found["jobs"] = found["jobs"][:limit]
    found["states"] = states
    found["ended_at"] = max((each.ended_at for each in info.jobs), default=0)
    found["state"] = state_of(states, info.finished)
    return found


def state_of(states: dict[str, int], finished: bool) -> str:
    """One word for a run."""
    if finished:
        return "DEAD" if states.get("DEAD") else "CANCELLED" if states.get("CANCELLED") else "COMPLETED"
    return "RUNNING" if states.get("RUNNING") else "PENDING"


def encode(value: Any) -> str:
    """JSON in one line. What is no text (a half surrogate) is replaced rather than refused."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_replaced(value)).decode()


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_replaced(key): _replaced(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(each) for each in value]
    return value
