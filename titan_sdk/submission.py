"""From jobs as their author describes them to specs that the master takes, with the contents that go before them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final

from msgspec.structs import replace

from titan_sdk.archive import zip_folder
from titan_sdk.dag import validate_dag
from titan_sdk.errors import InvalidName, NotFound, PipelineError, Problem
from titan_sdk.job import TitanJob
from titan_sdk.messages import FetchContent, JobSpec
from titan_sdk.sources import Source, explain, source_of
from titan_sdk.uploads import Caller, Content, content_of_file, content_of_path

_BEYOND_THE_END: Final = 1 << 40
"""Asked for from there, a content comes with its digest and size and without its bytes."""


class Submission:
    """The jobs of one run, read when ``prepare`` is called: every file and folder once, however many jobs use it.

    A context manager: zips of folders are gone at its end, so ``contents`` are to be uploaded before.

    Attributes:
        jobs: as they were given. specs: the jobs for the master. contents: what it must have before it gets them.
    """

    def __init__(self, jobs: Sequence[TitanJob], caller: Caller) -> None:
        self.specs: list[JobSpec] = []
        self.contents: list[Content] = []
        self.jobs = list(jobs)
        self._caller = caller
        self._read: dict[tuple[Path, str], Content] = {}
        self._asked: dict[str, tuple[str, int]] = {}
        self._open = ExitStack()

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._open.close()

    def prepare(self, name: str = "", *, known: Collection[str] = (), empty: bool = False) -> None:
        """Fill ``specs`` and ``contents``. ``known``: parents that are elsewhere; ``empty``: there may be no jobs.

        Raises:
            PipelineError: everything that is wrong with the jobs; ``name`` is its source.
            TransportError, RemoteError: the master cannot be asked for the files that it should have.
        """
        problems: list[Problem] = []
        for job in self.jobs:
            try:
                self.specs.append(self._spec(job))
            except (InvalidName, PipelineError, OSError) as error:
                problems.append(Problem(job.job_id, explain(error), job.line))
                self.specs.append(job.spec(job.plain_name()))
        if self.specs or not empty:
            problems += validate_dag(self.specs, lines=[job.line for job in self.jobs], known=known)
        if problems:
            raise PipelineError(list(dict.fromkeys(problems)), name)
        self.contents = list(self._read.values())

    def _spec(self, job: TitanJob) -> JobSpec:
        spec = self._spec_of_source(job)
        if spec.flow is None or spec.flow.repair is None:
            return spec
        name, path = spec.flow.repair.file, job.path(job.repair_file)
        if path.exists():
            content = self._content(Source(name, path), path)
            sha256, size = content.sha256, content.size
        else:
            sha256, size = self._on_the_master(name, path)
        return replace(spec, flow=replace(spec.flow, repair=replace(spec.flow.repair, sha256=sha256, size=size)))

    def _spec_of_source(self, job: TitanJob) -> JobSpec:
        source = source_of(job)
        if source is None:
            return job.spec(job.plain_name())
        if source.path is None:
            place = job.path(job.archive) if job.archive is not None else job.path()
            sha256, size = self._on_the_master(source.name, place)
        else:
            content = self._content(source, source.path)
            sha256, size = content.sha256, content.size
        if source.entry:
            return job.spec(source.entry, archive=source.name, sha256=sha256, size=size)
        return job.spec(source.name, sha256=sha256, size=size)

    def _content(self, source: Source, path: Path) -> Content:
        place = path.absolute(), source.name
        if place not in self._read:
            if source.is_folder:
                self._read[place] = content_of_file(self._open.enter_context(zip_folder(path)), source.name)
            else:
                self._read[place] = content_of_path(path, source.name)
        return self._read[place]

    def _on_the_master(self, name: str, place: Path) -> tuple[str, int]:
        if name not in self._asked:
            try:
                found = self._caller.call(FetchContent(name=name, offset=_BEYOND_THE_END))
            except NotFound:
                raise InvalidName(f"there is no file {place}, and the master has no {name} in perm_files") from None
            self._asked[name] = found.sha256, found.size
        return self._asked[name]
