"""Submissions: what becomes a run, whoever sends it and however."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from msgspec.structs import replace

from titan_core.filesys.content_store import ContentStore
from titan_core.filesys.zip_utils import BadArchive, entry_names
from titan_core.protocol.services import Done
from titan_core.protocol.services.files import FileService
from titan_core.scheduling.core.events import RunSubmitted
from titan_core.scheduling.scheduler import Scheduler
from titan_sdk.classic_jobs import WORKER_FILES
from titan_sdk.dag import validate_dag
from titan_sdk.errors import InvalidName, NotFound, Problem, SubmissionRefused
from titan_sdk.messages import (
    DEFAULT_OPTIONS,
    Accepted,
    AddJobs,
    Deploy,
    JobSpec,
    RunFile,
    RunOptions,
    ScheduleSpec,
    SubmitRun,
)
from titan_sdk.run_rules import option_problems

_MAX_KEY_BYTES: Final = 256
_MAX_NAME_BYTES: Final = 256
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9_.-]")


class SubmissionService:
    """Checks what the core cannot see (contents and archives), and hands the run to it."""

    def __init__(self, scheduler: Scheduler, contents: ContentStore, files: FileService) -> None:
        self._scheduler = scheduler
        self._contents = contents
        self._files = files

    def submit(self, request: SubmitRun, done: Done[Accepted]) -> None:
        """Accepted whole, durably, or refused whole with every problem."""
        problems = _check_request(request)
        jobs, missing = self._with_contents(request.jobs)
        problems += missing
        if problems:  # then those that the core would find belong to the answer too
            params = (request.options or DEFAULT_OPTIONS).params
            problems += validate_dag(request.jobs, params=params) if request.jobs else []
            raise SubmissionRefused("refused: " + "; ".join(map(str, problems[:3])), problems)
        self._post(jobs, request.name, done, request.idempotency_key, request.parent, request.replace, request.options)

    def checked_schedule(self, spec: ScheduleSpec) -> ScheduleSpec:
        """The schedule with the sizes that the contents of its jobs really have.

        Raises:
            SubmissionRefused: with every problem of them. What else may be wrong is for the core to see.
        """
        jobs, problems = self._with_contents(spec.jobs)
        problems += [Problem("", text) for text in option_problems(spec.options or DEFAULT_OPTIONS)]
        if problems:
            problems += validate_dag(spec.jobs)
            raise SubmissionRefused("refused: " + "; ".join(map(str, problems[:3])), problems)
        return replace(spec, jobs=tuple(jobs), options=None if spec.options == DEFAULT_OPTIONS else spec.options)

    def checked_for(self, request: AddJobs) -> list[JobSpec]:
        """The jobs to add, with the sizes of their contents.

        Raises:
            SubmissionRefused: contents are missing, or the idempotency key is too long.
        """
        jobs, problems = self._with_contents(request.jobs)
        problems += _check_key(request.idempotency_key)
        if problems:
            raise SubmissionRefused("refused: " + "; ".join(map(str, problems[:3])), problems)
        return jobs

    def run_file(self, request: RunFile, done: Done[Accepted]) -> None:
        """Run a file of perm_files; the id is made up when none is given."""
        stored = self._files.content_of(request.file)
        spec = JobSpec(
            id=request.job_id or f"TSK-{uuid.uuid4()}",
            file=request.file,
            sha256=stored.sha256,
            size=stored.size,
            args=request.args,
            requirement=request.requirement,
            priority=request.priority,
        )
        self._post([spec], request.file, done)

    def deploy(self, request: Deploy, done: Done[Accepted]) -> None:
        """Start a file of perm_files as a service, or another worker when it is one of WORKER_FILES."""
        job_id = (
            request.name or f"SVC-{_NOT_IN_ID.sub('_', PurePosixPath(request.file).stem[:40])}-{secrets.token_hex(4)}"
        )
        if request.file in WORKER_FILES:
            # Its requirement names what the new worker offers.
            spec = JobSpec(
                id=job_id,
                file=request.file,
                kind="worker",
                args=request.args,
                requirement=request.requirement,
                port=request.port,
            )
        else:
            stored = self._files.content_of(request.file)
            spec = JobSpec(
                id=job_id,
                file=request.file,
                sha256=stored.sha256,
                size=stored.size,
                kind="service",
                args=request.args,
                requirement=request.requirement,
                port=request.port,
                service=request.service,
            )
        self._post([spec], request.file, done, replace=bool(request.name))

    def _post(
        self,
        jobs: Sequence[JobSpec],
        name: str,
        done: Done[Accepted],
        idempotency_key: str = "",
        parent: str = "",
        replace: bool = False,
        options: RunOptions | None = None,
    ) -> None:
        if options == DEFAULT_OPTIONS:
            options = None
        event = RunSubmitted(new_run_id(), name, tuple(jobs), idempotency_key, parent, replace, options)
        self._scheduler.post(event, done)

    def _with_contents(self, jobs: Sequence[JobSpec]) -> tuple[list[JobSpec], list[Problem]]:
        """The jobs with the sizes that their contents really have, and what is missing."""
        checked = []
        problems = []
        entries: dict[str, frozenset[str]] = {}
        for spec in jobs:
            if spec.kind == "worker" and not spec.sha256:
                checked.append(spec)
                continue
            try:
                size = self._contents.size(spec.sha256)
                if spec.archive:
                    if spec.sha256 not in entries:
                        entries[spec.sha256] = entry_names(self._contents.path(spec.sha256))
                    if spec.file not in entries[spec.sha256]:
                        raise NotFound(f"{spec.archive} holds no file {spec.file}")
                if spec.flow is not None and spec.flow.repair is not None:
                    self._contents.size(spec.flow.repair.sha256)
            except InvalidName as error:
                text = str(error) if spec.sha256 else f"no content of {spec.archive or spec.file} was given"
                problems.append(Problem(spec.id, text))
            except NotFound as error:
                problems.append(Problem(spec.id, error.message))
            except BadArchive as error:
                problems.append(Problem(spec.id, f"{spec.archive}: {error}"))
            else:
                checked.append(spec if spec.size == size else replace(spec, size=size))
        return checked, problems


def new_run_id() -> str:
    """Short enough to type, and never met before in all likelihood: 60 bits."""
    return f"run-{secrets.token_hex(8)[:15]}"


def _check_request(request: SubmitRun) -> list[Problem]:
    problems = []
    if len(request.name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES or not request.name.isprintable():
        problems.append(Problem("", f"a run's name has at most {_MAX_NAME_BYTES} bytes, all of them printable"))
    problems += _check_key(request.idempotency_key)
    problems += [Problem("", text) for text in option_problems(request.options or DEFAULT_OPTIONS)]
    return problems


def _check_key(key: str) -> list[Problem]:
    if len(key.encode("utf-8", "surrogatepass")) <= _MAX_KEY_BYTES:
        return []
    return [Problem("", f"an idempotency key has at most {_MAX_KEY_BYTES} bytes")]
