"""Pipelines from a browser: checked as they are typed, deployed with the files that came along, and written as YAML."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from dashboard.gateway import Gateway
from titan_sdk.errors import InvalidName, PipelineError, Problem
from titan_sdk.handles import RunHandle
from titan_sdk.job import TitanJob
from titan_sdk.messages import DEFAULT_PRIORITY, DEFAULT_RETRIES, GENERAL, JobSpec, ListFiles
from titan_sdk.names import check_relative_path
from titan_sdk.pipeline_keys import JOB_KEYS, PIPELINE_KEYS, Bad, Key
from titan_sdk.titan_yaml_parser import Pipeline, parse_pipeline
from titan_sdk.yaml_lines import List, Map, Node, read_yaml

FILE_NAME: Final = "pipeline.yaml"
PLACE: Final = "perm_files or among the files added here"
"""What people read instead of the folder that is made for a check."""
MAX_STAND_INS: Final = 20_000

_QUOTED: Final = re.compile(r"\"([^\"\n]+)\"|'([^'\n]+)'")
_WORD: Final = re.compile(r"[^\s\"'#,\[\]{}]+")
_FILE_LINE: Final = re.compile(r"^\s*-?\s*(?:file|script)\s*:\s*([^\n#]+?)\s*$", re.MULTILINE)


def known_files(gateway: Gateway) -> set[str]:
    """Names that a job may run without bringing the file along."""
    names: set[str] = set()
    for staged in (False, True):
        names.update(each.name for each in gateway.call(ListFiles(staged=staged)).files)
    return names


def check(text: str, brought: Collection[str], on_master: Collection[str]) -> Pipeline:
    """The pipeline in a text, whose jobs may use files that are brought along and those of the master.

    Raises:
        PipelineError: everything that is wrong, with lines.
    """
    with _folder() as folder:
        for path in (*brought, *_stand_ins(text, on_master)):
            place = folder / check_relative_path(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        return _parse(text, folder)


def deploy(gateway: Gateway, text: str, files: Mapping[str, bytes], on_master: Collection[str]) -> RunHandle:
    """Submit a pipeline with the files that came along.

    Raises:
        PipelineError, RemoteError, TransportError.
    """
    pipeline = check(text, files.keys(), on_master)
    with _folder() as folder:
        for path, data in files.items():
            place = folder / check_relative_path(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        jobs = list(pipeline.jobs)
        for job in jobs:
            job.base_dir = folder
            job.archive = folder if job.archive is not None else None
        try:
            return gateway.client().submit_dag(pipeline.name, jobs)
        except PipelineError as error:
            raise PipelineError(_plainly(error.problems, folder)) from None


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """A checked pipeline, for the graph beside its text."""
    return {"name": pipeline.name, "project": pipeline.project, "jobs": [_job(job) for job in pipeline.jobs]}


def sketch(text: str) -> dict[str, Any] | None:
    """What can be read of a pipeline that has problems, in the shape of ``describe``; None when it is no YAML."""
    try:
        root = read_yaml(text.encode("utf-8", "surrogatepass"))
    except PipelineError:
        return None
    top = _readable(root, PIPELINE_KEYS)
    listed = top.get("jobs")
    jobs = []
    for node in listed.items if isinstance(listed, List) else ():
        values = _readable(node, JOB_KEYS)
        job = {key: values.get(_FIELDS.get(key, key), default) for key, default in _DEFAULTS.items()}
        job |= {"id": values.get("id", ""), "file": values.get("file", ""), "line": node.line}
        job["depends_on"] = [parent for parent, _ in values.get("parents", ())]
        jobs.append({key: list(value) if isinstance(value, tuple) else value for key, value in job.items()})
    return {"name": top.get("name", ""), "project": bool(top.get("project", False)), "jobs": jobs}


def _readable(node: Node | None, keys: Mapping[str, Key]) -> dict[str, Any]:
    """The values that can be read, by the names of TitanJob's arguments."""
    found: dict[str, Any] = {}
    for key, value in node.pairs if isinstance(node, Map) else ():
        known = keys.get(key.text)
        if known is not None:
            try:
                found[known.field] = known.read(value)
            except Bad:
                continue
    return found


def _job(job: TitanJob) -> dict[str, Any]:
    return {
        "id": job.job_id,
        "type": job.kind,
        "file": str(job.filename),
        "args": list(job.args),
        "depends_on": [str(parent) for parent in job.parents],
        "requirement": list(job.requirement),
        "priority": job.priority,
        "delay": job.delay,
        "affinity": job.affinity,
        "retries": job.retries,
        "timeout": job.timeout,
        "port": job.port,
        "env": dict(job.env),
        "python": job.python,
        "fresh": job.fresh,
        "line": job.line,
    }


def describe_specs(name: str, specs: Iterable[JobSpec]) -> dict[str, Any]:
    """A run's specs in the shape of ``describe``."""
    jobs = [
        {
            "id": each.id,
            "type": each.kind,
            "file": each.file,
            "args": list(each.args),
            "depends_on": list(each.parents),
            "requirement": list(each.requirement),
            "priority": each.priority,
            "delay": each.delay_ms / 1000,
            "affinity": each.affinity,
            "retries": each.retries,
            "timeout": each.timeout_s,
            "port": each.port,
            "env": dict(each.env),
            "python": each.python,
            "fresh": each.fresh,
            "archive": each.archive,
        }
        for each in specs
    ]
    return {"name": name, "project": any(job["archive"] for job in jobs), "jobs": jobs}


def render(described: Mapping[str, Any]) -> str:
    """YAML of what ``describe`` gives; what is as by default is left out."""
    pipeline: dict[str, Any] = {"name": str(described.get("name") or "pipeline")}
    if described.get("project"):
        pipeline["project"] = True
    pipeline["jobs"] = [_rendered(job) for job in described.get("jobs", ())]
    return yaml.dump(pipeline, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


class _Dumper(yaml.SafeDumper):
    """Lists of jobs are indented below their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_DEFAULTS: Final[dict[str, Any]] = {
    "type": "run",
    "args": [],
    "depends_on": [],
    "requirement": [GENERAL],
    "priority": DEFAULT_PRIORITY,
    "delay": 0,
    "affinity": False,
    "retries": DEFAULT_RETRIES,
    "timeout": None,
    "port": 0,
    "env": {},
    "python": "",
    "fresh": False,
}
"""In the order in which they are written, after id and file."""
_FIELDS: Final = {"type": "kind", "depends_on": "parents"}


def _rendered(job: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"id": str(job.get("id", "")), "file": str(job.get("file", ""))}
    if job.get("type") == "worker":
        del found["file"]
    for key, default in _DEFAULTS.items():
        value = job.get(key, default)
        if value in (default, "", None) or (isinstance(value, (list, dict)) and not value):
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        found[key] = ",".join(map(str, value)) if key == "requirement" and isinstance(value, list) else value
    return found


# --- parts --------------------------------------------------------------------------------------------------------


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="titan-dashboard-") as name:
        yield Path(name).resolve()


def _parse(text: str, folder: Path) -> Pipeline:
    try:
        return parse_pipeline(text.encode("utf-8", "surrogatepass"), folder / FILE_NAME)
    except PipelineError as error:
        raise PipelineError(_plainly(error.problems, folder)) from None


def _plainly(problems: Sequence[Problem], folder: Path) -> list[Problem]:
    """Without the name of the folder, which means nothing to anybody."""
    return [Problem(each.where, each.text.replace(str(folder), PLACE), each.line) for each in problems]


def _stand_ins(text: str, on_master: Collection[str]) -> set[str]:
    """Paths in the text that end in the name of a file of the master: a job that names one gets that file."""
    words = {match.group(0) for match in _WORD.finditer(text)}
    words |= {first or second for first, second in _QUOTED.findall(text)}
    words |= set(_FILE_LINE.findall(text))
    found: set[str] = set()
    for word in words:
        if word.rpartition("/")[2] in on_master and len(found) < MAX_STAND_INS:
            try:
                found.add(check_relative_path(word))
            except InvalidName:
                continue
    return found
