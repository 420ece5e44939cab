"""SUBMIT_JOB, SUBMIT_DAG, RUN, DEPLOY."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace

from titan_core.protocol.handlers.table import ClassicPeer, HandlerTable, wait_for
from titan_core.protocol.services.files import FileService
from titan_core.protocol.services.submissions import SubmissionService
from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as classic
from titan_sdk import messages
from titan_sdk.classic_jobs import ClassicJob, RunArchive, StartArchiveService
from titan_sdk.errors import InvalidName, NotFound, PipelineError, Problem
from titan_sdk.messages import JobSpec


class SubmissionHandlers:
    """Work in both dialects. What classic brings inside its lines is put where structured has uploaded it before."""

    def __init__(self, service: SubmissionService, files: FileService) -> None:
        self._service = service
        self._files = files

    def install(self, table: HandlerTable) -> None:
        table.answer_later(messages.SubmitRun, self._service.submit)
        table.answer_later(messages.RunFile, self._service.run_file)
        table.answer_later(messages.Deploy, self._service.deploy)
        table.classic(classic.SubmitJob, self._submit_job)
        table.classic(classic.SubmitDag, self._submit_dag)
        table.classic(classic.RunFile, self._run)
        table.classic(classic.Deploy, self._deploy)

    def _submit_job(self, request: classic.SubmitJob, peer: ClassicPeer) -> str:
        job = request.job if request.job.id else replace(request.job, id=f"TSK-{uuid.uuid4()}")
        self._submit(job.id, [job])
        return replies.JOB_ACCEPTED

    def _submit_dag(self, request: classic.SubmitDag, peer: ClassicPeer) -> str:
        self._submit("dag", request.jobs)
        return replies.DAG_ACCEPTED

    def _submit(self, name: str, jobs: Iterable[ClassicJob]) -> None:
        wait_for(self._service.submit, messages.SubmitRun(name=name, jobs=self._specs(jobs)))

    def _specs(self, jobs: Iterable[ClassicJob]) -> list[JobSpec]:
        """The jobs with their contents in the content store.

        Raises:
            PipelineError: archives that are not in perm_files.
        """
        specs = []
        problems = []
        kept: set[str] = set()
        for number, job in enumerate(jobs, 1):
            body = job.body
            if isinstance(body, (RunArchive, StartArchiveService)):
                try:
                    stored = self._files.content_of(body.archive)
                except (InvalidName, NotFound) as error:
                    problems.append(Problem(job.id, str(error), number))
                    continue
                specs.append(job.to_spec(stored.sha256, stored.size))
                continue
            spec = job.to_spec()
            if spec.sha256 and spec.sha256 not in kept:
                self._files.keep(body.content)
                kept.add(spec.sha256)
            specs.append(spec)
        if problems:
            raise PipelineError(problems)
        return specs

    def _run(self, request: classic.RunFile, peer: ClassicPeer) -> str:
        asked = messages.RunFile(file=request.file, requirement=request.requirement)
        accepted = wait_for(self._service.run_file, asked)
        return replies.format_queued(accepted.jobs[0].partition("/")[2], request.requirement)

    def _deploy(self, request: classic.Deploy, peer: ClassicPeer) -> str:
        asked = messages.Deploy(file=request.file, port=request.port, requirement=request.requirement)
        wait_for(self._service.deploy, asked)
        return replies.DEPLOY_QUEUED
