"""Where the content of a job comes from: a file here, a folder that is zipped, a zip, or a file the master has."""

from __future__ import annotations

import difflib
import os
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from titan_sdk.archive import project_files
from titan_sdk.errors import InvalidName, PipelineError
from titan_sdk.job import TitanJob
from titan_sdk.names import check_file_name, check_relative_path

ENTRIES: Final = ("__main__.py", "main.py")
"""What runs when an archive is named without a file in it."""


@dataclass(frozen=True)
class Source:
    """What a job's content is made of.

    Attributes:
        name: the plain name that the content has, or gets, on the master.
        path: the file, or the folder to zip, on this machine; None when the master has it under ``name``.
        entry: what to run inside when the content is an archive; empty for a single file.
    """

    name: str
    path: Path | None
    entry: str = ""

    @property
    def is_folder(self) -> bool:
        return self.path is not None and self.path.is_dir()


def source_of(job: TitanJob) -> Source | None:
    """Where the job's content is; None for a job that has none (another worker).

    Raises:
        InvalidName: there is no such file, folder or entry; the text says what was looked for.
        PipelineError: the folder cannot travel.
        OSError: it cannot be read.
    """
    if job.kind == "worker":
        return None
    if job.is_archive:
        return _archive_source(job)
    path = job.path()
    if path.is_dir():
        raise InvalidName(f"{path} is a folder; to run a file in it, say is_archive=True and name that file as well")
    return Source(job.plain_name(), path if path.exists() else None)


def _archive_source(job: TitanJob) -> Source:
    place, entry = (job.path(job.archive), job.filename) if job.archive is not None else _split(job)
    if place.is_dir():
        return Source(archive_name(place), place, _checked_entry(place, entry, project_files(place)))
    if place.exists():
        return Source(check_file_name(place.name), place, _checked_entry(place, entry, zip_entries(place)))
    if place.suffix.lower() != ".zip":
        raise InvalidName(f"there is no zip or folder {place}")
    if not entry:
        raise InvalidName(f"{job.filename}: say which file of it is to run, as in {job.filename}/path/entry.py")
    return Source(check_file_name(place.name), None, check_relative_path(entry))


def _split(job: TitanJob) -> tuple[Path, str]:
    """The zip or folder in ``folder/project.zip/path/entry.py``, and what follows it."""
    parts = PurePosixPath(job.filename).parts
    for number, part in enumerate(parts, 1):
        if part.lower().endswith(".zip"):
            return job.path(os.path.join(*parts[:number])), "/".join(parts[number:])
    if job.path().is_dir():
        return job.path(), ""
    if len(parts) < 2 or parts[0] in ("/", ".."):
        raise InvalidName(
            f"{job.filename} names no archive; project.zip/path/entry.py or folder/path/entry.py is wanted, "
            "or the zip or folder as archive="
        )
    return job.path(parts[0]), "/".join(parts[1:])


def _checked_entry(place: Path, entry: str, names: Collection[str]) -> str:
    if not entry:
        for usual in ENTRIES:
            if usual in names:
                return usual
        raise InvalidName(f"{place} has no {' and no '.join(ENTRIES)}; say which file of it is to run")
    entry = os.path.normpath(entry)
    check_relative_path(entry)
    if entry not in names:
        raise InvalidName(f"there is no file {entry} in {place}{suggestion(entry, names)}")
    return entry


def zip_entries(path: Path) -> list[str]:
    """Names of the files in a zip. Raises InvalidName when it is none."""
    try:
        with zipfile.ZipFile(path) as zipped:
            return zipped.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise InvalidName(f"{path} cannot be read as a zip: {error}") from None


def archive_name(folder: Path) -> str:
    """What the zip of a folder is called on the master."""
    name = folder.resolve().name or "project"
    try:
        check_file_name(name)
    except InvalidName:
        name = "".join(char if char.isalnum() or char in "-_. " else "_" for char in name) or "project"
    return name if name.lower().endswith(".zip") else f"{name}.zip"


def suggestion(wanted: str, names: Collection[str]) -> str:
    """``; did you mean 'x'?`` when one of the names is close to the wanted one, else nothing."""
    base = wanted.rpartition("/")[2]
    same = [name for name in names if name.rpartition("/")[2] == base and base]
    close = same[:3] or difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def explain(error: Exception) -> str:
    """What is wrong with a source, in one line for a problem."""
    if isinstance(error, PipelineError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
