"""Pipelines as the graph beside their text has them: read from YAML or from a run's specs, and written as YAML.

A job is a map of the keys of a pipeline file, all of them, with the defaults filled in for those that the page shows;
so nothing that somebody has written gets lost when the graph is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from titan_sdk.errors import PipelineError
from titan_sdk.job import AUTO, HANDLERS
from titan_sdk.messages import DEFAULT_PRIORITY, DEFAULT_RETRIES, DEFAULT_SERVICE, GENERAL, ApproveSpec, JobSpec
from titan_sdk.messages.job_spec import DEFAULT_FLOW, RepairSpec
from titan_sdk.pipeline_keys import JOB_KEYS, PIPELINE_KEYS, Bad
from titan_sdk.yaml_lines import List, Map, Node, Text, read_yaml

DEFAULTS: Final[dict[str, Any]] = {
    "type": "run",
    "args": [],
    "depends_on": [],
    "trigger": DEFAULT_FLOW.trigger,
    "when": "",
    "each": "",
    "handler": "",
    "requirement": [GENERAL],
    "priority": DEFAULT_PRIORITY,
    "delay": 0,
    "affinity": False,
    "approve": None,
    "on_failure": None,
    "retries": DEFAULT_RETRIES,
    "timeout": None,
    "cpus": 0,
    "memory": "",
    "gpus": 0,
    "port": 0,
    "restart": DEFAULT_SERVICE.restart,
    "health": None,
    "lifetime": DEFAULT_SERVICE.lifetime,
    "env": {},
    "python": "",
    "fresh": False,
}
"""In the order in which they are written, after id and file; further keys come behind."""
_SPELLINGS: Final = {"script": "file", "dependencies": "depends_on"}
_READ: Final = frozenset({"id", "file", "type", "args", "depends_on", "requirement", "env", "affinity", "fresh"})
"""Keys that may be written in several ways, of which the page knows one; the others are kept as they were written."""
_UNITS: Final = (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10))


def sketch(text: str) -> dict[str, Any] | None:
    """What can be read of a pipeline, whether it has problems or not; None when it is no YAML.

    ``defaults`` has the parameters with the text each stands for by default; None: it must be given.
    """
    try:
        root = read_yaml(text.encode("utf-8", "surrogatepass"))
    except PipelineError:
        return None
    found: dict[str, Any] = {"name": "", "project": False, "defaults": {}, "jobs": []}
    for key, node in root.pairs if isinstance(root, Map) else ():
        if key.text == "jobs":
            found["jobs"][:0] = _jobs(node)
        elif key.text in HANDLERS:
            found["jobs"] += [{**job, "handler": job["handler"] or key.text} for job in _jobs(node)]
        elif key.text in PIPELINE_KEYS:
            try:
                value = PIPELINE_KEYS[key.text].read(node)
            except Bad:
                continue
            if key.text == "params":
                found["defaults"] = {name: each.default for name, each in value.items()}
            found[key.text] = _plain(node)
    found["name"] = str(found["name"])
    return found


def of_specs(name: str, specs: Iterable[JobSpec], params: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A run's specs, and its parameters, in the shape of ``sketch``."""
    jobs = list(specs)
    return {
        "name": name,
        "project": any(spec.archive for spec in jobs),
        "params": dict(params or {}),
        "jobs": [_of_spec(spec) for spec in jobs],
    }


def render(described: Mapping[str, Any]) -> str:
    """YAML of what ``sketch`` gives; what is as by default is left out."""
    pipeline: dict[str, Any] = {"name": str(described.get("name") or "pipeline")}
    for key in PIPELINE_KEYS:
        if key not in ("name", "jobs") and described.get(key):
            pipeline[key] = described[key]
    pipeline["jobs"] = [_rendered(job) for job in described.get("jobs", ())]
    return yaml.dump(pipeline, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


class _Dumper(yaml.SafeDumper):
    """Lists of jobs are indented below their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


# --- parts --------------------------------------------------------------------------------------------------------


def _jobs(node: Node) -> list[dict[str, Any]]:
    return [_job(each) for each in node.items] if isinstance(node, List) else []


def _job(node: Node) -> dict[str, Any]:
    """The keys of a job that can be read; the others are among the problems."""
    job: dict[str, Any] = {"id": "", "file": "", **_copied(DEFAULTS)}
    for key, value in node.pairs if isinstance(node, Map) else ():
        known = JOB_KEYS.get(key.text)
        if known is None:
            continue
        try:
            read = known.read(value)
        except Bad:
            continue
        name = _SPELLINGS.get(key.text, key.text)
        job[name] = read if name in _READ else _plain(value)
        if name == "depends_on":
            job[name] = [parent for parent, _ in read]
    job["line"] = node.line
    return job


def _of_spec(spec: JobSpec) -> dict[str, Any]:
    keep, flow = spec.upkeep, spec.flow or DEFAULT_FLOW
    return {
        "id": spec.id,
        "file": spec.file,
        "type": spec.kind,
        "args": list(spec.args),
        "depends_on": list(spec.parents),
        "trigger": flow.trigger,
        "when": flow.when,
        "each": flow.each,
        "handler": flow.handler,
        "requirement": list(spec.requirement),
        "priority": spec.priority,
        "delay": _whole(spec.delay_ms / 1000),
        "affinity": spec.affinity,
        "approve": _approve(flow.approve),
        "on_failure": _on_failure(flow.repair),
        "retries": spec.retries,
        "timeout": spec.timeout_s if spec.timeout_s is None else _whole(spec.timeout_s),
        "cpus": _whole(spec.cpus),
        "memory": _size(spec.memory),
        "gpus": spec.gpus,
        "port": AUTO if keep.auto_port else spec.port,
        "restart": keep.restart,
        "health": _health(spec),
        "lifetime": keep.lifetime,
        "env": dict(spec.env),
        "python": spec.python,
        "fresh": spec.fresh,
    }


def _health(spec: JobSpec) -> str | dict[str, Any] | None:
    keep = spec.upkeep
    values = {
        "path": (keep.health_path, DEFAULT_SERVICE.health_path),
        "log": (keep.ready_line, DEFAULT_SERVICE.ready_line),
        "start": (_whole(keep.start_s), DEFAULT_SERVICE.start_s),
        "interval": (_whole(keep.interval_s), DEFAULT_SERVICE.interval_s),
        "failures": (keep.failures, DEFAULT_SERVICE.failures),
    }
    said = {key: value for key, (value, default) in values.items() if value != default}
    return said["path"] if list(said) == ["path"] else said or None


def _on_failure(repair: RepairSpec | None) -> dict[str, Any] | None:
    if repair is None:
        return None
    values = {
        "repair": repair.file,
        "max": None if repair.max == 1 else repair.max,
        "args": list(repair.args),
        "timeout": _whole(repair.timeout_s),
        "approve": _approve(repair.approve),
    }
    return {key: value for key, value in values.items() if value not in (None, [])}


def _approve(asked: ApproveSpec | None) -> str | dict[str, Any] | None:
    if asked is None:
        return None
    if asked.timeout_s is None:
        return asked.message
    return {"message": asked.message, "timeout": _whole(asked.timeout_s), "on_timeout": asked.on_timeout}


def _rendered(job: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"id": str(job.get("id", "")), "file": str(job.get("file", ""))}
    if job.get("type") == "worker":
        del found["file"]
    for key in (*DEFAULTS, *(key for key in JOB_KEYS if key not in DEFAULTS)):
        if key in ("id", "file") or key in _SPELLINGS:
            continue
        default = DEFAULTS.get(key)
        value = job.get(key, default)
        if value in (default, "", None) or (isinstance(value, (list, dict)) and not value):
            continue
        value = _whole(value)
        found[key] = ",".join(map(str, value)) if key == "requirement" and isinstance(value, list) else value
    return found


def _plain(node: Node) -> Any:
    """What was written, as YAML takes it."""
    if isinstance(node, List):
        return [_plain(each) for each in node.items]
    if isinstance(node, Map):
        return {key.text: _plain(value) for key, value in node.pairs}
    assert isinstance(node, Text)
    if node.kind in ("int", "float", "bool"):
        return _whole(yaml.safe_load(node.text))
    return None if node.kind == "null" else node.text


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.copy() if isinstance(value, (list, dict)) else value for key, value in values.items()}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _size(count: int) -> str:
    """Bytes as a pipeline writes them, exactly; empty: none are set apart."""
    for unit, factor in _UNITS:
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count or "")
