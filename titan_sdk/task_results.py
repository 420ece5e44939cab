"""What calls of tasks come to, kept by the master for a while: small ones as they are, large ones as contents."""

from __future__ import annotations

import hashlib
from typing import Final

from titan_sdk.errors import NotFound
from titan_sdk.kv import KeyValues
from titan_sdk.messages import FetchContent, KvGet
from titan_sdk.steady import SteadyCaller, Steps
from titan_sdk.uploads import Content, Uploader

INLINE_BYTES: Final = 64 * 1024
"""A larger result is a content, and a pointer to it is kept."""
KEPT_S: Final = 7 * 24 * 3600.0
"""A result that nobody fetched for a week is not going to be."""
RESULTS_PREFIX: Final = "titan-task/"
"""What their keys in the key-value store begin with."""
_HERE, _CONTENT = b"=", b"@"


class Payloads:
    """Pickled arguments and results on their way through the master."""

    def __init__(self, caller: SteadyCaller, uploader: Uploader | None = None) -> None:
        self._caller = caller
        self._uploader = uploader

    def upload(self, data: bytes) -> str:
        """Bring data to the content store; its digest. Raises as Uploader.stage."""
        assert self._uploader is not None
        content = content_of_bytes(data)
        self._uploader.stage([content])
        return content.sha256

    def fetching(self, sha256: str) -> Steps[bytes]:
        """The steps to a content. They raise NotFound."""
        data = bytearray()
        while True:
            piece = yield from self._caller.calling(FetchContent(sha256=sha256, offset=len(data)))
            data += piece.data
            if len(data) >= piece.size or not piece.data:
                return bytes(data)

    def fetch(self, sha256: str) -> bytes:
        return self._caller.take(self.fetching(sha256))

    def put_result(self, job: str, attempt: int, data: bytes) -> None:
        """Keep what an attempt of the job came to. Raises as ``upload``."""
        value = _HERE + data if len(data) <= INLINE_BYTES else _CONTENT + self.upload(data).encode()
        KeyValues(self._caller).set(_key(job, attempt), value, ttl=KEPT_S)

    def result(self, job: str, attempt: int) -> Steps[bytes | None]:
        """The steps to what an attempt of the job came to; None when it left nothing, or too long ago."""
        value = (yield from self._caller.calling(KvGet(key=_key(job, attempt)))).value
        if value is None or value[:1] == _HERE:
            return None if value is None else value[1:]
        try:
            return (yield from self.fetching(value[1:].decode()))
        except NotFound:
            return None


def content_of_bytes(data: bytes) -> Content:
    """A content without a name: it is known by its digest alone."""
    return Content("", hashlib.sha256(data).hexdigest(), len(data), lambda offset, limit: data[offset : offset + limit])


def _key(job: str, attempt: int) -> str:
    return f"{RESULTS_PREFIX}{job}/{attempt}"
