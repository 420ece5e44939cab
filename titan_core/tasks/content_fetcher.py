"""Brings the contents that jobs need and the worker lacks, each one once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from titan_core.filesys.content_store import ContentStore
from titan_sdk.errors import TitanError, TransportError, Unavailable
from titan_sdk.messages import Content, FetchContent

log = logging.getLogger(__name__)

FETCH_THREADS: Final = 4
"""Contents that are fetched at once; they share one link, so more would not come sooner."""
_CHUNK_DEADLINE_S: Final = 60.0
"""For one chunk; a link too slow for that is as good as broken, and the fetch goes on where it was."""
_RECONNECT_WAIT_S: Final = 1.0
"""How long a fetch waits for the master before it looks whether the worker stops."""

OnFetched = Callable[[Exception | None], None]


class ContentSource(Protocol):
    """Where contents come from. ``fetch`` blocks; it raises TransportError for a link that is down."""

    def fetch(self, request: FetchContent, timeout: float) -> Content: ...

    def wait_connected(self, timeout: float) -> bool: ...


class ContentFetcher:
    """Fills a ContentStore on request. Any thread may call; nobody waits."""

    def __init__(self, contents: ContentStore, source: ContentSource) -> None:
        self._contents = contents
        self._source = source
        self._lock = threading.Lock()
        self._waiting: dict[str, list[OnFetched]] = {}
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(FETCH_THREADS, "content-fetcher")

    def fetch(self, sha256: str, on_fetched: OnFetched) -> None:
        """Call ``on_fetched`` on a thread of this fetcher with None once the content is here, or with what went wrong.

        A content that is on its way already is not asked for again. A broken link is waited for.
        """
        with self._lock:
            waiting = self._waiting.get(sha256)
            if waiting is not None:
                waiting.append(on_fetched)
                return
            self._waiting[sha256] = [on_fetched]
        self._pool.submit(self._run, sha256)

    def stop(self) -> None:
        """What is under way ends with Unavailable as soon as its chunk is here, or the link is closed."""
        self._stopping.set()
        self._pool.shutdown(wait=False)

    def _run(self, sha256: str) -> None:
        failure: Exception | None = None
        try:
            self._bring(sha256)
        except (TitanError, OSError) as error:
            failure = error
        except Exception as error:
            log.exception("fetching %s failed", sha256)
            failure = error
        with self._lock:
            waiting = self._waiting.pop(sha256)
        for on_fetched in waiting:
            try:
                on_fetched(failure)
            except Exception:
                log.exception("a job that waited for %s could not go on", sha256)

    def _bring(self, sha256: str) -> None:
        offset = 0
        complete = self._contents.has(sha256)
        while not complete:
            if self._stopping.is_set():
                raise Unavailable("the worker stops")
            try:
                chunk = self._source.fetch(FetchContent(sha256=sha256, offset=offset), _CHUNK_DEADLINE_S)
            except TransportError as error:
                log.info("fetching %s is interrupted: %s", sha256, error)
                self._source.wait_connected(_RECONNECT_WAIT_S)
                continue
            state = self._contents.append_upload(sha256, chunk.size, chunk.offset, chunk.data)
            offset, complete = state.received, state.complete
