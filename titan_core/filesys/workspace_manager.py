"""titan_workspace: the shared data bus, and a folder for every job."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from titan_core.filesys.zip_utils import safe_extract
from titan_sdk.errors import InvalidName, NotFound
from titan_sdk.messages import JobSpec, Lease
from titan_sdk.names import check_file_name, check_job_id, check_relative_path

KEPT_LOGS: Final = 10
"""Logs of earlier attempts kept beside the current one on the worker; the master keeps them all."""


@dataclass(frozen=True)
class Sandbox:
    """Where one attempt runs. ``script`` is what is run (absolute), ``cwd`` its working directory."""

    job_dir: Path
    script: Path
    cwd: Path
    log: Path


class WorkspaceManager:
    """Makes sandboxes under ``jobs/`` and keeps ``shared/``. Any thread may call.

    A single file is copied to ``jobs/<job>/`` and runs in ``shared/``, where jobs find each other's files; a project is
    unpacked to ``jobs/<job>/project/`` and runs there. ``jobs/<job>/`` shows the latest attempt of that id; earlier
    logs are kept beside it with a number. While an attempt is under way, another of the same id gets its own folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.shared = self.root / "shared"
        self.jobs = self.root / "jobs"
        self._removed = self.root / "removed"
        self._lock = threading.Lock()
        self._in_use: set[Path] = set()

    def open(self) -> None:
        """Make the folders; the workspace is this user's alone, as scripts and logs may hold secrets."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.shared.mkdir(exist_ok=True)
        self.jobs.mkdir(exist_ok=True)

    def prepare(self, lease: Lease, spec: JobSpec, content: Path | bytes | None) -> Sandbox:
        """The sandbox for an attempt, with its script or project in place; give it back with release.

        ``content`` is the script itself, or where it or the archive lies; None for a job that brings nothing (kind
        ``worker``).

        Raises:
            InvalidName: an id or file name that breaks its rules.
            NotFound: the archive has no such entry.
            BadArchive: it cannot be unpacked.
            OSError: the disk does not do its part.
        """
        job_id = check_job_id(spec.id)
        job_dir = self._take(job_id, lease)
        try:
            log = job_dir / f"{job_id}.log"
            if not os.path.isdir(self.shared):  # a job may have removed what others need
                self.open()
            self._renew(job_dir, log)
            if content is None:
                return Sandbox(job_dir, job_dir, job_dir, log)
            if spec.archive:
                assert isinstance(content, Path)
                project = job_dir / "project"
                script = project / check_relative_path(spec.file)
                safe_extract(content, project)
                if not script.is_file():
                    raise NotFound(f"{spec.archive} has no file {spec.file!r}{_similar(project, script.name)}")
                return Sandbox(job_dir, script, project, log)
            script = job_dir / check_file_name(spec.file)
            if script == log:
                raise InvalidName(f"{spec.file!r} is where the log of {job_id!r} goes; rename the file or the job")
            if isinstance(content, bytes):
                _write(str(script), content)
            else:
                shutil.copyfile(content, script)
            return Sandbox(job_dir, script, self.shared, log)
        except BaseException:
            self.release(job_dir)
            raise

    def release(self, job_dir: Path) -> None:
        """The attempt in this folder has ended; what it left stays there to be looked at."""
        with self._lock:
            self._in_use.discard(job_dir)

    # --- what may go: see workspace_retention ---------------------------------------------------------------------

    def in_use(self) -> list[Path]:
        """The folders of attempts under way, and of ended ones whose logs are still to be sent."""
        with self._lock:
            return list(self._in_use)

    def remove(self, job_dir: Path, changed_at: float) -> bool:
        """Remove the folder of a job, unless it is in use or has changed since ``changed_at``. Raises OSError."""
        self._removed.mkdir(exist_ok=True)
        doomed = self._removed / f"{os.getpid()}-{time.monotonic_ns()}"
        with self._lock:  # the folder goes at once, and its contents without others having to wait for that
            if job_dir in self._in_use or os.stat(job_dir).st_mtime != changed_at:
                return False
            os.rename(job_dir, doomed)
        remove_tree(doomed)
        return True

    def finish_removals(self) -> None:
        """Remove what a worker that died meanwhile has left of it."""
        with suppress(FileNotFoundError):
            for left in self._removed.iterdir():
                remove_tree(left)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _take(self, job_id: str, lease: Lease) -> Path:
        with self._lock:
            job_dir = self.jobs / job_id
            if job_dir in self._in_use:
                job_dir = self.jobs / f"{job_id}@{lease.attempt}-{lease.epoch}"
            self._in_use.add(job_dir)
        return job_dir

    def _renew(self, job_dir: Path, log: Path) -> None:
        """An empty folder but for the numbered logs of before."""
        try:
            os.mkdir(job_dir)
            return
        except FileExistsError:
            pass
        except FileNotFoundError:
            self.open()
            os.mkdir(job_dir)
            return
        older: list[int] = []
        for item in job_dir.iterdir():
            number = _log_number(item.name, log.stem)
            if number is not None:
                older.append(number)
            elif item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            elif item != log:
                item.unlink()
        if log.exists():
            older.sort()
            os.replace(log, job_dir / f"{log.stem}.{older[-1] + 1 if older else 1}.log")
            for number in older[: -KEPT_LOGS + 1]:
                (job_dir / f"{log.stem}.{number}.log").unlink()


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, also where a job took the right to write from its folders.

    What cannot be removed all the same stays. Links are not followed.
    """

    def allow(function: Callable[[str], object], path: str, _: object) -> None:
        with suppress(OSError):
            for each in (os.path.dirname(path), path):
                if not os.path.islink(each) and os.path.isdir(each):
                    os.chmod(each, 0o700)
            if function in (os.rmdir, os.unlink):
                function(path)
            else:  # it could not be looked into
                shutil.rmtree(path, ignore_errors=True)

    shutil.rmtree(folder, onerror=allow)


def _write(path: str, data: bytes) -> None:
    """A new file, in as few steps as it takes: this is done for every job."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def _log_number(name: str, stem: str) -> int | None:
    number = name[len(stem) + 1 : -len(".log")]
    return int(number) if number.isdecimal() and name == f"{stem}.{number}.log" else None


def _similar(project: Path, name: str) -> str:
    found = sorted(str(path.relative_to(project)) for path in project.rglob(name) if path.is_file())[:3]
    return f"; did you mean {', '.join(found)}?" if found else ""
