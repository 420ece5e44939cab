"""Files: the artifact registry by name, contents by digest."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from titan_core.filesys.asset_manager import AssetManager
from titan_core.filesys.content_store import ContentStore
from titan_sdk.errors import BadRequest, Unavailable
from titan_sdk.messages import (
    CHUNK_BYTES,
    Content,
    FetchContent,
    FileList,
    ListFiles,
    Missing,
    MissingContent,
    UploadChunk,
    UploadState,
)
from titan_sdk.names import check_file_name, check_sha256
from titan_sdk.protocol import MAX_PAYLOAD

_REMEMBERED: Final = 1024
"""Digests of files in perm_files that are kept, so that a file run again and again is read once."""
_MAX_ASKED: Final = 100_000
"""Digests in one MissingContent: more than the largest frame's jobs could name."""


class Stored(NamedTuple):
    """A content in the content store."""

    sha256: str
    size: int


class _Version(NamedTuple):
    """A file's identity and change times: the same as before means the same content."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> _Version:
        status = os.stat(path)
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class FileService:
    """perm_files and the content store together. Any thread may call; each call reads or writes files.

    What writes raises Unavailable when the disk does not take it.

    Args:
        check_room: called before anything is written; raises Unavailable when the space left is needed otherwise.
    """

    def __init__(self, assets: AssetManager, contents: ContentStore, check_room: Callable[[], None]) -> None:
        self._check_room = check_room
        self._assets = assets
        self._contents = contents
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[_Version, Stored]] = OrderedDict()

    # --- for other services ---------------------------------------------------------------------------------------

    def content_of(self, name: str) -> Stored:
        """The content of a file of perm_files, put into the content store when it is not there yet.

        Raises:
            InvalidName, NotFound: no such file.
        """
        path = self._assets.find(name)
        version = _Version.of(path)
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == version and self._contents.has(known[1].sha256):
            return known[1]
        with self._writing():
            sha256 = self._contents.put_file(path)
        stored = Stored(sha256, self._contents.size(sha256))
        if _Version.of(path) == version:  # it did not change while it was read
            with self._lock:
                self._known[path] = (version, stored)
                self._known.move_to_end(path)
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return stored

    def keep(self, data: bytes) -> Stored:
        """Put bytes that came inside a request into the content store."""
        with self._writing():
            return Stored(self._contents.put_bytes(data), len(data))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._check_room()
        try:
            yield
        except OSError as error:
            raise Unavailable(f"the master cannot keep files now: {error.strerror or error}") from error

    # --- structured -----------------------------------------------------------------------------------------------

    def missing(self, request: MissingContent) -> Missing:
        if len(request.sha256) > _MAX_ASKED:
            raise BadRequest(f"{len(request.sha256)} digests in one request are over the limit of {_MAX_ASKED}")
        return Missing(sha256=[digest for digest in dict.fromkeys(request.sha256) if not self._contents.has(digest)])

    def upload(self, request: UploadChunk) -> UploadState:
        """Take a piece; the last one also puts the content under its name in perm_files."""
        check_sha256(request.sha256)
        if request.name:
            check_file_name(request.name)
        with self._writing():
            state = self._contents.append_upload(request.sha256, request.size, request.offset, request.data)
            if state.complete and request.name:
                self._assets.save_file(request.name, self._contents.path(request.sha256), staged=request.staged)
        return state

    def list_files(self, request: ListFiles) -> FileList:
        return FileList(files=self._assets.listing(staged=request.staged))

    def fetch(self, request: FetchContent) -> Content:
        if bool(request.sha256) == bool(request.name):
            raise BadRequest("one of sha256 and name is wanted")
        if request.offset < 0:
            raise BadRequest(f"offset {request.offset} is negative")
        if request.name:
            stored = self.content_of(request.name)
        else:
            stored = Stored(request.sha256, self._contents.size(request.sha256))
        data = self._contents.read(stored.sha256, request.offset, CHUNK_BYTES)
        return Content(offset=request.offset, data=data, size=stored.size, sha256=stored.sha256)

    # --- classic: a file in one piece -----------------------------------------------------------------------------

    def save(self, name: str, data: bytes) -> None:
        """Put a file into perm_files."""
        with self._writing():
            self._assets.save(name, data)

    def load(self, name: str, limit: int = MAX_PAYLOAD // 4 * 3) -> bytes:
        """A file of perm_files in whole.

        Raises:
            InvalidName, NotFound: no such file.
            BadRequest: larger than ``limit`` bytes, which is what fits into one frame as base64.
        """
        path = self._assets.find(name)
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise BadRequest(f"{name} is larger than {limit} bytes; it travels in structured chunks only")
        return data
