"""Artifacts: files of any kind that a job leaves by name, kept by the master by their digest."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from titan_sdk.errors import BadMessage, NotFound
from titan_sdk.job_context import output
from titan_sdk.job_outputs import ARTIFACTS, decode
from titan_sdk.messages import FetchContent, GetJob, JobInfo, M, Request, RunInfo, WatchRun
from titan_sdk.names import check_file_name, instance_id
from titan_sdk.steady import patiently
from titan_sdk.uploads import Content, content_of_path

_BLOCK: Final = 1 << 20


class Caller(Protocol):
    def call(self, request: Request[M], timeout: float | None = None) -> M: ...


@dataclass(frozen=True)
class Artifact:
    """``job``: the key of the job that left it. ``size``: bytes. ``sha256``: of its content."""

    name: str
    job: str
    sha256: str
    size: int


def publish(name: str, data: str | os.PathLike[str] | bytes) -> None:
    """In a job: keep a file (a path) or bytes under a name, for other jobs and for ``client.artifacts``.

    The content travels at once, in pieces, and only when the master lacks it; it counts as the job's once this attempt
    has completed. Published again, a name has its last content. A master that is away is waited for, steady.AWAY_S
    seconds at most.

    Raises:
        RuntimeError: this is no job. InvalidName: the name cannot be a file's. OSError: the file cannot be read.
        TitanError: the master does not take it.
    """
    from titan_sdk.client import TitanClient  # it takes time to load, and few scripts need it

    check_file_name(name)
    if not os.environ.get("TITAN_OUTPUT"):
        raise RuntimeError("TITAN_OUTPUT is not set: artifacts are published by scripts that run as jobs of Titan")
    content = _content_of_bytes(data) if isinstance(data, bytes) else content_of_path(Path(data), "")
    with TitanClient() as client:
        patiently(lambda: client.stage_content(content))
    output(**{ARTIFACTS: {name: {"sha256": content.sha256, "size": content.size}}})


def fetch(name: str, job: str | None = None, to: str | os.PathLike[str] | None = None) -> Path:
    """An artifact as a file here; see TitanClient.fetch_artifact. In a job, by default that of the nearest ancestor.

    Raises:
        NotFound: nobody has published it. OSError: it cannot be written. TitanError: the master does not give it.
    """
    from titan_sdk.client import TitanClient

    if not os.environ.get("TITAN_JOB_DIR"):
        with TitanClient() as client:
            return client.fetch_artifact(name, job=job, to=to)
    if to is None:
        folder = Path(os.environ["TITAN_JOB_DIR"]) / "artifacts"
        folder.mkdir(exist_ok=True)
        to = folder / check_file_name(name)
    with TitanClient() as client:
        return patiently(lambda: client.fetch_artifact(name, job=job, to=to))


def artifacts_of(info: JobInfo) -> list[Artifact]:
    """What a job left, by name, or what the instances of an ``each`` job did; of a JobInfo that came alone."""
    left = decode(info.outputs.encode()).get(ARTIFACTS) if info.outputs else None
    if not isinstance(left, list):
        return _artifacts(info.key, left)
    keys = (f"{info.run_id}/{instance_id(info.id, index)}" for index in range(len(left)))
    return [artifact for key, each in zip(keys, left, strict=True) for artifact in _artifacts(key, each)]


def _artifacts(key: str, left: object) -> list[Artifact]:
    """A script may write anything into that output: what is no artifact is left out."""
    return [
        Artifact(name, key, str(each["sha256"]), int(each["size"]))
        for name, each in (sorted(left.items()) if isinstance(left, dict) else ())
        if isinstance(each, dict) and isinstance(each.get("sha256"), str) and isinstance(each.get("size"), int)
    ]


def list_artifacts(caller: Caller, name: str) -> list[Artifact]:
    """What the job of that key, or all jobs of the run of that id, left. Raises NotFound."""
    if "/" in name:
        return artifacts_of(caller.call(GetJob(id=name)))
    found: list[Artifact] = []
    for key in _keys(caller, name):  # an instance is a job of the run itself
        found += [each for each in artifacts_of(caller.call(GetJob(id=key))) if each.job == key]
    return found


def find(caller: Caller, name: str, job: str) -> Artifact:
    """The artifact of that name: of the job, of the nearest that it depends on, or of the one that submitted those.

    Raises:
        NotFound: none of them has it.
    """
    waiting, seen = deque([job]), {job}
    while waiting:
        info = caller.call(GetJob(id=waiting.popleft()))
        for each in artifacts_of(info):
            if each.name == name:
                return each
        for parent in _parents(caller, info):
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    raise NotFound(f"neither {job} nor a job before it has published {name}")


def download(caller: Caller, artifact: Artifact, path: Path) -> None:
    """Write the content to ``path``, whole or not at all; one that broke off goes on where it was.

    Of several who do so at once, in however many processes, one writes and the others wait for it.

    Raises:
        NotFound: the master has it no more. BadMessage: what came is not what was published. OSError: see ``open``.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder; the path of a file is wanted", str(path))
    part = part_of(artifact, path)
    while True:
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file.fileno(), path):
                return  # the other has finished it
            if not _is_at(file.fileno(), part):
                continue  # or given it up
            file.seek(0, os.SEEK_END)
            while (offset := file.tell()) < artifact.size:
                chunk = caller.call(FetchContent(sha256=artifact.sha256, offset=offset))
                if not chunk.data:
                    break
                file.write(chunk.data)
            file.flush()
            if _digest(part) != artifact.sha256:
                part.unlink()
                raise BadMessage(f"{artifact.name} of {artifact.job} came damaged; nothing of it was kept")
            part.replace(path)
            return


def part_of(artifact: Artifact, path: Path) -> Path:
    """Where a download to ``path`` grows; with a short name, as that of ``path`` may be as long as can be."""
    mark = hashlib.sha256(f"{path.name}/{artifact.sha256}".encode("utf-8", "surrogatepass")).hexdigest()
    return path.with_name(f".{mark[:32]}.part")


def own_job() -> str:
    """The key of the job that this is. Raises RuntimeError when it is none."""
    run, job = os.environ.get("TITAN_RUN_ID"), os.environ.get("TITAN_JOB_ID")
    if not run or not job:
        raise RuntimeError("this is no job of Titan: say whose artifact is wanted, as job=")
    return f"{run}/{job}"


def _keys(caller: Caller, run_id: str) -> Iterator[str]:
    first = 0
    while True:
        info: RunInfo = caller.call(WatchRun(id=run_id, first=first))
        yield from (job.key for job in info.jobs)
        first += len(info.jobs)
        if not info.jobs or first >= info.total:
            return


def _parents(caller: Caller, info: JobInfo) -> list[str]:
    run: RunInfo = caller.call(WatchRun(id=info.run_id, first=1 << 30))
    kept: dict[str, str] = run.options.kept if run.options is not None else {}
    parents = [kept.get(parent, f"{info.run_id}/{parent}") for parent in info.parents]
    return parents or ([run.parent] if "/" in run.parent else [])


def _content_of_bytes(data: bytes) -> Content:
    return Content("", hashlib.sha256(data).hexdigest(), len(data), lambda offset, limit: data[offset : offset + limit])


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one at that path."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
