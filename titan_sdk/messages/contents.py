"""Messages that move files and contents, which are known by their digest."""

from __future__ import annotations

from titan_sdk.messages.base import Message, Request
from titan_sdk.protocol import Opcode


class Missing(Message):
    sha256: list[str]


class MissingContent(Request[Missing]):
    """Which of these contents does the master lack?"""

    OPCODE = Opcode.MISSING_CONTENT
    ANSWER = Missing
    sha256: list[str]


class UploadState(Message):
    """``received``: where the next chunk begins; ``complete``: stored and checked against its digest."""

    received: int
    complete: bool


class UploadChunk(Request[UploadState]):
    """A piece of a content of ``size`` bytes. An upload of the same digest goes on where an earlier one broke off.

    With ``name`` the complete content is also put into perm_files under that plain name; with ``staged`` into its
    ``staged`` sub-folder instead, where what submissions bring with them is kept apart from what people put there.
    """

    OPCODE = Opcode.UPLOAD_ASSET
    ANSWER = UploadState
    sha256: str
    size: int
    offset: int
    data: bytes
    name: str = ""
    staged: bool = False


class Content(Message):
    offset: int
    data: bytes
    size: int
    sha256: str


class FileItem(Message):
    """A file of perm_files. ``folder`` is empty at the top, ``staged`` for what submissions brought along."""

    name: str
    size: int
    modified_at: int
    folder: str = ""


class FileList(Message):
    files: list[FileItem]


class ListFiles(Request[FileList]):
    """The files of perm_files, sorted by name; staged ones by ``staged``."""

    OPCODE = Opcode.LIST_FILES
    ANSWER = FileList
    staged: bool = False


class FetchContent(Request[Content]):
    """At most CHUNK_BYTES of a content, by digest or by its name in perm_files."""

    OPCODE = Opcode.FETCH_ASSET
    ANSWER = Content
    sha256: str = ""
    name: str = ""
    offset: int = 0
