"""Bringing contents to the master: only what it lacks, in pieces, going on where an earlier upload broke off."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from titan_sdk.connection import CALL_TIMEOUT_S, POOL_SIZE, ConnectionPool
from titan_sdk.errors import BadRequest, ConnectionLost, PipelineError, Problem, TransportError
from titan_sdk.messages import CHUNK_BYTES, M, MissingContent, Request, UploadChunk

PARALLEL_FROM: Final = 4 * 1024 * 1024
"""Bytes from which several files travel on connections of their own; below, making those takes longer."""
CHECK_BYTES_PER_S: Final = 20 * 1024 * 1024
"""The last piece is answered once the master has digested and synced the whole, so fast at least, slow disks too."""
_KNOWN_S: Final = 12 * 3600.0
"""Time before the master is asked again whether it has a content: it keeps one for a day after it was asked for."""
MAX_STEPS_BACK: Final = 20
"""Answers of one upload that do not move it on: others upload the same, or the connection broke. More is a fault."""

Progress = Callable[[int, int], None]
"""Called with the bytes sent so far and the bytes to send in all; from several threads, one at a time."""


class Caller(Protocol):
    def call(self, request: Request[M], timeout: float | None = None) -> M: ...


@dataclass(frozen=True)
class Content:
    """Bytes on this machine. ``read(offset, limit)`` gives a part of them; ``name`` is plain."""

    name: str
    sha256: str
    size: int
    read: Callable[[int, int], bytes]


def content_of_path(path: Path, name: str) -> Content:
    """A file's content; the file is opened for each piece, so that thousands of them take no descriptor meanwhile.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """

    def read(offset: int, limit: int) -> bytes:
        with path.open("rb") as file:
            return os.pread(file.fileno(), limit, offset)

    if path.exists() and not path.is_file():
        raise OSError(0, "not a regular file", str(path))
    with path.open("rb") as file:
        digest, size = _digest(file)
    return Content(name, digest, size, read)


def content_of_file(file: BinaryIO, name: str) -> Content:
    """The content of an open file, which stays open until it has been uploaded."""
    digest, size = _digest(file)
    return Content(name, digest, size, lambda offset, limit: os.pread(file.fileno(), limit, offset))


def _digest(file: BinaryIO) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    while block := file.read(CHUNK_BYTES):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


class Uploader:
    """Uploads for one client.

    Args:
        caller: carries small things; makes no connection of its own.
        new_pool: connections for large things, closed when they have been sent.
    """

    def __init__(self, caller: Caller, new_pool: Callable[[], ConnectionPool]) -> None:
        self._caller = caller
        self._new_pool = new_pool
        self._staged: dict[tuple[str, str], float] = {}
        """What the master has, by name and digest, and since when (monotonic) this is known."""

    def stage(self, contents: Iterable[Content], progress: Progress | None = None) -> None:
        """Make sure that the master has these contents, and each under its name in perm_files/staged.

        Raises:
            TransportError, RemoteError: it does not get them.
            PipelineError: a file changed meanwhile.
        """
        wanted = {(content.name, content.sha256): content for content in contents}
        before = time.monotonic() - _KNOWN_S
        fresh = [content for key, content in wanted.items() if self._staged.get(key, before) <= before]
        if not fresh:
            return
        digests = list(dict.fromkeys(content.sha256 for content in fresh))
        missing = set(self._caller.call(MissingContent(sha256=digests)).sha256)
        send: dict[str, Content] = {}
        for content in fresh:
            if content.sha256 in missing:
                send.setdefault(content.sha256, content)
        self._send(list(send.values()), True, progress)
        for content in fresh:
            if send.get(content.sha256) is not content:  # the master has it, but not under this name yet
                self._caller.call(_piece(content, content.size, b"", True))
        now = time.monotonic()
        self._staged.update(((content.name, content.sha256), now) for content in fresh)

    def put(self, content: Content, progress: Progress | None = None) -> None:
        """Put a content into perm_files under its name. Raises as ``stage``."""
        if self._caller.call(MissingContent(sha256=[content.sha256])).sha256:
            self._send([content], False, progress)
        else:
            self._caller.call(_piece(content, content.size, b"", False))

    def _send(self, contents: Sequence[Content], staged: bool, progress: Progress | None) -> None:
        total = sum(content.size for content in contents)
        meter = _Meter(progress, total)
        if len(contents) < 2 or total < PARALLEL_FROM:
            for content in contents:
                _upload(self._caller, content, staged, meter)
            return
        stop = threading.Event()

        def upload(content: Content) -> None:
            if not stop.is_set():
                _upload(pool, content, staged, meter, stop)

        with self._new_pool() as pool, ThreadPoolExecutor(POOL_SIZE, "titan-upload") as threads:
            try:
                for done in [threads.submit(upload, content) for content in contents]:
                    done.result()
            except BaseException:
                stop.set()  # Ctrl-C and failures alike: each thread ends after the piece it is at
                raise


class _Meter:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._sent = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        if self._progress is not None and size:
            with self._lock:
                self._sent += size
                self._progress(self._sent, self._total)


def _piece(content: Content, offset: int, data: bytes, staged: bool) -> UploadChunk:
    return UploadChunk(
        sha256=content.sha256, size=content.size, offset=offset, data=data, name=content.name, staged=staged
    )


def _upload(caller: Caller, content: Content, staged: bool, meter: _Meter, stop: threading.Event | None = None) -> None:
    offset = 0
    steps_back = 0
    while stop is None or not stop.is_set():
        data = content.read(offset, CHUNK_BYTES)
        if not data and offset < content.size:
            raise _changed(content)
        try:
            last = offset + len(data) == content.size
            timeout = CALL_TIMEOUT_S + content.size / CHECK_BYTES_PER_S if last else None
            state = caller.call(_piece(content, offset, data, staged), timeout)
        except ConnectionLost:
            steps_back += 1  # the answer to the next piece tells how far the upload came
            if steps_back > MAX_STEPS_BACK:
                raise
            continue
        except BadRequest as error:
            if content.read(0, CHUNK_BYTES) and _still(content):
                raise
            raise _changed(content) from error
        meter.add(max(0, state.received - offset))
        if state.complete:
            return
        if state.received <= offset:
            steps_back += 1
            if steps_back > MAX_STEPS_BACK:
                raise TransportError(f"the upload of {content.name} does not get on")
        offset = state.received


def _still(content: Content) -> bool:
    """Whether the bytes are the ones that were digested before."""
    digest = hashlib.sha256()
    offset = 0
    while data := content.read(offset, CHUNK_BYTES):
        digest.update(data)
        offset += len(data)
    return digest.hexdigest() == content.sha256


def _changed(content: Content) -> PipelineError:
    return PipelineError([Problem(content.name, "the file changed while it was uploaded; try again")])


__all__: list[Any] = ["Content", "Progress", "Uploader", "content_of_file", "content_of_path"]
