"""What a repair job finds of the job that it is to repair: its source, its log and the facts, in a folder."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from pathlib import Path
from typing import Any, Final, Protocol

from titan_core.filesys.content_store import ContentStore
from titan_core.filesys.zip_utils import safe_extract
from titan_core.tasks.content_fetcher import ContentFetcher
from titan_sdk.errors import LaunchFailed, NotFound, TransportError, Unavailable
from titan_sdk.messages import GetLogs, M, Mends, Request
from titan_sdk.names import check_relative_path

log = logging.getLogger(__name__)

FOLDER: Final = "repair"
MAX_LOG_BYTES: Final = 64 << 20
"""Of the failed attempt's log; of a longer one its end, where it tells why."""
_FETCH_S: Final = 300.0
_CHUNK_S: Final = 60.0
_RECONNECT_WAIT_S: Final = 1.0
"""How long the master is waited for before it is looked whether the worker stops."""


class Asks(Protocol):
    """Asks the master. ``request`` raises TransportError for a link that is down."""

    def request(self, request: Request[M], timeout: float) -> M: ...

    def wait_connected(self, timeout: float) -> bool: ...


class RepairKits:
    """Fills the folders of repair jobs. Takes as long as fetching the source and the log does."""

    def __init__(self, contents: ContentStore, fetcher: ContentFetcher, master: Asks) -> None:
        self._contents = contents
        self._fetcher = fetcher
        self._master = master
        self._stopping = threading.Event()

    def stop(self) -> None:
        """What waits for the master waits no longer."""
        self._stopping.set()

    def make(self, mends: Mends, job_dir: Path) -> dict[str, str]:
        """``source/``, ``log`` and ``failure.json`` below ``job_dir``; the variables that lead to them.

        Raises:
            TitanError, OSError: one of them cannot be had.
        """
        folder = job_dir / FOLDER
        source = folder / "source"
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was lost
        folder.mkdir(parents=True)
        file = check_relative_path(mends.file)
        path = self._content(mends.sha256)
        if mends.archive:
            safe_extract(path, source)
        else:
            source.mkdir()
            shutil.copyfile(path, source / file)
        self._write_log(mends, folder / "log")
        facts = {
            "job": mends.key,
            "number": mends.number,
            "attempt": mends.attempt,
            "exit_code": mends.exit_code,
            "reason": mends.reason,
            "file": str(Path("source") / file),
            "archive": mends.archive,
            "args": list(mends.args),
            "env": mends.env,
        }
        (folder / "failure.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        return {"TITAN_REPAIR_DIR": str(folder)}

    def _content(self, sha256: str) -> Path:
        if not self._contents.has(sha256):
            fetched = threading.Event()
            failures: list[Any] = []

            def done(failure: Exception | None) -> None:
                failures.append(failure)
                fetched.set()

            self._fetcher.fetch(sha256, done)
            if not fetched.wait(_FETCH_S):
                raise LaunchFailed("the source of the failed job did not come in time")
            if failures[0] is not None:
                raise LaunchFailed(f"the source of the failed job cannot be had: {failures[0]}")
        return self._contents.path(sha256)

    def _write_log(self, mends: Mends, path: Path) -> None:
        with path.open("wb") as file:
            try:
                first = self._ask(GetLogs(id=mends.key, attempt=mends.attempt))
            except NotFound:  # it never began to run
                return
            offset = max(0, first.size - MAX_LOG_BYTES)
            while offset < first.size:
                chunk = self._ask(GetLogs(id=mends.key, attempt=mends.attempt, offset=offset))
                if not chunk.data:
                    return
                file.write(chunk.data)
                offset = chunk.offset + len(chunk.data)

    def _ask(self, request: Request[M]) -> M:
        """The master's answer; a broken link is waited for, as it is for contents."""
        while True:
            if self._stopping.is_set():
                raise Unavailable("the worker stops")
            try:
                return self._master.request(request, _CHUNK_S)
            except TransportError as error:
                log.info("reading the log of a failed job is interrupted: %s", error)
                self._master.wait_connected(_RECONNECT_WAIT_S)
