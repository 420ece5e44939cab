"""Pipelines from a browser: checked as they are typed, deployed with the files that came along."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dashboard.gateway import Gateway
from titan_sdk.errors import InvalidName, PipelineError, Problem
from titan_sdk.handles import RunHandle
from titan_sdk.messages import ListFiles, ScheduleSaved
from titan_sdk.names import check_relative_path
from titan_sdk.titan_yaml_parser import Pipeline, parse_pipeline

FILE_NAME: Final = "pipeline.yaml"
PLACE: Final = "perm_files or among the files added here"
"""What people read instead of the folder that is made for a check."""
MAX_STAND_INS: Final = 20_000
MAX_FILES: Final = 20_000

_QUOTED: Final = re.compile(r"\"([^\"\n]+)\"|'([^'\n]+)'")
_WORD: Final = re.compile(r"[^\s\"'#,\[\]{}]+")
_FILE_LINE: Final = re.compile(r"^\s*-?\s*(?:file|script)\s*:\s*([^\n#]+?)\s*$", re.MULTILINE)


def known_files(gateway: Gateway) -> set[str]:
    """Names that a job may run without bringing the file along."""
    names: set[str] = set()
    for staged in (False, True):
        names.update(each.name for each in gateway.call(ListFiles(staged=staged)).files)
    return names


def check(
    text: str, brought: Collection[str], on_master: Collection[str], params: Mapping[str, str] | None = None
) -> Pipeline:
    """The pipeline in a text, whose jobs may use files that are brought along and those of the master.

    ``params``: values of its parameters; None: they are given later.

    Raises:
        PipelineError: everything that is wrong, with lines.
    """
    with _folder() as folder:
        if len(brought) > MAX_FILES:
            raise InvalidName(f"{len(brought)} files are too many; {MAX_FILES} are taken at once")
        for path in brought:
            _put(folder, path, b"")
        for path in _stand_ins(text, on_master):
            try:
                _put(folder, path, b"")
            except InvalidName:
                continue  # a file of that path cannot be meant
        return _parse(text, folder, params)


def deploy(
    gateway: Gateway,
    text: str,
    files: Mapping[str, bytes],
    on_master: Collection[str],
    params: Mapping[str, str],
) -> RunHandle | ScheduleSaved:
    """Submit a pipeline with the files that came along, or register it when it has a schedule.

    Raises:
        PipelineError, RemoteError, TransportError.
    """
    pipeline = check(text, files.keys(), on_master, params)
    with _folder() as folder:
        for path, data in files.items():
            _put(folder, path, data)
        jobs = list(pipeline.jobs)
        for job in jobs:
            job.base_dir = folder
            job.archive = folder if job.archive is not None else None
        try:
            values, options = pipeline.params or None, pipeline.options
            if pipeline.schedule is not None:
                when = pipeline.schedule
                return gateway.client().put_schedule(pipeline.name, jobs, when, params=values, options=options)
            return gateway.client().submit_dag(pipeline.name, jobs, params=values, options=options)
        except PipelineError as error:
            raise PipelineError(_plainly(error.problems, folder)) from None


# --- parts --------------------------------------------------------------------------------------------------------


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="titan-dashboard-") as name:
        yield Path(name).resolve()


def _put(folder: Path, path: str, data: bytes) -> None:
    """Raises InvalidName: it is no path, or there is a file where a folder should be."""
    place = folder / check_relative_path(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    except OSError as error:
        raise InvalidName(f"{path} cannot be among these files: {error.strerror or error}") from None


def _parse(text: str, folder: Path, params: Mapping[str, str] | None) -> Pipeline:
    try:
        return parse_pipeline(text.encode("utf-8", "surrogatepass"), folder / FILE_NAME, params)
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
